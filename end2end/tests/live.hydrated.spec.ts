// A page shows what others change while somebody looks at it, and disturbs nobody who is busy there.
import type { Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';
import type { Gatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

/** A new organisation with somebody who is logged in; makes keys from elsewhere. */
async function begin(page: Page, gatehouse: Gatehouse) {
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  return (name: string) => gatehouse.cli(['api-key', 'create', '--org', 'acme', '--name', name, '--json']);
}

test('a list shows what somebody else changes', async ({ page, freshGatehouse: gatehouse }) => {
  const key = await begin(page, gatehouse);
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

test('pages of a webhook show new deliveries and what came of them', async ({ page, freshGatehouse: gatehouse }) => {
  const key = await begin(page, gatehouse);
  await page.goto(`${gatehouse.url}/settings/webhooks/new`);
  await hydrated(page);
  // Nobody listens there: every attempt fails at once.
  await page.getByLabel('URL').fill('http://127.0.0.1:9/hook');
  await page.getByLabel('Only selected events').check();
  await page.getByLabel('api_key.created').check();
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Webhook added' })).toBeVisible();

  await page.goto(`${gatehouse.url}/settings/webhooks`);
  await hydrated(page);
  const listening = page.waitForRequest(/\/live\?at=\/settings\/webhooks\/[^/]+$/);
  await page.getByRole('link', { name: /127\.0\.0\.1/ }).first().click();
  await expect(page.getByText('Nothing has happened yet that it hears of.')).toBeVisible();
  await listening;
  // The link that was followed is not there any more; whoever has nothing in focus is not busy.
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
  await key('one');
  const delivery = page.getByRole('row', { name: /api_key\.created/ });
  await expect(delivery).toHaveCount(1, { timeout: 15_000 });
  await expect(delivery).toContainText('Retrying', { timeout: 15_000 });

  const all = page.waitForRequest(/\/live\?at=\/settings\/webhooks\/deliveries%3Fwebhook%3D/);
  await page.getByRole('link', { name: 'All deliveries, with filters' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Deliveries' })).toBeVisible();
  await all;
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
  await key('two');
  await expect(delivery).toHaveCount(2, { timeout: 15_000 });

  // Somebody who chooses a filter is not interrupted.
  await page.getByLabel('Status').focus();
  await key('three');
  const news = page.getByRole('button', { name: 'Something has changed: show it' });
  await expect(news).toBeVisible({ timeout: 15_000 });
  await expect(delivery).toHaveCount(2);
  await news.click();
  await expect(delivery).toHaveCount(3);
});
