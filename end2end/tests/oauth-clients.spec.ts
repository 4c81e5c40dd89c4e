// Programs that sign in with nothing but a URL and call a tool: the MCP Inspector and mcp-remote. Once: they know nothing
// of whether the browser runs scripts, and the Inspector's callback has a fixed port.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { Page } from '@playwright/test';

import { emptyHome, inspector, Listener, mcpRemote, node } from '../clients/programs';
import { expect, hydrated, test } from '../fixtures';
import type { Everything, Gatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

test.skip(({ javaScriptEnabled }) => javaScriptEnabled === false, 'the programs are the same');
test.describe.configure({ mode: 'serial' });

async function setUp(page: Page, gatehouse: Gatehouse, everything: Everything) {
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['connector', 'add', '--org', 'acme', '--slug', 'ev', '--name', 'Everything', '--url', everything.url, '--json']);
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

/** The person allows it, and lands at the program's own address. */
async function allow(page: Page, address: URL) {
  expect(address.searchParams.get('code_challenge_method')).toBe('S256');
  await page.goto(address.href);
  await hydrated(page);
  await page.getByRole('button', { name: 'Allow' }).click();
  await page.waitForURL(/^http:\/\/(127\.0\.0\.1|localhost):\d+\/oauth\/callback/);
}

async function expectConnected(page: Page, gatehouse: Gatehouse, client: string) {
  await page.goto(`${gatehouse.url}/settings/mcp-connections`);
  await expect(page.getByRole('row').filter({ hasText: client }).filter({ hasText: 'active' })).toBeVisible();
}

test('the MCP Inspector signs in and calls a tool', async ({ page, freshGatehouse: gatehouse, everything }) => {
  test.setTimeout(180_000);
  await setUp(page, gatehouse, everything);
  const home = await emptyHome();
  const call = ['--method', 'tools/call', '--tool-name', 'ev__echo', '--tool-arg', 'message=inspected'];
  const first = inspector(`${gatehouse.url}/mcp/acme`, home, call);
  try {
    const address = await first.output.address();
    expect(address.searchParams.get('resource')).toBe(`${gatehouse.url}/mcp/acme`);
    await allow(page, address);
    const { code, stdout } = await first.ended;
    expect(stdout, first.output.text).toContain('inspected');
    expect(code).toBe(0);
    await expectConnected(page, gatehouse, 'MCP Inspector');
  } finally {
    first.stop();
    await home.remove();
  }
});

test('mcp-remote signs in and passes calls of tools on', async ({ page, freshGatehouse: gatehouse, everything }) => {
  test.setTimeout(180_000);
  await setUp(page, gatehouse, everything);
  const home = await emptyHome();
  const transport = new StdioClientTransport({
    command: node,
    args: [mcpRemote, `${gatehouse.url}/mcp/acme`, '--host', '127.0.0.1'],
    env: home.env,
    stderr: 'pipe',
  });
  const said = new Listener();
  transport.stderr!.on('data', (chunk) => said.hear(chunk));
  const client = new Client({ name: 'a client over stdio', version: '1.0.0' });
  try {
    const connected = client.connect(transport, { timeout: 120_000 });
    await allow(page, await said.address());
    await connected;
    const result = await client.callTool({ name: 'ev__echo', arguments: { message: 'remotely' } });
    expect(JSON.stringify(result), said.text).toContain('remotely');
    await expectConnected(page, gatehouse, 'MCP CLI');
  } finally {
    await client.close();
    await home.remove();
  }
});
