// The first thing anybody does: set up, add a real MCP server, make a key, call. With scripts and without.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import type { Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

/** axe in the project with scripts; the other has no way to run it. */
async function accessible(page: Page) {
  if (test.info().project.use.javaScriptEnabled !== false) await expectAccessible(page);
}

/** The page after a form or a link, ready to be used. */
async function settled(page: Page, heading: string | RegExp) {
  await expect(page.getByRole('heading', { level: 1, name: heading })).toBeVisible();
  await hydrated(page);
}

test('from the set-up link to a key in every helper string, and a call with it', async ({ page, freshGatehouse: gatehouse, everything }) => {
  test.setTimeout(240_000);
  const problems: string[] = [];
  page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()); });
  page.on('pageerror', (error) => problems.push(String(error)));

  await test.step('the set-up link makes the owner and the organisation', async () => {
    await page.goto(gatehouse.setupLink);
    await settled(page, /Set up Gatehouse/);
    await accessible(page);
    await page.getByLabel('Your name').fill('Ada Lovelace');
    await page.getByLabel('Email').fill('ada@example.com');
    await page.getByLabel('Password', { exact: true }).fill('short');
    await page.getByLabel('Organisation name').fill('Acme');
    await page.getByLabel('Slug').fill('acme');
    await page.getByRole('button', { name: /Set up Gatehouse/ }).click();
    // Refused: the error is at its field, what was typed is still there, and the password is not.
    await expect(page.getByText(/at least 15 characters/i).first()).toBeVisible();
    await expect(page).toHaveTitle(/^Error: /);
    await expect(page.getByLabel('Email')).toHaveValue('ada@example.com');
    problems.length = 0; // The browser reports the status 422 as a failed resource.
    await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
    await page.getByRole('button', { name: /Set up Gatehouse/ }).click();
    await settled(page, 'Overview');
    await accessible(page);
  });

  await test.step('a real MCP server is added, and its tools are shown', async () => {
    await page.goto(`${gatehouse.url}/connectors/new`);
    await settled(page, 'Add connector');
    await accessible(page);
    await page.getByLabel('Name', { exact: true }).fill('Everything');
    await page.getByLabel('Slug').fill('ev');
    await page.getByLabel('URL').fill('http://10.1.2.3/mcp');
    await page.getByRole('button', { name: 'Add connector' }).click();
    await expect(page.getByText(/GATEHOUSE_EGRESS_ALLOW/).first()).toBeVisible();
    problems.length = 0;
    await page.getByLabel('URL').fill(everything.url);
    await page.getByRole('button', { name: 'Add connector' }).click();
    await settled(page, 'Everything');
    await expect(page.getByText('Healthy').first()).toBeVisible();
    await expect(page.getByText('ev__echo').first()).toBeVisible();
    await accessible(page);
  });

  await test.step('one tool is switched off and on again', async () => {
    await page.getByRole('switch', { name: 'Tool echo' }).click();
    await expect(page.getByRole('switch', { name: 'Tool echo' })).toHaveAttribute('aria-checked', 'false');
    await hydrated(page);
    await page.getByRole('switch', { name: 'Tool echo' }).click();
    await expect(page.getByRole('switch', { name: 'Tool echo' })).toHaveAttribute('aria-checked', 'true');
  });

  const key = await test.step('an API key is made and shown once', async () => {
    await page.goto(`${gatehouse.url}/settings/api-keys`);
    await settled(page, 'API keys');
    await expect(page.getByText('No keys yet')).toBeVisible();
    await accessible(page);
    await page.getByRole('link', { name: 'New API key' }).first().click();
    await settled(page, 'New API key');
    await accessible(page);
    await page.getByRole('button', { name: 'Create key' }).click();
    await expect(page.getByText('Enter a name for this key').first()).toBeVisible();
    problems.length = 0;
    await page.getByLabel('Name', { exact: true }).fill('claude-prod');
    await page.getByRole('button', { name: 'Create key' }).click();
    await settled(page, 'API key created');
    await accessible(page);
    const secret = await page.locator('[data-copy^="gth_live_sk_"]').first().getAttribute('data-copy');
    expect(secret).toMatch(/^gth_live_sk_[0-9A-Za-z]{38,}$/);
    return secret!;
  });

  await test.step('the commands and links of the clients carry the key', async () => {
    const texts = await page.locator('[data-copy]').evaluateAll((nodes) => nodes.map((n) => n.getAttribute('data-copy')!));
    const links = await page.locator('a[href]').evaluateAll((nodes) => nodes.map((n) => n.getAttribute('href')!));
    const endpoint = `${gatehouse.url}/mcp/acme`;
    const has = (what: string, ...parts: string[]) =>
      expect([...texts, ...links].some((text) => parts.every((part) => text.includes(part))), what).toBe(true);
    has('Claude Code', 'claude mcp add --transport http', endpoint, `Authorization: Bearer ${key}`);
    has('Codex', 'codex mcp add', '--url', endpoint, key);
    has('VS Code', 'code --add-mcp', endpoint, key);
    has('Claude Desktop', 'mcp-remote', endpoint, key);
    const configs = links
      .filter((link) => link.startsWith('cursor://anysphere.cursor-deeplink/mcp/install'))
      .map((link) => JSON.parse(Buffer.from(new URL(link).searchParams.get('config')!, 'base64').toString()));
    // By signing in, and with the key.
    expect(configs).toContainEqual({ url: endpoint });
    expect(configs).toContainEqual({ url: endpoint, headers: { Authorization: `Bearer ${key}` } });
  });

  await test.step('the official SDK lists and calls tools with it', async () => {
    const client = path.join(import.meta.dirname, '../clients/list-and-call.mjs');
    const args = [client, `${gatehouse.url}/mcp/acme`, key, 'ev__echo', '{"message":"hello from the browser test"}'];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    expect(stdout).toContain('hello from the browser test');
  });

  await test.step('a GET shows the key to nobody, and the card shows when it was used', async () => {
    await page.goto(`${gatehouse.url}/settings/api-keys`);
    await settled(page, 'API keys');
    expect(await page.content()).not.toContain(key);
    await expect(page.getByText('claude-prod').first()).toBeVisible();
    await accessible(page);
  });

  await test.step('disabling it works at once, deleting one in use warns', async () => {
    const status = async () => (await fetch(`${gatehouse.url}/mcp/acme`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-API-Key': key },
      body: '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}',
    })).status;
    expect(await status()).toBe(200);
    await page.getByRole('switch', { name: /claude-prod/ }).click();
    await expect(page.getByRole('switch', { name: /claude-prod/ })).toHaveAttribute('aria-checked', 'false');
    await expect.poll(status, { timeout: 1000 }).toBe(401);
    await hydrated(page);
    await page.getByRole('switch', { name: /claude-prod/ }).click();
    await expect(page.getByRole('switch', { name: /claude-prod/ })).toHaveAttribute('aria-checked', 'true');
    await expect.poll(status, { timeout: 1000 }).toBe(200);
    // Uses are written every few seconds.
    await expect(async () => {
      await page.goto(`${gatehouse.url}/settings/api-keys`);
      await expect(page.getByText('Never used')).toHaveCount(0, { timeout: 500 });
    }).toPass({ timeout: 15_000 });
    await hydrated(page);
    await page.getByRole('link', { name: /Delete.*claude-prod/ }).click();
    await settled(page, /Delete claude-prod/);
    await expect(page.getByText(/Used .* by/).first()).toBeVisible();
    await accessible(page);
    await page.getByRole('textbox').fill('claude-prod');
    await page.getByRole('button', { name: /Delete/ }).click();
    await settled(page, 'API keys');
    await expect.poll(status, { timeout: 1000 }).toBe(401);
  });

  expect(problems).toEqual([]);
});
