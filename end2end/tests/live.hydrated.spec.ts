// A page shows what others change while somebody looks at it, and disturbs nobody who is busy there.
import { expect, expectAccessible, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

test('a list shows what somebody else changes', async ({ page, freshGatehouse: gatehouse }) => {
  const key = (name: string) => gatehouse.cli(['api-key', 'create', '--org', 'acme', '--name', name, '--json']);
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  const listening = page.waitForRequest(/\/live\?at=\/settings\/api-keys$/);
  await page.goto(`${gatehouse.url}/settings/api-keys`);
  await hydrated(page);
  await listening;

  await key('made elsewhere');
  await expect(page.getByText('made elsewhere').first()).toBeVisible({ timeout: 15_000 });
  const news = page.getByRole('button', { name: 'Something has changed: show it' });
  await expect(news).toHaveCount(0);

  // Somebody who is busy is told, and asks for it.
  await page.locator('main a').first().focus();
  await key('made meanwhile');
  await expect(news).toBeVisible({ timeout: 15_000 });
  await expect(page.getByText('made meanwhile')).toHaveCount(0);
  await expectAccessible(page);
  await news.click();
  await expect(page.getByText('made meanwhile').first()).toBeVisible();
  await expect(news).toHaveCount(0);
});
