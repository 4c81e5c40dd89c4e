// The plan: seen, changed by an owner, and what it gives then.
import { expect, expectFits, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

test('an owner changes the plan, and its limits hold', async ({ page, freshGatehouse: gatehouse }) => {
  test.setTimeout(180_000);
  const call = async (key: string) => {
    const answer = await fetch(`${gatehouse.url}/mcp/acme`, {
      method: 'POST',
      headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
    });
    return { status: answer.status, body: await answer.text(), wait: answer.headers.get('retry-after') };
  };
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
  // The next smaller one, and the rate that it gives one key: 60 a minute, where this plan gave 300.
  const { key } = await gatehouse.cliJson(['api-key', 'create', '--org', 'acme', '--name', 'ci']) as { key: string };
  await expect.poll(async () => (await call(key)).status).toBe(200);
  for (let n = 0; n < 99; n += 1) expect((await call(key)).status).toBe(200);
  await page.getByRole('link', { name: 'Change to Free' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Change to Free?' })).toBeVisible();
  await hydrated(page);
  await expect(page.getByText('Requests a minute of each key: 60.')).toBeVisible();
  await page.getByRole('button', { name: 'Change plan' }).click();
  await expect(page.getByText('Plan changed.')).toBeVisible();
  await hydrated(page);
  await expect(page.getByRole('row', { name: /^Free/ }).getByText('Current')).toBeVisible();
  let refused = await call(key);
  for (let n = 0; n < 130 && refused.status === 200; n += 1) refused = await call(key);
  expect(refused.status).toBe(429);
  expect(refused.body).toContain('rate_limited');
  expect(Number(refused.wait)).toBeGreaterThan(0);
  await page.goto(`${gatehouse.url}/settings/sso`);
  await hydrated(page);
  await expect(page.getByText(/Enterprise/).first()).toBeVisible();
});
