// The dashboard's side of OAuth: clients, connections, the consent page, and what they look like.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

import type { Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';
import type { Gatehouse } from '../processes';
import { code } from '../totp';

const PASSWORD = 'correct horse battery staple 9';
/** Where clients are sent back to: something listens there, as in an app on the same machine. */
const app = http.createServer((_, response) => response.end('<!doctype html><title>Back</title>'));
let CALLBACK = '';

test.describe.configure({ mode: 'serial' });

test.beforeAll(async ({ gatehouse }) => {
  await new Promise<void>((listening) => app.listen(0, '127.0.0.1', listening));
  CALLBACK = `http://127.0.0.1:${(app.address() as AddressInfo).port}/callback`;
  await gatehouse.cli(['setup', '--email', 'olga@example.com', '--password', PASSWORD, '--org-name', 'Oak', '--org-slug', 'oak', '--json']).catch(() => {});
  await gatehouse.cli(['user', 'create', '--email', 'olga@example.com', '--password', PASSWORD, '--json']).catch(() => {});
  await gatehouse.cli(['org', 'create', '--name', 'Oak', '--slug', 'oak', '--owner', 'olga@example.com', '--json']).catch(() => {});
  await gatehouse.cli(['org', 'create', '--name', 'Oak, the second', '--slug', 'oak-two', '--owner', 'olga@example.com', '--json']);
  for (const [email, role] of [['mo@example.com', 'member'], ['vi@example.com', 'viewer'], ['tess@example.com', 'member']]) {
    await gatehouse.cli(['user', 'create', '--email', email, '--password', PASSWORD, '--json']);
    await gatehouse.cli(['org', 'member', 'add', '--org', 'oak', '--email', email, '--role', role, '--json']);
  }
});

test.afterAll(() => { app.close(); });

async function logIn(page: Page, gatehouse: Gatehouse, email: string) {
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await fillIn(page, email);
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

async function fillIn(page: Page, email: string) {
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

/** A client that registers itself, and the address at which it asks for access. */
async function client(gatehouse: Gatehouse, name: string, resource = 'oak') {
  const registered = await fetch(`${gatehouse.url}/oauth/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: name, redirect_uris: [CALLBACK], token_endpoint_auth_method: 'none', client_uri: 'https://client.example' }),
  });
  expect(registered.status, await registered.clone().text()).toBe(201);
  const { client_id: id } = await registered.json() as { client_id: string };
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: id,
    redirect_uri: CALLBACK,
    state: 'a+b %2B =&',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    scope: 'mcp:call',
  });
  if (resource) query.set('resource', `${gatehouse.url}/mcp/${resource}`);
  return { id, verifier, authorize: `${gatehouse.url}/oauth/authorize?${query}` };
}

/** Presses a button of the consent page, and gives what the client is told. */
async function answer(page: Page, button: string): Promise<URLSearchParams> {
  await page.getByRole('button', { name: button, exact: true }).click();
  await page.waitForURL((url) => url.href.startsWith(CALLBACK));
  return new URL(page.url()).searchParams;
}

async function tokens(gatehouse: Gatehouse, of: { id: string; verifier: string }, code: string) {
  const response = await fetch(`${gatehouse.url}/oauth/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'authorization_code', code, client_id: of.id, redirect_uri: CALLBACK, code_verifier: of.verifier }),
  });
  expect(response.status, await response.clone().text()).toBe(200);
  return await response.json() as { access_token: string; refresh_token: string };
}

async function call(gatehouse: Gatehouse, token: string): Promise<number> {
  const response = await fetch(`${gatehouse.url}/mcp/oak`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', authorization: `Bearer ${token}` },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} }),
  });
  return response.status;
}

async function connect(page: Page, gatehouse: Gatehouse, name: string) {
  const of = await client(gatehouse, name);
  await page.goto(of.authorize);
  await hydrated(page);
  const told = await answer(page, 'Allow');
  return { ...of, ...await tokens(gatehouse, of, told.get('code') ?? '') };
}

test('a person logs in on the way, allows a client, and takes it back', async ({ page, gatehouse }) => {
  test.setTimeout(120_000);
  const of = await client(gatehouse, 'Claude <b>Desktop</b>');
  await page.goto(of.authorize);
  await expect(page.getByText('Log in to connect Claude <b>Desktop</b> to Gatehouse.')).toBeVisible();
  await hydrated(page);
  await fillIn(page, 'olga@example.com');
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Claude <b>Desktop</b> wants to use the tools of Oak');
  await expect(page.getByText('Unverified: this app registered itself')).toBeVisible();
  await expect(page.getByText('an app on this computer')).toBeVisible();
  await expect(page.getByText('Stays connected 30 days')).toBeVisible();
  await hydrated(page);
  const told = await answer(page, 'Allow');
  expect(told.get('state')).toBe('a+b %2B =&');
  const { access_token: token } = await tokens(gatehouse, of, told.get('code') ?? '');
  expect(await call(gatehouse, token)).toBe(200);

  await page.goto(`${gatehouse.url}/settings/mcp-connections`);
  await expect(page.getByText('1 connection · 1 active')).toBeVisible();
  const row = page.getByRole('row', { name: /Claude <b>Desktop<\/b>/ });
  await expect(row).toContainText('active');
  await expect(row).toContainText('olga@example.com');
  await expect(row).toContainText('gth_conn_sk_');
  await expect(row, 'the first token counts').toContainText('just now');
  await hydrated(page);
  await row.getByRole('link', { name: 'Regenerate key for Claude <b>Desktop</b>, olga@example.com' }).click();
  await expect(page.getByText('Regenerate the API key for this connection? The old key will be deactivated immediately.')).toBeVisible();
  await hydrated(page);
  await page.getByRole('button', { name: 'Regenerate key' }).click();
  await expect(page.getByText('New key made.')).toBeVisible();
  await expect.poll(() => call(gatehouse, token)).toBe(401);
  await hydrated(page);
  await page.getByRole('link', { name: 'Revoke Claude <b>Desktop</b>, olga@example.com' }).click();
  await expect(page.getByText('Revoke this MCP connection? The associated API key will be deactivated and the client will need to re-authorize.')).toBeVisible();
  await expect(page.getByRole('link', { name: 'Cancel' })).toBeVisible();
  await hydrated(page);
  await page.getByRole('button', { name: 'Revoke connection' }).click();
  await expect(page.getByText('1 connection · 0 active')).toBeVisible();
  await expect(row).toContainText('revoked');
  await expect(row.getByRole('link')).toHaveCount(0);
});

test('a client may be denied, and is given less than it asks for', async ({ page, gatehouse, everything }) => {
  test.setTimeout(120_000);
  for (const slug of ['alpha', 'beta']) {
    await gatehouse.cli(['connector', 'add', '--org', 'oak', '--slug', slug, '--name', slug.toUpperCase(), '--url', everything.url, '--json']);
  }
  await logIn(page, gatehouse, 'olga@example.com');
  const denied = await client(gatehouse, 'Denied');
  await page.goto(denied.authorize);
  await hydrated(page);
  expect((await answer(page, 'Deny')).get('error')).toBe('access_denied');

  const narrow = await client(gatehouse, 'Narrow', '');
  await page.goto(narrow.authorize);
  await expect(page.getByRole('heading', { name: 'For which organisation?' })).toBeVisible();
  await hydrated(page);
  await page.locator('.consent-org', { hasText: '2 connectors' }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Narrow wants to use the tools of Oak');
  await page.getByLabel('All connectors of Oak').uncheck();
  await page.getByLabel('BETA').uncheck();
  const told = await answer(page, 'Allow');
  await tokens(gatehouse, narrow, told.get('code') ?? '');
  await page.goto(`${gatehouse.url}/settings/mcp-connections?status=active&client=Narrow`);
  await expect(page.getByRole('row', { name: /Narrow/ })).toContainText('· alpha');
  await page.goto(`${gatehouse.url}/settings/mcp-connections?status=revoked&client=Narrow`);
  await expect(page.getByText('No connection matches')).toBeVisible();

  // Nothing ticked: the page comes back with the error at the field, the request is still open.
  const none = await client(gatehouse, 'X'.repeat(80));
  await page.goto(none.authorize);
  await hydrated(page);
  await page.getByLabel('All connectors of Oak').uncheck();
  await page.getByLabel('ALPHA').uncheck();
  await page.getByLabel('BETA').uncheck();
  await page.getByRole('button', { name: 'Allow', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('Choose at least one connector, or deny the request');
  await expect(page).toHaveTitle(/^Error: /);
  await expect(page.getByLabel('ALPHA')).not.toBeChecked();
  await hydrated(page);
  await page.setViewportSize({ width: 390, height: 900 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth), 'a long name fits a phone').toBe(390);
  await page.getByLabel('ALPHA').check();
  expect((await answer(page, 'Allow')).get('code')).toBeTruthy();

  // The request was answered: its page says so, and what comes next.
  await page.goBack();
  await page.goto(`${gatehouse.url}/oauth/consent?request=nothing`);
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('This request cannot be answered');
  await expect(page.getByText('If you allowed it, the connection is listed under')).toBeVisible();
});

test('an OAuth client is made with a warning, gets a second secret, and goes', async ({ page, gatehouse }) => {
  test.setTimeout(120_000);
  await logIn(page, gatehouse, 'olga@example.com');
  const { access_token: token } = await connect(page, gatehouse, 'Cut off');
  expect(await call(gatehouse, token)).toBe(200);
  await page.goto(`${gatehouse.url}/settings/oauth-clients`);
  await expect(page.getByText('Create a client only for machine-to-machine access.')).toBeVisible();
  await expect(page.getByRole('heading', { name: /^Registered by themselves/ })).toBeVisible();
  await page.goto(`${gatehouse.url}/settings/oauth-clients/new`);
  await hydrated(page);
  await page.getByRole('button', { name: 'Create client' }).click();
  await expect(page.getByRole('alert')).toContainText('Enter a name');
  await expect(page.getByLabel('Revoke all refresh tokens now')).toBeChecked();
  await page.getByLabel('Name', { exact: true }).fill('nightly');
  await page.getByRole('button', { name: 'Create client' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'OAuth client created' })).toBeVisible();
  const id = await page.getByLabel('client ID', { exact: true }).innerText();
  const secret = await page.getByLabel('client secret', { exact: true }).innerText();
  expect(id).toMatch(/^gth_client_[0-9A-Za-z]{22}$/);
  expect(secret).toMatch(/^gth_secret_[0-9A-Za-z]{49}$/);
  await expect.poll(() => call(gatehouse, token)).toBe(401);
  const grant = async (client_secret: string) => {
    const response = await fetch(`${gatehouse.url}/oauth/token`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret, scope: 'mcp:call' }),
    });
    return response.status;
  };
  expect(await grant(secret)).toBe(200);

  await hydrated(page);
  await page.getByRole('link', { name: 'I have saved it' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'nightly' })).toBeVisible();
  expect(await page.content()).not.toContain(secret);
  await hydrated(page);
  await page.getByLabel('Keep the current secret working').selectOption('24h');
  await page.getByRole('button', { name: 'Rotate secret' }).click();
  await expect(page.getByRole('heading', { name: 'New secret' })).toBeVisible();
  const second = await page.getByLabel('client secret', { exact: true }).innerText();
  expect(second).not.toBe(secret);
  await page.setViewportSize({ width: 390, height: 900 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth), 'a secret fits a phone').toBe(390);
  await page.setViewportSize({ width: 1280, height: 720 });
  expect([await grant(secret), await grant(second)]).toEqual([200, 200]);

  await page.goto(`${gatehouse.url}/settings/oauth-clients/${id}/delete`);
  await expect(page.getByText('Applications using this client ID stop working.')).toBeVisible();
  await hydrated(page);
  await page.getByRole('button', { name: 'Delete client' }).click();
  await expect(page.getByRole('alert')).toContainText('Type nightly');
  await page.getByLabel('Type nightly to confirm').fill('nightly');
  await page.getByRole('button', { name: 'Delete client' }).click();
  await expect(page.getByText('OAuth client deleted.')).toBeVisible();
  // What was done is told once: the address forgets it.
  if (test.info().project.use.javaScriptEnabled !== false) await expect(page).toHaveURL(/oauth-clients$/);
  expect(await grant(second)).toBe(401);
});

test('the command line makes clients as well', async ({ gatehouse }) => {
  const made = await gatehouse.cliJson(['oauth-client', 'create', '--org', 'oak', '--name', 'from the CLI', '--scope', 'mcp:call', '--keep-refresh-tokens']);
  expect(Object.keys(made)).toEqual(['client_id', 'client_secret']);
});

test('a member sees their own connections, and what takes more', async ({ page, gatehouse }) => {
  await logIn(page, gatehouse, 'mo@example.com');
  await connect(page, gatehouse, 'Of Mo');
  for (const [path, permission] of [['/settings/mcp-connections', 'api-keys:read'], ['/settings/oauth-clients', 'oauth-clients:read']]) {
    const denied = await page.goto(`${gatehouse.url}${path}`);
    expect(denied?.status()).toBe(403);
    await expect(page.getByRole('heading', { level: 1, name: 'Permission denied' })).toBeVisible();
    await expect(page.getByText(permission).first()).toBeVisible();
  }
  await page.goto(`${gatehouse.url}/profile/connections`);
  await hydrated(page);
  await page.getByRole('link', { name: 'Revoke Of Mo for Oak' }).click();
  await page.getByRole('button', { name: 'Revoke connection' }).click();
  await expect(page.getByText('Connection revoked.')).toBeVisible();
  await expect(page.getByRole('row', { name: /Of Mo/ })).toContainText('revoked');
});

test('a viewer sees connections without buttons, and cannot connect', async ({ page, gatehouse }) => {
  await logIn(page, gatehouse, 'vi@example.com');
  await page.goto(`${gatehouse.url}/settings/mcp-connections`);
  await expect(page.getByRole('columnheader', { name: 'Actions' })).toHaveCount(0);
  await expect(page.getByRole('link', { name: /^Revoke / })).toHaveCount(0);
  await page.goto(`${gatehouse.url}/settings/oauth-clients/new`);
  await expect(page.getByText('oauth-clients:write').first()).toBeVisible();
  const of = await client(gatehouse, 'Of Vi');
  await page.goto(of.authorize);
  await expect(page.getByText('You cannot give access here')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Allow' })).toHaveCount(0);
});

test('every page of OAuth has its heading, fits a phone, and axe finds nothing', async ({ page, gatehouse }) => {
  test.setTimeout(360_000);
  const problems: string[] = [];
  page.on('console', (message) => { if (message.type() === 'error') problems.push(`${page.url()}: ${message.text()}`); });
  page.on('pageerror', (error) => problems.push(`${page.url()}: ${error}`));
  await logIn(page, gatehouse, 'olga@example.com');
  const of = await client(gatehouse, 'A client with a name of about forty chars');
  await page.goto(of.authorize);
  await hydrated(page);
  const told = await answer(page, 'Allow');
  await tokens(gatehouse, of, told.get('code') ?? '');
  const made = await gatehouse.cliJson<{ client_id: string }>(['oauth-client', 'create', '--org', 'oak', '--name', 'A machine', '--keep-refresh-tokens']);
  await page.goto(`${gatehouse.url}/settings/mcp-connections`);
  const revoke = await page.getByRole('link', { name: /^Revoke A client with/ }).getAttribute('href');
  const asked = (await client(gatehouse, 'Still asked')).authorize;
  const several = (await client(gatehouse, 'Asked for several', '')).authorize;
  const pages: [string, string | RegExp][] = [
    ['/settings/mcp-connections', 'MCP connections'],
    ['/settings/mcp-connections?status=revoked&user=nobody', 'MCP connections'],
    ['/settings/mcp-connections/how-to', 'How to connect'],
    [revoke ?? '', /^Revoke A client/],
    [revoke?.replace('/revoke', '/regenerate') ?? '', /^Regenerate the key of A client/],
    ['/settings/oauth-clients', 'OAuth clients'],
    ['/settings/oauth-clients/new', 'New OAuth client'],
    [`/settings/oauth-clients/${made.client_id}`, 'A machine'],
    [`/settings/oauth-clients/${made.client_id}/delete`, 'Delete A machine?'],
    [`/settings/oauth-clients/${of.id}`, /^A client with/],
    [`/settings/oauth-clients/${of.id}/delete`, /^Revoke all connections of A client/],
    ['/profile/connections', 'My connections'],
    ['/help/claude-ai', 'Connect to Claude.ai'],
    [asked, /^Still asked wants/],
    [several, /^Asked for several wants/],
  ];
  for (const [path, heading] of pages) {
    await test.step(path, async () => {
      const response = await page.goto(path.startsWith('http') ? path : `${gatehouse.url}${path}`);
      expect(response?.status(), path).toBe(200);
      await expect(page.getByRole('heading', { level: 1 })).toHaveText(heading);
      await expect(page.getByRole('heading', { level: 1 })).toHaveCount(1);
      await hydrated(page);
      if (process.env.SCREENSHOTS && test.info().project.name === 'scripts') await shoot(page, heading);
      if (test.info().project.use.javaScriptEnabled === false) return;
      for (const width of [1440, 768, 390, 320]) {
        await page.setViewportSize({ width, height: 900 });
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(wider, `${path} at ${width}`).toBeLessThanOrEqual(0);
        if (width === 1440 || width === 390) await expectAccessible(page);
      }
      await page.setViewportSize({ width: 1440, height: 900 });
    });
  }
  expect(problems).toEqual([]);
});

test('on the way to consent a second factor is asked for, and a wrong code loses nothing', async ({ page, freshGatehouse: gatehouse }) => {
  // A server of its own: registrations are rationed, and the others here have used theirs up.
  test.setTimeout(120_000);
  await gatehouse.cli(['setup', '--email', 'tess@example.com', '--password', PASSWORD, '--org-name', 'Oak', '--org-slug', 'oak', '--json']);
  await logIn(page, gatehouse, 'tess@example.com');
  await page.goto(`${gatehouse.url}/profile/security/two-factor`);
  await hydrated(page);
  await page.getByRole('button', { name: 'Turn on two-factor authentication' }).click();
  const secret = (await page.getByLabel('setup key', { exact: true }).innerText()).trim();
  await page.getByLabel('Code', { exact: true }).fill(code(secret));
  await page.getByRole('button', { name: 'Turn on', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Your backup codes' })).toBeVisible();

  await page.context().clearCookies();
  const of = await client(gatehouse, 'An agent');
  await page.goto(of.authorize);
  await expect(page.getByText('Log in to connect An agent to Gatehouse.')).toBeVisible();
  await hydrated(page);
  await fillIn(page, 'tess@example.com');
  await expect(page.getByRole('heading', { level: 1, name: 'Enter your code' })).toBeVisible();
  await expect(page.getByText('Log in to connect An agent to Gatehouse.')).toBeVisible();
  await hydrated(page);
  // Half a log-in opens nothing.
  expect((await page.request.get(of.authorize, { maxRedirects: 0 })).headers().location).toContain('/sign-in');
  await page.getByLabel('Code', { exact: true }).fill('000000');
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('This code is not right');
  await hydrated(page);
  // The code of this half minute set the app up; that of the next one counts already.
  await page.getByLabel('Code', { exact: true }).fill(code(secret, 1));
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('An agent wants to use the tools of Oak');
  await hydrated(page);
  const told = await answer(page, 'Allow');
  const { access_token: token } = await tokens(gatehouse, of, told.get('code') ?? '');
  expect(await call(gatehouse, token)).toBe(200);
});

async function shoot(page: Page, heading: string | RegExp) {
  const name = `${String(heading)} ${new URL(page.url()).search}`.replace(/[^A-Za-z]+/g, '-').slice(0, 60);
  for (const [width, scheme] of [[1440, 'light'], [390, 'light'], [1440, 'dark'], [390, 'dark']] as const) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}-${width}-${scheme}.png`, fullPage: true });
  }
  await page.emulateMedia({ colorScheme: 'light' });
}
