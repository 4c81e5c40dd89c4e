// The organisation's own identity provider, from its issuer to a refused token; and the connection doctor.
import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Gatehouse, type Provider, startGatehouse, startProvider } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

test.describe.configure({ mode: 'serial' });

// A server of this file's own: which organisation a person first sees depends on what others made for them.
let gatehouse: Gatehouse;
let provider: Provider;

test.beforeAll(async () => {
  gatehouse = await startGatehouse();
  provider = await startProvider();
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['org', 'create', '--name', 'Bolt', '--slug', 'bolt', '--owner', 'ada@example.com', '--plan', 'team', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'vic@example.com', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'vic@example.com', '--role', 'viewer', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'bob@example.com', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'member', 'add', '--org', 'bolt', '--email', 'bob@example.com', '--role', 'owner', '--json']);
});

test.afterAll(async () => {
  await gatehouse.stop();
  await provider.stop();
});

async function logIn(page: import('@playwright/test').Page, url: string, email: string) {
  await page.goto(`${url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

/** What the endpoint says to a bearer. */
async function call(url: string, token?: string, agent = 'e2e/1') {
  const headers: Record<string, string> = { 'Content-Type': 'application/json', 'User-Agent': agent };
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
  return (await fetch(`${url}/mcp/acme`, { method: 'POST', headers, body })).status;
}

test('a provider is found, saved, tested, used, switched off and deleted', async ({ page }) => {
  test.setTimeout(240_000);
  const audience = `${gatehouse.url}/mcp/acme`;
  await logIn(page, gatehouse.url, 'ada@example.com');
  await page.goto(`${gatehouse.url}/settings/sso`);
  await hydrated(page);
  await expectFits(page, 'sso-new');
  await expect(page.getByLabel('Audience', { exact: true })).toHaveValue(audience);

  await page.getByLabel('Issuer', { exact: true }).fill(`${provider.issuer}/`);
  await page.getByRole('button', { name: 'Save provider' }).click();
  await expect(page.getByRole('alert')).toContainText(provider.issuer);
  await page.getByLabel('Issuer', { exact: true }).fill(provider.issuer);
  await page.getByRole('button', { name: 'Discover JWKS URI' }).click();
  await expect(page.getByLabel('JWKS URI', { exact: true })).toHaveValue(`${provider.issuer}/jwks`);
  await expect(page.getByText('Save to use them')).toBeVisible();
  await page.getByRole('button', { name: 'Save provider' }).click();
  await expect(page.getByText('Identity provider saved.')).toBeVisible();
  await expect(page.getByText('Accepting tokens')).toBeVisible();
  const good = await provider.token(audience);
  expect(await call(gatehouse.url, good)).toBe(200);

  await hydrated(page);
  await page.getByLabel('Token', { exact: true }).fill(good);
  await page.getByRole('button', { name: 'Test token' }).click();
  await expect(page.getByText('This token is accepted')).toBeVisible();
  await expect(page.locator('body')).not.toContainText(good.slice(-60));
  const bad = await provider.token(`${gatehouse.url}/mcp/other`);
  await page.getByLabel('Token', { exact: true }).fill(bad);
  await page.getByRole('button', { name: 'Test token' }).click();
  await expect(page.getByText('This token is refused')).toBeVisible();
  await expect(page.getByText('Failed: Audience (aud)')).toBeVisible();
  await expectFits(page, 'sso-tested');

  await page.getByRole('button', { name: 'Switch off the identity provider' }).click();
  await expect(page.getByText('Identity provider switched off')).toBeVisible();
  await expect.poll(() => call(gatehouse.url, good)).toBe(401);
  await page.getByRole('button', { name: 'Switch on the identity provider' }).click();
  await expect(page.getByText('Identity provider switched on')).toBeVisible();
  await expect.poll(() => call(gatehouse.url, good)).toBe(200);
});

test('a viewer reads it, and a plan without it says so', async ({ page }) => {
  await logIn(page, gatehouse.url, 'vic@example.com');
  await page.goto(`${gatehouse.url}/settings/sso`);
  await expect(page.getByText('sso:manage')).toBeVisible();
  await expect(page.getByRole('definition').filter({ hasText: `${provider.issuer}/jwks` })).toBeVisible();
  await expect(page.getByRole('button', { name: /Save|Test|Delete|Switch/ })).toHaveCount(0);

  await page.context().clearCookies();
  await logIn(page, gatehouse.url, 'bob@example.com');
  await page.goto(`${gatehouse.url}/settings/sso`);
  await expect(page.getByText('Included in the plan Enterprise')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'sso-plan');
});

test('deleting asks first', async ({ page }) => {
  await logIn(page, gatehouse.url, 'ada@example.com');
  await page.goto(`${gatehouse.url}/settings/sso`);
  await hydrated(page);
  await page.getByRole('button', { name: 'Delete provider' }).click();
  await expect(page.getByRole('alert')).toContainText('Tick this');
  await page.getByLabel('I want to delete it with its rules').check();
  await page.getByRole('button', { name: 'Delete provider' }).click();
  await expect(page.getByText('Identity provider deleted')).toBeVisible();
});

test('the doctor tells of attempts and tests the way here', async ({ page }) => {
  test.setTimeout(120_000);
  expect(await call(gatehouse.url, undefined, 'claude-code/2.1 (sdk-cli)')).toBe(401);
  expect(await call(gatehouse.url, 'a.b.c', 'mcp-remote/0.15.1')).toBe(401);
  await logIn(page, gatehouse.url, 'ada@example.com');
  await page.goto(`${gatehouse.url}/settings/mcp-connections/doctor`);
  await hydrated(page);
  const claude = page.getByRole('article').filter({ hasText: 'Claude Code' });
  await expect(claude).toContainText('Under way');
  const remote = page.getByRole('article').filter({ hasText: 'mcp-remote' });
  await expect(remote).toContainText('Failed');
  await expect(remote).toContainText('~/.mcp-auth');
  await page.getByRole('button', { name: 'Run self-test' }).click();
  await expect(page.getByText('Clients can find their way here')).toBeVisible();
  await expect(page.getByText('Passed: Ask the authorization endpoint')).toBeVisible();
  await expectFits(page, 'doctor');
});
