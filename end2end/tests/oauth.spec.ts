// Clients with nothing but a URL: they discover, register, send the person to the browser, and call tools. An admin sees
// the connection, makes its key anew, cuts it off. The official TypeScript SDK and FastMCP. With scripts and without.
import { type ChildProcess, spawn } from 'node:child_process';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import readline from 'node:readline';

import { type OAuthClientProvider, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { OAuthClientInformationMixed, OAuthTokens } from '@modelcontextprotocol/sdk/shared/auth.js';
import type { Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';
import type { Gatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

async function accessible(page: Page) {
  if (test.info().project.use.javaScriptEnabled !== false) await expectAccessible(page);
}

async function settled(page: Page, heading: string | RegExp) {
  await expect(page.getByRole('heading', { level: 1, name: heading })).toBeVisible();
  await hydrated(page);
}

/** The SDK's side of OAuth: what it wants to keep, and the page it wants opened. */
class Provider implements OAuthClientProvider {
  opened: URL[] = [];
  state = () => 'a state of this client';
  #client?: OAuthClientInformationMixed;
  #tokens?: OAuthTokens;
  #verifier = '';
  constructor(readonly redirectUrl: string, readonly name: string) {}
  get clientMetadata() {
    return {
      client_name: this.name,
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }
  clientInformation = () => this.#client;
  saveClientInformation = (client: OAuthClientInformationMixed) => { this.#client = client; };
  tokens = () => this.#tokens;
  saveTokens = (tokens: OAuthTokens) => { this.#tokens = tokens; };
  redirectToAuthorization = (url: URL) => { this.opened.push(url); };
  /** What a client forgets when it is told invalid_grant or invalid_client. */
  invalidateCredentials = (what: 'all' | 'client' | 'tokens' | 'verifier' | 'discovery') => {
    if (what === 'all' || what === 'tokens') this.#tokens = undefined;
    if (what === 'all' || what === 'client') this.#client = undefined;
  };
  saveCodeVerifier = (verifier: string) => { this.#verifier = verifier; };
  codeVerifier = () => this.#verifier;
}

/** Where the browser is sent back to: keeps the last query it was called with. */
async function callback() {
  let last = new URLSearchParams();
  const server = http.createServer((request, response) => {
    const url = new URL(request.url!, 'http://127.0.0.1');
    if (url.pathname === '/callback') last = url.searchParams;
    response.setHeader('Content-Type', 'text/html').end('<title>Back at the client</title><h1>Back at the client</h1>');
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/callback`, last: () => last, stop: () => server.close() };
}

/** An SDK client; throws UnauthorizedError when a person has to act. */
async function connect(url: string, provider: Provider) {
  const client = new Client({ name: provider.name, version: '1.0.0' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider: provider }));
  return client;
}

/** Somebody signed in allows what the client asked for. */
async function allow(page: Page, url: URL, client: string) {
  await page.goto(url.href);
  await settled(page, new RegExp(client));
  await accessible(page);
  await page.getByRole('button', { name: 'Allow' }).click();
}

async function signIn(page: Page, gatehouse: Gatehouse) {
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await settled(page, 'Overview');
}

/** A row of the connections list, by the client's name and its status. */
const row = (page: Page, client: string, status: string) =>
  page.getByRole('row').filter({ hasText: client }).filter({ hasText: status });

test.describe('clients that sign in', () => {
  test('the TypeScript SDK connects, goes on with a new key, is cut off, and connects again', async ({ page, freshGatehouse: gatehouse, everything }) => {
    test.setTimeout(240_000);
    await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
    await gatehouse.cli(['connector', 'add', '--org', 'acme', '--slug', 'ev', '--name', 'Everything', '--url', everything.url, '--json']);
    const endpoint = `${gatehouse.url}/mcp/acme`;
    const back = await callback();
    const provider = new Provider(back.url, 'Claude Desktop');
    let client: Client | undefined;

    await test.step('without a credential it is sent to the browser', async () => {
      await expect(connect(endpoint, provider)).rejects.toThrow(UnauthorizedError);
      expect(provider.opened).toHaveLength(1);
      expect(provider.opened[0].searchParams.get('resource')).toBe(endpoint);
    });

    await test.step('whoever is not signed in signs in first, and learns for what', async () => {
      await page.goto(provider.opened[0].href);
      await settled(page, /Log in/);
      await expect(page.getByText('Claude Desktop').first()).toBeVisible();
      await page.getByLabel('Email').fill('ada@example.com');
      await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
      await page.getByRole('button', { name: 'Log in', exact: true }).click();
      await settled(page, /Claude Desktop/);
      await expect(page.getByText('127.0.0.1').first()).toBeVisible();
      await expect(page.getByText(/Unverified/).first()).toBeVisible();
      await expect(page.getByText('Everything').first()).toBeVisible();
      await accessible(page);
    });

    await test.step('denying sends the client away with access_denied', async () => {
      await page.getByRole('button', { name: 'Deny' }).click();
      await expect(page.getByRole('heading', { name: 'Back at the client' })).toBeVisible();
      expect(back.last().get('error')).toBe('access_denied');
      expect(back.last().get('iss')).toBe(gatehouse.url);
      expect(back.last().get('state')).toBe('a state of this client');
      expect(back.last().get('code')).toBeNull();
    });

    const finish = async () => {
      // One that was cut off would go on asking for its stream, and begin a sign-in of its own.
      await client?.close();
      await allow(page, provider.opened.at(-1)!, 'Claude Desktop');
      await expect(page.getByRole('heading', { name: 'Back at the client' })).toBeVisible();
      expect(back.last().get('iss')).toBe(gatehouse.url);
      await new StreamableHTTPClientTransport(new URL(endpoint), { authProvider: provider }).finishAuth(back.last().get('code')!);
      return connect(endpoint, provider);
    };
    const echo = async (message: string) => JSON.stringify(await client!.callTool({ name: 'ev__echo', arguments: { message } }));

    await test.step('allowing connects it, and it calls tools', async () => {
      client = await finish();
      expect(await echo('signed in')).toContain('signed in');
      expect(provider.tokens()?.refresh_token).toBeTruthy();
      expect(provider.tokens()?.expires_in).toBe(3600);
    });

    await test.step('the page lists it', async () => {
      await page.goto(`${gatehouse.url}/settings/mcp-connections`);
      await settled(page, 'MCP connections');
      await expect(row(page, 'Claude Desktop', 'active')).toHaveCount(1);
      await expect(row(page, 'Claude Desktop', 'active')).toContainText('ada@example.com');
      await expect(row(page, 'Claude Desktop', 'active')).toContainText('gth_conn_sk_');
      await accessible(page);
    });

    await test.step('a new key: the client goes on without anybody', async () => {
      const before = provider.tokens()!.access_token;
      await page.getByRole('link', { name: /Regenerate key for Claude Desktop/ }).click();
      await settled(page, /Regenerate/);
      await expect(page.getByText('Regenerate the API key for this connection? The old key will be deactivated immediately.').first()).toBeVisible();
      await page.getByRole('button', { name: 'Regenerate key' }).click();
      await settled(page, 'MCP connections');
      const status = async () => (await fetch(endpoint, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${before}` },
        body: '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}',
      })).status;
      await expect.poll(status, { timeout: 1000 }).toBe(401);
      const opened = provider.opened.length;
      expect(await echo('still here')).toContain('still here');
      expect(provider.tokens()!.access_token).not.toBe(before);
      expect(provider.opened).toHaveLength(opened);
    });

    await test.step('revoked: 401 on the next request, and it has to ask again', async () => {
      await page.goto(`${gatehouse.url}/settings/mcp-connections`);
      await hydrated(page);
      await page.getByRole('link', { name: /Revoke Claude Desktop/ }).click();
      await settled(page, /Revoke/);
      await expect(page.getByText('Revoke this MCP connection? The associated API key will be deactivated and the client will need to re-authorize.').first()).toBeVisible();
      await accessible(page);
      await page.getByRole('button', { name: 'Revoke connection' }).click();
      await settled(page, 'MCP connections');
      await expect(row(page, 'Claude Desktop', 'revoked')).toHaveCount(1);
      const opened = provider.opened.length;
      await expect(echo('too late')).rejects.toThrow(UnauthorizedError);
      // Its stream has ended as well, and may ask before or after the call does.
      expect(provider.opened.length).toBeGreaterThan(opened);
    });

    await test.step('it connects again: a new row beside the revoked one', async () => {
      client = await finish();
      expect(await echo('back again')).toContain('back again');
      await page.goto(`${gatehouse.url}/settings/mcp-connections`);
      await settled(page, 'MCP connections');
      await expect(row(page, 'Claude Desktop', 'active')).toHaveCount(1);
      await expect(row(page, 'Claude Desktop', 'revoked')).toHaveCount(1);
      await client?.close();
    });
    back.stop();
  });

  test('FastMCP connects, and refreshes after its key was made anew', async ({ page, freshGatehouse: gatehouse, everything }) => {
    test.setTimeout(240_000);
    await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
    await gatehouse.cli(['connector', 'add', '--org', 'acme', '--slug', 'ev', '--name', 'Everything', '--url', everything.url, '--json']);
    await signIn(page, gatehouse);
    const client = new FastMcp(`${gatehouse.url}/mcp/acme`);
    try {
      const { open } = await client.next();
      await allow(page, new URL(open!), 'FastMCP Client');
      expect(await client.next()).toEqual({ connected: true });
      expect((await client.ask('tools')).tools).toContain('ev__echo');
      expect((await client.ask('call ev__echo {"message":"from Python"}')).text).toContain('from Python');

      await page.goto(`${gatehouse.url}/settings/mcp-connections`);
      await hydrated(page);
      await page.getByRole('link', { name: /Regenerate key for FastMCP Client/ }).click();
      await settled(page, /Regenerate/);
      await page.getByRole('button', { name: 'Regenerate key' }).click();
      await settled(page, 'MCP connections');
      // It refreshes when its token has expired, which is an hour later at most: nobody is asked.
      expect(await client.ask('expire')).toEqual({ expired: true });
      expect((await client.ask('call ev__echo {"message":"with a new token"}')).text).toContain('with a new token');
      await page.reload();
      await expect(row(page, 'FastMCP Client', 'active')).not.toContainText('Never');
    } finally {
      client.stop();
    }
  });
});

interface Said { open?: string; connected?: boolean; tools?: string[]; text?: string; expired?: boolean; error?: string }

/** FastMCP in a process of its own. */
class FastMcp {
  #child: ChildProcess;
  #lines: AsyncIterator<string>;
  #errors = '';
  constructor(url: string) {
    const folder = path.join(import.meta.dirname, '..');
    this.#child = spawn(path.join(folder, '.venv/bin/python'), [path.join(folder, 'clients/oauth_fastmcp.py'), url], { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr!.setEncoding('utf8').on('data', (text) => { this.#errors += text; });
    this.#lines = readline.createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }
  async next(): Promise<Said> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`FastMCP ended: ${this.#errors}`);
    const said = JSON.parse(value) as Said;
    if (said.error) throw new Error(`FastMCP: ${said.error}`);
    return said;
  }
  ask(line: string): Promise<Said> {
    this.#child.stdin!.write(`${line}\n`);
    return this.next();
  }
  stop() { this.#child.kill(); }
}
