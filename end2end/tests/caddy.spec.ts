// deploy/Caddyfile, run: Caddy in front of Gatehouse gets certificates for domains that are proven, and for no others.
import https from 'node:https';

import { expect, test } from '../fixtures';
import { type Gatehouse, type Names, type Proxy, freePort, startCaddy, startGatehouse, startNames } from '../processes';

const INSTANCE = 'gatehouse.example.com';
const HOST = 'mcp.acme.example';
const TARGET = 'gateway.gate.example';

test.skip(({ javaScriptEnabled }) => javaScriptEnabled === false, 'it has no page');

let gatehouse: Gatehouse;
let names: Names;
let caddy: Proxy;

test.beforeAll(async () => {
  names = await startNames();
  const metrics = `127.0.0.1:${await freePort()}`;
  gatehouse = await startGatehouse({
    GATEHOUSE_PUBLIC_URL: `https://${INSTANCE}`, GATEHOUSE_METRICS_LISTEN: metrics, GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1/32',
    GATEHOUSE_DNS_RESOLVER: names.address, GATEHOUSE_GATEWAY_HOST: TARGET,
  });
  caddy = await startCaddy(new URL(gatehouse.url).host, metrics);
});

test.afterAll(async () => {
  await caddy?.stop();
  await gatehouse?.stop();
  names?.stop();
});

interface Answer { status: number; body: string; first: number; last: number }

/** A request by TLS to a name, whose certificate must be for that name. */
async function ask(host: string, path: string, key?: string, message?: unknown): Promise<Answer> {
  const ca = await caddy.root();
  return await new Promise((resolve, reject) => {
    const request = https.request({
      host: '127.0.0.1', port: caddy.port, servername: host, ca, path, method: message ? 'POST' : 'GET', agent: false,
      headers: {
        Host: host, 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream',
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
      },
    }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (piece: string) => { body += piece; });
      response.on('end', () => resolve({ status: response.statusCode!, body }));
    });
    request.on('error', reject).end(message ? JSON.stringify(message) : undefined);
  });
}

test('ten_06 a proven domain gets a certificate and leads to its organisation, another name gets none', async () => {
  test.setTimeout(120_000);
  const setup = ['setup', '--email', 'ada@acme.example', '--password', 'correct horse battery staple 9', '--org-name', 'Acme', '--org-slug', 'acme'];
  await gatehouse.cliJson(setup);
  const { key } = await gatehouse.cliJson<{ key: string }>(['api-key', 'create', '--org', 'acme', '--name', 'curl']);

  // The instance: its dashboard, by its own certificate.
  const page = await ask(INSTANCE, '/sign-in');
  expect(page.status).toBe(200);
  expect(page.body).toContain('Log in');

  // Entered and not proven: there is no certificate, so not even a handshake.
  await gatehouse.cli(['domain', 'add', '--org', 'acme', '--host', HOST, '--json']);
  await expect(ask(HOST, '/mcp')).rejects.toThrow(/alert|handshake|TLS|disconnected/i);

  type Entry = { name: string; value: string };
  const { cname, txt } = await gatehouse.cliJson<{ cname: Entry; txt: Entry }>(['domain', 'show', '--org', 'acme']);
  names.aliases.set(cname.name, cname.value);
  names.records.set(txt.name, txt.value);
  await gatehouse.cli(['domain', 'verify', '--org', 'acme', '--json']);
  await expect(async () => expect((await ask(HOST, '/mcp')).status).toBe(401)).toPass({ timeout: 20_000 });

  const listed = await ask(HOST, '/mcp', key, { jsonrpc: '2.0', id: 1, method: 'tools/list' });
  expect(listed.status).toBe(200);
  expect((await ask(HOST, '/sign-in')).status).toBe(404);
  const metadata = await ask(HOST, '/.well-known/oauth-protected-resource/mcp');
  expect(JSON.parse(metadata.body)).toMatchObject({ resource: `https://${HOST}/mcp`, authorization_servers: [`https://${INSTANCE}`] });

  for (const other of ['mcp.bolt.example', `x.${HOST}`]) {
    await expect(ask(other, '/mcp')).rejects.toThrow(/alert|handshake|TLS|disconnected/i);
  }

  // Removed: what is there leads nowhere.
  await gatehouse.cli(['domain', 'remove', '--org', 'acme', '--json']);
  await expect(async () => {
    const after = await ask(HOST, '/mcp', key, { jsonrpc: '2.0', id: 2, method: 'tools/list' });
    expect(after.status).toBe(421);
  }).toPass({ timeout: 20_000 });
});
