// A refresh token that comes back after it was replaced: the person and the organisation are told on their pages, and
// each puts it away. With scripts and without.
import crypto from 'node:crypto';

import type { Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';
import type { Gatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';
const REDIRECT = 'http://127.0.0.1/callback';

async function open(page: Page, gatehouse: Gatehouse, path: string) {
  await page.goto(`${gatehouse.url}${path}`);
  await hydrated(page);
}

/** The token endpoint's answer. */
async function token(gatehouse: Gatehouse, fields: Record<string, string>): Promise<{ refresh_token: string; error?: string }> {
  const answer = await fetch(`${gatehouse.url}/oauth/token`, { method: 'POST', body: new URLSearchParams(fields) });
  return await answer.json() as { refresh_token: string; error?: string };
}

/** A client that was allowed and whose first refresh token somebody used again. */
async function replayed(page: Page, gatehouse: Gatehouse, name: string) {
  const registered = await fetch(`${gatehouse.url}/oauth/register`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ client_name: name, redirect_uris: [REDIRECT], token_endpoint_auth_method: 'none' }),
  });
  const { client_id } = await registered.json() as { client_id: string };
  const verifier = crypto.randomBytes(32).toString('base64url');
  const asked = new URLSearchParams({
    client_id, redirect_uri: REDIRECT, response_type: 'code', resource: `${gatehouse.url}/mcp/acme`,
    code_challenge: crypto.createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
  });
  await open(page, gatehouse, `/oauth/authorize?${asked}`);
  // Nobody listens there: the address is all that is wanted. The browser is answered all the same, because the page of an
  // error that it shows otherwise may come in the way of the next one.
  await page.route((url) => url.href.startsWith(REDIRECT), (route) => route.fulfill({ contentType: 'text/plain', body: 'Back at the client' }));
  await page.getByRole('button', { name: 'Allow' }).click();
  await page.waitForURL((url) => url.href.startsWith(REDIRECT));
  const code = new URL(page.url()).searchParams.get('code')!;
  const client = { client_id };
  const first = await token(gatehouse, { ...client, grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: REDIRECT });
  const refresh = (refresh_token: string) => token(gatehouse, { ...client, grant_type: 'refresh_token', refresh_token });
  const second = await refresh(first.refresh_token);
  await refresh(second.refresh_token);
  expect((await refresh(first.refresh_token)).error).toBe('invalid_grant');
}

test('a replayed refresh token is told to both sides', async ({ page, freshGatehouse: gatehouse }) => {
  test.setTimeout(120_000);
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await open(page, gatehouse, '/sign-in');
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await replayed(page, gatehouse, 'Copied client');
  await replayed(page, gatehouse, 'Other client');

  for (const [path, whose] of [['/settings/mcp-connections', 'ada@example.com with'], ['/profile/connections', 'Your connection with']]) {
    await open(page, gatehouse, path);
    const notice = (client: string) => page.locator('.callout').filter({ hasText: `${whose} ${client}` });
    await expect(notice('Copied client')).toContainText('may have been copied');
    await expect(notice('Copied client')).toContainText('Its tokens were ended');
    await expect(notice('Copied client').getByRole('link', { name: /Revoke/ })).toBeVisible();
    if (test.info().project.use.javaScriptEnabled !== false) await expectAccessible(page);
    await notice('Copied client').getByRole('button', { name: 'Dismiss' }).click();
    await expect(notice('Copied client')).toHaveCount(0);
    await expect(notice('Other client')).toBeVisible();
    await page.reload();
    await expect(notice('Copied client')).toHaveCount(0);
    await expect(notice('Other client')).toBeVisible();
  }
});
