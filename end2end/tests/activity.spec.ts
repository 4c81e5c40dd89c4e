// A person watches a real client's call appear, opens it, and sees where its time went; and calls a tool from the
// Playground. With scripts and without.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import type { Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';
const scripts = () => test.info().project.use.javaScriptEnabled !== false;

async function settled(page: Page, heading: string | RegExp) {
  await expect(page.getByRole('heading', { level: 1, name: heading })).toBeVisible();
  await hydrated(page);
}

/** The call of a client: the official SDK. */
async function call(url: string, key: string, tool: string, args: object) {
  const client = path.join(import.meta.dirname, '../clients/list-and-call.mjs');
  const { stdout } = await promisify(execFile)(process.execPath, [client, url, key, tool, JSON.stringify(args)]);
  return stdout;
}

test('a call is seen, opened, and told where its time went; and one is made from the Playground', async ({ page, freshGatehouse: gatehouse, everything }) => {
  test.setTimeout(240_000);
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(String(error)));

  await page.goto(gatehouse.setupLink);
  await settled(page, /Set up Gatehouse/);
  await page.getByLabel('Your name').fill('Ada Lovelace');
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Organisation name').fill('Acme');
  await page.getByLabel('Slug').fill('acme');
  await page.getByRole('button', { name: /Set up Gatehouse/ }).click();
  await settled(page, 'Overview');

  await page.goto(`${gatehouse.url}/connectors/new`);
  await settled(page, 'Add connector');
  await page.getByLabel('Name', { exact: true }).fill('Everything');
  await page.getByLabel('Slug').fill('ev');
  await page.getByLabel('URL').fill(everything.url);
  await page.getByRole('button', { name: 'Add connector' }).click();
  await settled(page, 'Everything');

  await page.goto(`${gatehouse.url}/settings/api-keys/new`);
  await settled(page, 'New API key');
  await page.getByLabel('Name', { exact: true }).fill('claude-prod');
  await page.getByRole('button', { name: 'Create key' }).click();
  await settled(page, 'API key created');
  const key = (await page.locator('[data-copy^="gth_live_sk_"]').first().getAttribute('data-copy'))!;

  await test.step('before the first call the page says what will be here', async () => {
    await page.goto(`${gatehouse.url}/activity`);
    await settled(page, 'Activity');
    await expect(page.getByText('No requests yet')).toBeVisible();
    if (scripts()) await expectAccessible(page);
  });

  const row = page.getByRole('row').filter({ hasText: 'echo' });
  await test.step('the call of a real client appears', async () => {
    // Somebody watches: with scripts nothing has to be pressed.
    if (scripts()) await expect(page.getByText('Live')).toBeVisible();
    expect(await call(`${gatehouse.url}/mcp/acme`, key, 'ev__echo', { message: 'watched' })).toContain('watched');
    if (!scripts()) {
      await page.waitForTimeout(600);
      await page.getByRole('button', { name: 'Refresh' }).click();
    }
    await expect(row).toHaveCount(1, { timeout: 10_000 });
    await expect(row).toContainText('claude-prod');
    await expect(row).toContainText('OK');
    if (scripts()) await expectAccessible(page);
  });

  await test.step('opened, it tells where its time went', async () => {
    await page.goto(`${gatehouse.url}/activity?tool=echo`);
    await settled(page, 'Activity');
    await row.getByRole('link').click();
    await settled(page, 'echo');
    await expect(page.getByRole('img', { name: /^Where .* went/ })).toBeVisible();
    const first = page.getByRole('row').filter({ hasText: 'Server, first byte' });
    await expect(first).toContainText(/\d (µs|ms|s)/);
    for (const part of ['Credential', 'Queue', 'Server, rest', 'Gatehouse']) {
      await expect(page.getByRole('rowheader', { name: part, exact: true })).toBeVisible();
    }
    await expect(page.getByText('Arguments and result of this request were not kept.')).toBeVisible();
    if (scripts()) await expectAccessible(page);
  });

  await test.step('filters leave out what is not looked for', async () => {
    await page.goto(`${gatehouse.url}/activity`);
    await settled(page, 'Activity');
    await page.getByLabel('Search').fill('claude-prod');
    await page.getByLabel('Outcome').selectOption('upstream_error');
    await page.getByRole('button', { name: 'Filter' }).click();
    await settled(page, 'Activity');
    await expect(page.getByText('No requests match these filters')).toBeVisible();
    await expect(page.getByLabel('Search')).toHaveValue('claude-prod');
    await page.getByRole('link', { name: 'Clear filters' }).first().click();
    await expect(row.first()).toBeVisible();
  });

  await test.step('arguments and results are kept once somebody chose so, without credentials', async () => {
    await page.goto(`${gatehouse.url}/activity/settings`);
    await settled(page, 'What is kept');
    if (scripts()) await expectAccessible(page);
    await page.getByLabel('Keep requests for so many days').fill('0');
    await page.getByRole('button', { name: 'Save what is kept' }).click();
    await expect(page.getByText(/whole number of days from 1 to 365/).first()).toBeVisible();
    await page.getByLabel('Keep requests for so many days').fill('14');
    await page.getByLabel('Keep arguments and results').check();
    await page.getByRole('button', { name: 'Save what is kept' }).click();
    await expect(page.getByText('It applies to requests from now on.')).toBeVisible();
    await expect(async () => {
      await call(`${gatehouse.url}/mcp/acme`, key, 'ev__echo', { message: 'Bearer abcdefgh12345 kept' });
      await page.waitForTimeout(600);
      await page.goto(`${gatehouse.url}/activity?tool=echo`);
      await row.first().getByRole('link').click();
      await settled(page, 'echo');
      await expect(page.getByText('[redacted] kept').first()).toBeVisible({ timeout: 500 });
    }).toPass({ timeout: 20_000 });
    expect(await page.content()).not.toContain('abcdefgh12345');
  });

  await test.step('a tool is called from the Playground', async () => {
    await page.goto(`${gatehouse.url}/playground`);
    await settled(page, 'Playground');
    if (scripts()) await expectAccessible(page);
    await page.getByRole('combobox').selectOption('ev/echo');
    await page.getByRole('button', { name: 'Choose' }).click();
    await settled(page, 'Playground');
    await page.getByRole('textbox', { name: 'message' }).fill('from the <b>Playground</b>');
    await page.getByRole('button', { name: 'Run echo' }).click();
    await expect(page.locator('.play-text').first()).toContainText('from the <b>Playground</b>');
    await page.getByText('Copy as curl').click();
    await expect(page.getByText('YOUR_API_KEY').first()).toBeVisible();
    await page.getByText('Raw JSON-RPC').click();
    await expect(page.getByText('"jsonrpc": "2.0"').first()).toBeVisible();
    await hydrated(page);
    if (scripts()) await expectAccessible(page);
    await page.waitForTimeout(600);
    await page.goto(`${gatehouse.url}/activity?tool=echo`);
    await settled(page, 'Activity');
    await expect(row.first()).toContainText('Ada Lovelace');
  });

  expect(problems).toEqual([]);
});
