// The end of an organisation, as its owner meets it. A server of its own: what it deletes others would miss.
import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

async function list(url: string, key: string): Promise<number> {
  const answer = await fetch(`${url}/mcp/acme`, {
    method: 'POST',
    headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' }),
  });
  await answer.text();
  return answer.status;
}

test('an organisation is deleted, and nothing of it works any more', async ({ page, freshGatehouse: gatehouse }) => {
  test.setTimeout(180_000);
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['org', 'create', '--name', 'Beta', '--slug', 'beta', '--owner', 'ada@example.com', '--json']);
  const { key } = await gatehouse.cliJson(['api-key', 'create', '--org', 'acme', '--name', 'ci']) as { key: string };
  await expect.poll(() => list(gatehouse.url, key)).toBe(200);

  const open = async (to: Page, where: string) => {
    await to.goto(`${gatehouse.url}${where}`);
    await hydrated(to);
  };
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await open(page, '/settings');
  await page.getByRole('link', { name: 'Delete this organisation' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Danger zone' })).toBeVisible();
  await hydrated(page);
  await expect(page.getByText('API keys, which get 401 at once')).toBeVisible();
  await expectFits(page, 'danger');

  await page.getByLabel('Type acme to confirm').fill('Acme');
  await page.getByRole('button', { name: 'Delete Forever', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('Type the slug: acme');
  await expect(page.getByRole('alert')).toContainText('Enter your password');
  await expectFits(page, 'danger-wrong');
  expect(await list(gatehouse.url, key)).toBe(200);

  await page.getByLabel('Type acme to confirm').fill('acme');
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Delete Forever', exact: true }).click();
  await expect(page.getByText('The organisation is deleted.')).toBeVisible();
  await hydrated(page);
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  // The next one of theirs is in view; of the other nothing is left.
  await expect(page.getByText(`${gatehouse.url}/mcp/beta`).first()).toBeVisible();
  await expect(page.getByText('Acme')).toHaveCount(0);
  await expect.poll(() => list(gatehouse.url, key)).toBe(401);

  await open(page, '/orgs/new');
  await page.getByLabel('Organisation name').fill('Acme again');
  await page.getByLabel('Slug').fill('acme');
  await page.getByRole('button', { name: 'Create organisation' }).click();
  await expect(page.getByRole('alert')).toContainText('is, or was, in use');
});
