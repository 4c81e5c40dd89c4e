// A connector whose server wants OAuth, which is another Gatehouse: from the first refusal to a call, once for the
// organisation and by each member.
import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Everything, type Gatehouse, startEverything, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

test.describe.configure({ mode: 'serial' });

let front: Gatehouse;
let behind: Gatehouse;
let everything: Everything;

test.beforeAll(async () => {
  [front, behind, everything] = await Promise.all([startGatehouse({}, 'localhost'), startGatehouse(), startEverything()]);
  for (const [server, slug] of [[front, 'acme'], [behind, 'beta']] as const) {
    await server.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', slug, '--org-slug', slug, '--json']);
  }
  await behind.cli(['connector', 'add', '--org', 'beta', '--slug', 'ev', '--name', 'Everything', '--url', everything.url, '--json']);
});

test.afterAll(async () => {
  await Promise.all([front?.stop(), behind?.stop(), everything?.stop()]);
});

type Page = import('@playwright/test').Page;

async function logIn(page: Page) {
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

/** What a tool call with a key comes to. */
async function call(key: string) {
  const headers = { 'Content-Type': 'application/json', 'X-API-Key': key };
  const params = { name: 'beta__ev__echo', arguments: { message: 'through both' } };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  return (await fetch(`${front.url}/mcp/acme`, { method: 'POST', headers, body })).text();
}

test('a server that wants a sign-in is added, authorised, called and disconnected', async ({ page }) => {
  test.setTimeout(240_000);
  await page.goto(`${front.url}/sign-in`);
  await hydrated(page);
  await logIn(page);
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();

  await page.goto(`${front.url}/connectors/new`);
  await hydrated(page);
  await page.getByLabel('Name', { exact: true }).first().fill('Beta');
  await page.getByLabel('Slug', { exact: true }).fill('beta');
  await page.getByLabel('URL', { exact: true }).fill(`${behind.url}/mcp/beta`);
  await page.getByRole('button', { name: 'Add connector' }).click();
  await expect(page.getByText('This server wants a sign-in')).toBeVisible();
  await expectFits(page, 'connector-wants-sign-in');
  await page.getByRole('button', { name: 'Add it and set up the sign-in' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Credentials' })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'credentials-static');

  await page.getByLabel('OAuth sign-in, once for the organisation').check();
  await page.getByRole('button', { name: 'Save credentials' }).click();
  await expect(page.getByText('Credentials saved.')).toBeVisible();
  await expect(page.getByText('Not authorised')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'credentials-not-authorised');
  await page.getByRole('button', { name: 'Authorise Beta' }).click();
  const out = page.getByRole('link', { name: /^Continue to 127\.0\.0\.1/ });
  await expect(out).toBeVisible();
  await expectFits(page, 'credentials-on-the-way');
  await out.click();

  await expect(page).toHaveURL(new RegExp(`^${behind.url}`));
  await hydrated(page);
  await logIn(page);
  await expect(page.getByRole('button', { name: 'Allow' })).toBeVisible();
  await hydrated(page);
  await page.getByRole('button', { name: 'Allow' }).click();
  await expect(page.getByText('Authorised. Calls work from now on.')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'credentials-authorised');

  const { key } = await front.cliJson<{ key: string }>(['api-key', 'create', '--org', 'acme', '--name', test.info().project.name]);
  await expect.poll(() => call(key)).toContain('through both');

  await page.getByRole('link', { name: 'Disconnect Beta' }).click();
  await expect(page.getByText('Disconnect from this server?')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'credentials-disconnect');
  await page.getByRole('button', { name: 'Disconnect', exact: true }).click();
  await expect(page.getByText('Disconnected. The tokens are erased.')).toBeVisible();
  await expect.poll(() => call(key)).toContain('upstream_needs_authorization');

  // From now on each member signs in for themselves.
  await hydrated(page);
  await page.getByLabel('OAuth sign-in by each member').check();
  await page.getByRole('button', { name: 'Save credentials' }).click();
  await expect(page.getByText('Credentials saved.')).toBeVisible();
  await expect.poll(() => call(key)).toContain('/profile/authorizations');
  await page.getByRole('link', { name: 'Authorise yours' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'My authorisations' })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'authorisations-none');
  await page.getByRole('button', { name: 'Authorise Beta' }).click();
  await page.getByRole('link', { name: /^Continue to 127\.0\.0\.1/ }).click();
  await expect(page.getByRole('button', { name: 'Allow' })).toBeVisible();
  await hydrated(page);
  await page.getByRole('button', { name: 'Allow' }).click();
  await expect(page.getByText('Authorised. Calls work from now on.')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Authorise again Beta' })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'authorisations');
  await page.getByRole('link', { name: 'Remove your authorisation of Beta' }).click();
  await hydrated(page);
  await expectFits(page, 'authorisations-remove');
  await page.getByRole('button', { name: 'Remove authorisation' }).click();
  await expect(page.getByText('Authorisation removed. Your tokens are erased.')).toBeVisible();
});
