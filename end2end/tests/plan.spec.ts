// The plan: seen, changed by an owner, and what it gives then.
import { expect, expectFits, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

test('an owner changes the plan, and its limits hold', async ({ page, freshGatehouse: gatehouse }) => {
  test.setTimeout(180_000);
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await page.goto(`${gatehouse.url}/settings/plan`);
  await hydrated(page);
  await expect(page.getByText('0, without a limit')).toBeVisible();
  await expectFits(page, 'plan');
  await page.getByRole('link', { name: 'Change to Pro' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Change to Pro?' })).toBeVisible();
  await hydrated(page);
  await expect(page.getByText('Audit events older than 30 days are removed for good')).toBeVisible();
  await expectFits(page, 'plan-change');
  await page.getByRole('button', { name: 'Change plan' }).click();
  await expect(page.getByText('Plan changed.')).toBeVisible();
  await hydrated(page);
  await expect(page.getByRole('row', { name: /^Pro/ }).getByText('Current')).toBeVisible();
  await expect(page.getByText(/0 of 50\s000/)).toBeVisible();
  await expectFits(page, 'plan-pro');
  await page.goto(`${gatehouse.url}/settings/sso`);
  await hydrated(page);
  await expect(page.getByText(/Enterprise/).first()).toBeVisible();
});
