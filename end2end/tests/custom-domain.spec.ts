// A domain of an organisation's own: entered, its records set, verified, used over real HTTP, removed. With and without scripts.
import http from 'node:http';

import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Gatehouse, type Names, startGatehouse, startNames } from '../processes';

const PASSWORD = 'correct horse battery staple 9';
const HOST = 'mcp.acme.example';
const TARGET = 'gateway.gate.example';

test.describe.configure({ mode: 'serial' });

let gatehouse: Gatehouse;
let names: Names;

test.beforeAll(async () => {
  names = await startNames();
  gatehouse = await startGatehouse({ GATEHOUSE_DNS_RESOLVER: names.address, GATEHOUSE_GATEWAY_HOST: TARGET });
  await gatehouse.cli(['setup', '--email', 'ada@acme.example', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  for (const [email, role] of [['vera@acme.example', 'viewer'], ['dev@acme.example', 'developer']]) {
    await gatehouse.cli(['user', 'create', '--email', email, '--password', PASSWORD, '--json']);
    await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', email, '--role', role, '--json']);
  }
  await gatehouse.cli(['user', 'create', '--email', 'bob@bolt.example', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'create', '--name', 'Bolt', '--slug', 'bolt', '--owner', 'bob@bolt.example', '--plan', 'free', '--json']);
});

test.afterAll(async () => {
  await gatehouse.stop();
  names.stop();
});

async function open(page: Page, path: string) {
  await page.goto(`${gatehouse.url}${path}`);
  await hydrated(page);
}

async function logIn(page: Page, email: string) {
  await page.context().clearCookies();
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

/** A request to this process that names another host. */
function at(host: string, path: string, key: string): Promise<number> {
  const url = new URL(gatehouse.url);
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: url.hostname, port: url.port, path, method: 'POST',
      headers: { Host: host, 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
    }, (response) => {
      response.resume();
      resolve(response.statusCode!);
    });
    request.on('error', reject).end(body);
  });
}

test('an admin enters a domain, verifies it, uses it and removes it', async ({ page }) => {
  test.setTimeout(240_000);
  const { key } = JSON.parse(await gatehouse.cli(['api-key', 'create', '--org', 'acme', '--name', 'curl', '--json'])) as { key: string };
  await logIn(page, 'ada@acme.example');
  await open(page, '/settings/domain');
  await expect(page.getByRole('heading', { level: 1, name: 'Custom domain' })).toBeVisible();
  await expectFits(page, 'domain-none');

  // What cannot be a domain is refused at the field.
  for (const [typed, words] of [['acme.example', 'cannot have a CNAME'], ['127.0.0.1', 'IP address'], [`x.${TARGET}`, 'operates this instance']]) {
    await page.getByLabel('Domain', { exact: true }).fill(typed);
    await page.getByRole('button', { name: 'Add domain' }).click();
    await expect(page.getByRole('alert')).toContainText(words);
    await hydrated(page);
  }
  await page.getByLabel('Domain', { exact: true }).fill('MCP.acme.example.');
  await page.getByRole('button', { name: 'Add domain' }).click();
  await expect(page.getByText('Waiting for records')).toBeVisible();
  await hydrated(page);
  await expect(page.getByLabel('value of the CNAME record', { exact: true })).toHaveText(TARGET);
  const value = (await page.getByLabel('value of the TXT record', { exact: true }).textContent())!;
  expect(value).toMatch(/^gatehouse-domain=/);
  await expectFits(page, 'domain-pending');

  // What is missing is named.
  names.aliases.set(HOST, 'old.example');
  await page.getByRole('button', { name: 'Verify', exact: true }).click();
  await expect(page.getByText('It says old.example.')).toBeVisible();
  await expect(page.getByText('There is none.')).toBeVisible();
  expect(await at(HOST, '/mcp', key)).toBe(421);
  await hydrated(page);
  await expectFits(page, 'domain-missing');

  names.aliases.set(HOST, TARGET);
  names.records.set(`_gatehouse-verify.${HOST}`, value);
  await page.getByRole('button', { name: 'Verify', exact: true }).click();
  await expect(page.getByText('In use', { exact: true })).toBeVisible();
  await hydrated(page);
  await expect(page.getByText(`/v1/mcp/invoke`).first()).toBeVisible();
  await expectFits(page, 'domain-in-use');
  await expect.poll(() => at(HOST, '/mcp', key)).toBe(200);
  expect(await at(HOST, '/mcp/acme', key)).toBe(200);
  expect(await at(HOST, '/mcp/bolt', key)).toBe(404);
  expect(await at(HOST, '/sign-in', key)).toBe(404);

  await page.getByRole('link', { name: 'Remove domain' }).click();
  await expect(page.getByRole('heading', { level: 1, name: `Remove ${HOST}?` })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'domain-remove');
  await page.getByRole('button', { name: 'Remove domain' }).click();
  await expect(page.getByRole('alert')).toContainText(`Type ${HOST}`);
  await hydrated(page);
  await page.getByLabel(`Type ${HOST} to confirm`).fill(HOST);
  await page.getByRole('button', { name: 'Remove domain' }).click();
  await expect(page.getByText('Domain removed.')).toBeVisible();
  await expect.poll(() => at(HOST, '/mcp', key)).toBe(421);
});

test('whoever may not, or whose plan has none, is told so', async ({ page }) => {
  test.setTimeout(120_000);
  await logIn(page, 'vera@acme.example');
  await open(page, '/settings/domain');
  await expect(page.getByText('You need domains:manage')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Add domain' })).toHaveCount(0);
  await expectFits(page, 'domain-viewer');
  await logIn(page, 'dev@acme.example');
  await open(page, '/settings/domain');
  await expect(page.getByText('domains:read').first()).toBeVisible();
  await expectFits(page, 'domain-denied');
  await logIn(page, 'bob@bolt.example');
  await open(page, '/settings/domain');
  await expect(page.getByText('Included in the plans Pro, Team and Enterprise')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Add domain' })).toHaveCount(0);
  await expectFits(page, 'domain-plan');
  await page.getByRole('link', { name: 'Custom domain', exact: true }).last().click();
  await expect(page.getByRole('heading', { level: 2, name: 'Two records prove it' })).toBeVisible();
  await expectFits(page, 'domain-help');
});
