// Usage: charts of calls that were made, as far back as somebody asks, each number leading to its requests. With scripts and
// without.
import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';
const scripts = () => test.info().project.use.javaScriptEnabled !== false;

async function logIn(page: Page, url: string, email: string) {
  await page.goto(`${url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await hydrated(page);
}

test('what was called is charted, over any range, and leads to its requests', async ({ page, browser, freshGatehouse: gatehouse, everything }) => {
  test.setTimeout(360_000);
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['connector', 'add', '--org', 'acme', '--slug', 'ev', '--name', 'Everything', '--url', everything.url, '--json']);
  const made = await gatehouse.cliJson<{ key: string }>(['api-key', 'create', '--org', 'acme', '--name', 'claude-prod']);
  await logIn(page, gatehouse.url, 'ada@example.com');
  const usage = page.locator('.usage');

  await test.step('before the first call it says what will be here', async () => {
    await expect(usage.getByText('No requests yet.')).toBeVisible();
    await expect(usage.getByText('has no limit here')).toBeVisible();
    await expectFits(page, 'usage-none');
  });

  const call = async (tool: string, args: object) => {
    const answer = await fetch(`${gatehouse.url}/mcp/acme`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': made.key },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: tool, arguments: args } }),
    });
    await answer.text();
  };

  await test.step('calls are drawn and counted', async () => {
    for (let n = 0; n < 12; n += 1) await call('ev__echo', { message: `<b>${n}</b>` });
    for (let n = 0; n < 3; n += 1) await call('ev__nothing_of_this_name', {});
    await expect(async () => {
      await page.goto(`${gatehouse.url}/?range=24h`);
      await expect(usage.getByRole('table', { name: 'Tools called most' }).getByRole('row', { name: /echo/ })).toContainText('12', { timeout: 1000 });
    }).toPass({ timeout: 20_000 });
    await hydrated(page);
    await expect(usage.getByRole('img', { name: /Requests by outcome: 15 in all, 3 failed/ })).toBeVisible();
    await expect(usage.getByRole('img', { name: /Latency of calls: p50/ })).toBeVisible();
    await expect(usage.getByText(/^12\. The plan Enterprise has no limit here/)).toBeVisible();
    await expectFits(page, 'usage-day');
  });

  await test.step('a range is a link, and another one an address', async () => {
    await usage.getByRole('link', { name: 'Last 90 days' }).click();
    await expect(page).toHaveURL(/range=90d/);
    await expect(usage.getByRole('link', { name: 'Last 90 days' })).toHaveAttribute('aria-current', 'true');
    await expect(usage.getByRole('img', { name: /15 in all/ })).toBeVisible();
    await expectFits(page, 'usage-90-days');
    const today = new Date().toISOString().slice(0, 10);
    await usage.getByLabel('First day').fill('2026-01-01');
    await usage.getByLabel('Last day').fill('2026-01-31');
    await usage.getByRole('button', { name: 'Show these days' }).click();
    await expect(page).toHaveURL(/from=2026-01-01&to=2026-01-31/);
    await expect(usage.getByText('No requests in this time.')).toBeVisible();
    await hydrated(page);
    await expectFits(page, 'usage-empty-range');
    await page.goto(`${gatehouse.url}/?from=${today}&to=2026-01-31`);
    await expect(usage.getByRole('alert')).toContainText('The first day comes after the last one');
  });

  await test.step('numbers are in a table, and lead to the requests that they count', async () => {
    await page.goto(`${gatehouse.url}/?range=24h`);
    await hydrated(page);
    await usage.getByText('Show as a table').first().click();
    const twin = usage.getByRole('table', { name: 'Requests by outcome' });
    await expect(twin.getByRole('row')).toHaveCount(25);
    await twin.getByRole('link', { name: '3', exact: true }).first().click();
    await expect(page.getByRole('heading', { level: 1, name: 'Activity' })).toBeVisible();
    await hydrated(page);
    await expect(page).toHaveURL(/range=.*outcome=/);
    await expect(page.getByRole('row').filter({ hasText: 'nothing_of_this_name' })).toHaveCount(3);
    await expect(page.getByRole('row').filter({ hasText: 'echo' })).toHaveCount(0);
  });

  await test.step('a bar does, too', async () => {
    await page.goto(`${gatehouse.url}/?range=24h`);
    await hydrated(page);
    await page.locator('.hits a').last().click();
    await expect(page.getByRole('heading', { level: 1, name: 'Activity' })).toBeVisible();
  });

  await test.step('a key tells what it was used for', async () => {
    await page.goto(`${gatehouse.url}/settings/api-keys`);
    await hydrated(page);
    const card = page.getByRole('listitem').filter({ hasText: 'claude-prod' }).first();
    await expect(card.getByRole('img', { name: /12 calls, 0 failed/ })).toBeVisible();
    await expect(card.getByText('No limit of requests a minute')).toBeVisible();
    await expectFits(page, 'usage-key');
    await card.getByRole('link', { name: '12 calls, 0 failed' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'Activity' })).toBeVisible();
    await expect(page.getByRole('row').filter({ hasText: 'echo' })).toHaveCount(12);
  });

  await test.step('the quota has a meter with the thresholds', async () => {
    await gatehouse.cli(['org', 'set', '--org', 'acme', '--monthly-quota', '14', '--json']);
    await page.goto(`${gatehouse.url}/`);
    await hydrated(page);
    await expect(usage.getByRole('img', { name: /85\.7 % of this month's calls are used/ })).toBeVisible();
    await expect(usage.getByText('12 of 14 calls, 85.7 %.')).toBeVisible();
    await expect(usage.getByText('Nearly used up.')).toBeVisible();
    await expectFits(page, 'usage-quota');
    await usage.getByRole('link', { name: 'When to tell' }).click();
    await expect(page.getByText('usage.threshold')).toBeVisible();
    await page.goto(`${gatehouse.url}/settings/plan`);
    await hydrated(page);
    await page.getByRole('link', { name: 'Usage by day, connector and tool' }).click();
    await expect(usage.getByText('12 of 14 calls')).toBeVisible();
  });

  await test.step('whoever may not see usage is told what it takes', async () => {
    await gatehouse.cli(['user', 'create', '--email', 'mia@example.com', '--password', PASSWORD, '--json']);
    await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'mia@example.com', '--role', 'member', '--json']);
    const context = await browser.newContext({ javaScriptEnabled: scripts() });
    const other = await context.newPage();
    await logIn(other, gatehouse.url, 'mia@example.com');
    await expect(other.locator('.usage')).toContainText('You need usage:read to see it');
    await expect(other.locator('.usage svg')).toHaveCount(0);
    await context.close();
  });
  expect(problems).toEqual([]);
});
