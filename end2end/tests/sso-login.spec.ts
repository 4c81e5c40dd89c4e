// Logging in to the dashboard at an organisation's own provider: configured, tested, used by somebody new, required.
import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import {
  type Gatehouse, type Names, type Provider, startGatehouse, startNames, startProvider,
} from '../processes';
import { code } from '../totp';

const PASSWORD = 'correct horse battery staple 9';

test.describe.configure({ mode: 'serial' });

let gatehouse: Gatehouse;
let provider: Provider;
let names: Names;

test.beforeAll(async () => {
  names = await startNames();
  gatehouse = await startGatehouse({ GATEHOUSE_DNS_RESOLVER: names.address });
  provider = await startProvider(`${gatehouse.url}/oauth/sso/callback`);
  await gatehouse.cli(['setup', '--email', 'ada@acme.example', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'dev@acme.example', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'dev@acme.example', '--role', 'developer', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'bob@bolt.example', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'create', '--name', 'Bolt', '--slug', 'bolt', '--owner', 'bob@bolt.example', '--plan', 'team', '--json']);
});

test.afterAll(async () => {
  await gatehouse.stop();
  await provider.stop();
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
}

/** From the log-in page over the provider and back. */
async function logInBySso(page: Page, email: string) {
  await page.getByRole('link', { name: 'Continue with SSO' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Log in with SSO' })).toBeVisible();
  await hydrated(page);
  await page.getByLabel('Work email').fill(email);
  await page.getByRole('button', { name: 'Continue', exact: true }).click();
}

const overview = (page: Page) => page.getByRole('heading', { level: 1, name: 'Overview' });

test('an owner configures it, proves a domain and tests it', async ({ page }) => {
  test.setTimeout(240_000);
  await logIn(page, 'ada@acme.example');
  await expect(overview(page)).toBeVisible();
  await open(page, '/settings/sso');
  await page.getByRole('link', { name: 'Dashboard log-in' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Dashboard log-in' })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'sso-login-new');
  await page.getByLabel('Issuer', { exact: true }).fill(`${provider.issuer}/`);
  await page.getByLabel('Client id', { exact: true }).fill('dashboard');
  await page.getByRole('button', { name: 'Save provider' }).click();
  await expect(page.getByRole('alert')).toContainText(provider.issuer);
  await page.getByLabel('Issuer', { exact: true }).fill(provider.issuer);
  await page.getByLabel('Client secret', { exact: true }).fill('wrong-secret');
  await page.getByRole('button', { name: 'Save provider' }).click();
  await expect(page.getByText('It counts for everybody from now on')).toBeVisible();

  // The secret is wrong: the test says so.
  await hydrated(page);
  await page.getByRole('button', { name: 'Test log-in' }).click();
  await expect(page.getByText('invalid_client')).toBeVisible({ timeout: 20_000 });
  await hydrated(page);
  await page.getByLabel('Client secret', { exact: true }).fill('dashboard-secret');
  await page.getByLabel('Required').check();
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByRole('alert')).toContainText('Prove a domain first');
  await page.getByLabel('Client secret', { exact: true }).fill('dashboard-secret');
  await page.getByLabel('Optional').check();
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('It counts for everybody from now on')).toBeVisible();

  await hydrated(page);
  await page.getByLabel('Domain', { exact: true }).fill('acme.example');
  await page.getByRole('button', { name: 'Add domain' }).click();
  await expect(page.getByText('Domain added.')).toBeVisible();
  await hydrated(page);
  await page.getByRole('button', { name: 'Check now acme.example' }).click();
  await expect(page.getByText('acme.example is not proven yet')).toBeVisible();
  await expectFits(page, 'sso-login-domain');
  const value = await page.getByLabel('value of the record of acme.example', { exact: true }).innerText();
  names.records.set('_gatehouse-verify.acme.example', value.trim());
  await page.getByRole('button', { name: 'Check now acme.example' }).click();
  await expect(page.getByText('acme.example is proven')).toBeVisible();

  await page.getByRole('button', { name: 'Test log-in' }).click();
  await expect(page.getByText('Somebody with this answer can log in')).toBeVisible({ timeout: 20_000 });
  await expect(page.getByText('ada@acme.example, verified by the provider')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'sso-login-tested');
});

test('somebody new comes by it and joins as a member, where they wanted to go', async ({ page }) => {
  test.setTimeout(120_000);
  await open(page, '/connectors');
  await expect(page.getByRole('link', { name: 'Continue with SSO' })).toBeVisible();
  await expectFits(page, 'sign-in-with-sso');
  await logInBySso(page, 'eve@elsewhere.example');
  await expect(page.getByRole('alert')).toContainText('No organisation here');
  await expectFits(page, 'sign-in-sso');
  await page.getByLabel('Work email').fill('bea@acme.example');
  await page.getByRole('button', { name: 'Continue', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Connectors' })).toBeVisible({ timeout: 20_000 });
  await open(page, '/profile');
  await expect(page.getByRole('main').getByText('bea@acme.example').first()).toBeVisible();

  // An address that the provider does not vouch for.
  await page.context().clearCookies();
  await open(page, '/sign-in');
  await logInBySso(page, 'unverified@acme.example');
  await expect(page.getByText('does not say that unverified@acme.example is really yours')).toBeVisible({ timeout: 20_000 });
  await expectFits(page, 'sso-not-let-in');

  await logIn(page, 'ada@acme.example');
  await expect(overview(page)).toBeVisible();
  await open(page, '/team');
  await expect(page.getByRole('row').filter({ hasText: 'bea@acme.example' })).toContainText('member');
  await expect(page.getByText('unverified@acme.example')).toHaveCount(0);
});

test('required, a password opens only what is not the organisation, and owners get in', async ({ page, browser }) => {
  test.setTimeout(240_000);
  await logIn(page, 'ada@acme.example');
  await expect(overview(page)).toBeVisible();
  await open(page, '/profile/security/two-factor');
  await page.getByRole('button', { name: 'Turn on two-factor authentication' }).click();
  const secret = (await page.getByLabel('setup key', { exact: true }).innerText()).trim();
  await hydrated(page);
  await page.getByLabel('Code', { exact: true }).fill(code(secret));
  await page.getByRole('button', { name: 'Turn on', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Your backup codes' })).toBeVisible();
  const codes = await page.locator('.backup-codes code').allInnerTexts();

  const context = await browser.newContext({ javaScriptEnabled: test.info().project.use.javaScriptEnabled });
  const dev = await context.newPage();
  await logIn(dev, 'dev@acme.example');
  await expect(overview(dev)).toBeVisible();
  await open(page, '/settings/sso/login');
  await page.getByLabel('Required').check();
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('It counts for everybody from now on')).toBeVisible();

  // A session that is running already meets it with its next request.
  await open(dev, '/connectors');
  await expect(dev.getByRole('heading', { level: 2, name: 'Log in with SSO' })).toBeVisible();
  await expectFits(dev, 'sso-required');
  await logInBySso(dev, 'dev@acme.example');
  await expect(dev.getByRole('heading', { level: 1, name: 'Connectors' })).toBeVisible({ timeout: 20_000 });
  await context.close();

  await logIn(page, 'ada@acme.example');
  await expect(page.getByRole('heading', { level: 1, name: 'Enter your code' })).toBeVisible();
  await hydrated(page);
  await page.getByLabel('Code', { exact: true }).fill(codes[0]);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(overview(page)).toBeVisible();
  await open(page, '/settings/audit');
  for (const action of ['sso.login_updated', 'sso.domain_verified', 'sso.login_tested']) {
    await expect(page.getByText(action).first()).toBeVisible();
  }
});

test('a plan without it says so', async ({ page }) => {
  await logIn(page, 'bob@bolt.example');
  await expect(overview(page)).toBeVisible();
  await open(page, '/settings/sso/login');
  await expect(page.getByText('Included in the plan Enterprise')).toBeVisible();
  await expect(page.getByRole('button', { name: /Save|Add|Test/ })).toHaveCount(0);
  await expectFits(page, 'sso-login-plan');
});
