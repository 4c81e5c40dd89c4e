// A server that runs as a command on the machine of Gatehouse: chosen, called, and what it writes to its standard error.
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Gatehouse, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';
const here = path.dirname(fileURLToPath(import.meta.url));

test.describe.configure({ mode: 'serial' });

let folder: string;
let gatehouse: Gatehouse;

test.beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'gatehouse-local-'));
  const everything = path.join(here, '../node_modules/@modelcontextprotocol/server-everything/dist/index.js');
  const server = (name: string, args: string[]) =>
    `[stdio.${name}]\ncommand = ${JSON.stringify(process.execPath)}\nargs = ${JSON.stringify(args)}\norgs = ["acme"]\n`;
  const config = path.join(folder, 'gatehouse.toml');
  await fs.writeFile(config, [
    server('everything', [everything, 'stdio']),
    server('broken', ['-e', 'console.error("<b>no licence</b> found"); process.exit(3)']),
  ].join('\n'));
  gatehouse = await startGatehouse({ GATEHOUSE_CONFIG: config });
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
});

test.afterAll(async () => {
  await gatehouse.stop();
  await fs.rm(folder, { recursive: true, force: true });
});

async function open(page: Page, where: string) {
  await page.goto(`${gatehouse.url}${where}`);
  await hydrated(page);
}

test('a server of the machine is added and called, and its standard error is on its page', async ({ page }) => {
  test.setTimeout(240_000);
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();

  await open(page, '/connectors/new');
  await page.getByLabel('Name', { exact: true }).fill('Everything');
  await page.getByLabel('Slug').fill('ev');
  await page.getByLabel('Where it runs').selectOption('everything');
  await page.getByRole('button', { name: 'Add connector' }).click();
  await expect(page.getByText('ev__echo').first()).toBeVisible({ timeout: 30_000 });
  await hydrated(page);

  const { key } = await gatehouse.cliJson(['api-key', 'create', '--org', 'acme', '--name', 'ci']) as { key: string };
  const answer = await fetch(`${gatehouse.url}/mcp/acme`, {
    method: 'POST',
    headers: { 'X-API-Key': key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'ev__echo', arguments: { message: 'hello' } } }),
  });
  expect(JSON.stringify(await answer.json())).toContain('hello');

  await page.reload();
  await hydrated(page);
  await expect(page.getByRole('heading', { name: 'Processes' })).toBeVisible();
  await expect(page.getByText(/^One, since /)).toBeVisible();
  await expect(page.getByRole('region', { name: 'What the server wrote to its standard error' })).toContainText(/server/i);
  await expectFits(page, 'connector-local');

  // One that ends at once is not saved, and says why.
  await open(page, '/connectors/new');
  await page.getByLabel('Name', { exact: true }).fill('Broken');
  await page.getByLabel('Slug').fill('broken');
  await page.getByLabel('Where it runs').selectOption('broken');
  await page.getByRole('button', { name: 'Add connector' }).click();
  await expect(page.getByRole('alert')).toBeVisible({ timeout: 30_000 });
  await expect(page.getByRole('alert')).toContainText('ended (exit status 3)');
  await expect(page.getByRole('alert')).toContainText('Its standard error ends with: <b>no licence</b> found');
  await expect(page.getByLabel('Where it runs')).toHaveAttribute('aria-invalid', 'true');
  await expectFits(page, 'connector-local-broken');
});
