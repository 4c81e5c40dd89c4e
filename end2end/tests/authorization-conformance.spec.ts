// The official conformance suite plays a client of the authorization server. Once: it looks at no page.
import net from 'node:net';

import { authorization } from '../conformance/authorization';
import { expect, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

test.skip(({ javaScriptEnabled }) => javaScriptEnabled === false, 'the suite looks at no page');

async function freePort(): Promise<number> {
  return new Promise((found) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => found(port));
    });
  });
}

test('the authorization server conforms', async ({ page, freshGatehouse: gatehouse }) => {
  test.setTimeout(180_000);
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${gatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();

  const port = await freePort();
  const registered = await fetch(`${gatehouse.url}/oauth/register`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance', redirect_uris: [`http://127.0.0.1:${port}/callback`], token_endpoint_auth_method: 'none' }),
  });
  expect(registered.status).toBe(201);
  const { client_id: clientId } = await registered.json() as { client_id: string };

  const server = { issuer: gatehouse.url, clientId, resource: `${gatehouse.url}/mcp/acme`, port };
  const { checks, code, output } = await authorization(server, async (address) => {
    await page.goto(address.href);
    await hydrated(page);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(new RegExp(`^http://127\\.0\\.0\\.1:${port}/callback`));
  });
  const bad = checks.filter(({ check }) => !['SUCCESS', 'INFO'].includes(check.status));
  expect(bad, output).toEqual([]);
  const scenarios = new Set(checks.map(({ scenario }) => scenario.replace(/-\d{4}-\d\d-\d\dT.*/, '')));
  for (const scenario of ['authorization-server-metadata-endpoint', 'authorization-code-grant']) {
    expect([...scenarios].some((ran) => ran.includes(scenario)), `${scenario} in ${[...scenarios]}`).toBe(true);
  }
  expect(checks.filter(({ check }) => check.status === 'SUCCESS').length, output).toBeGreaterThanOrEqual(3);
  expect(code, output).toBe(0);
});
