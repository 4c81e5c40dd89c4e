// Who may sign in, from where and with what proof, in one go: from the invitation to the export of the log that tells of all
// of it. A server of its own: what it requires concerns everybody. Behind a trusted proxy, so that a browser can be elsewhere.
import { readFile } from 'node:fs/promises';

import type { Browser, Page } from '@playwright/test';

import { expect, hydrated, test } from '../fixtures';
import { type Mailbox, startMailbox } from '../mail';
import { type Gatehouse, startGatehouse } from '../processes';
import { code } from '../totp';

const PASSWORD = 'correct horse battery staple 9';
const PIN = '483920';
const OFFICE = '198.51.100.7';
const ELSEWHERE = '203.0.113.9';

let mailbox: Mailbox;
let server: Gatehouse;

test.beforeAll(async () => {
  mailbox = await startMailbox();
  server = await startGatehouse({ GATEHOUSE_SMTP_URL: mailbox.url, GATEHOUSE_TRUSTED_PROXIES: '127.0.0.0/8' });
  await server.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await server.cli(['user', 'create', '--email', 'bob@example.com', '--password', PASSWORD, '--json']);
  await server.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'bob@example.com', '--role', 'developer', '--json']);
  await server.cli(['api-key', 'create', '--org', 'acme', '--name', 'ci', '--json']);
});

test.afterAll(async () => {
  await server?.stop();
  await mailbox?.stop();
});

/** A browser of its own, at this address. */
async function at(browser: Browser, address: string): Promise<Page> {
  const { javaScriptEnabled } = test.info().project.use;
  const context = await browser.newContext({
    javaScriptEnabled,
    locale: 'en-GB',
    timezoneId: 'UTC',
    extraHTTPHeaders: { 'x-forwarded-for': address },
  });
  return context.newPage();
}

async function open(page: Page, address: string, status = 200) {
  const response = await page.goto(address.startsWith('http') ? address : `${server.url}${address}`);
  expect(response?.status(), address).toBe(status);
  await hydrated(page);
}

async function logIn(page: Page, email: string) {
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

const heading = (page: Page, name: string | RegExp) => expect(page.getByRole('heading', { level: 1, name })).toBeVisible();

/** Shows the password, where a page asks for a fresh proof before it goes on to what it is for. */
async function confirm(page: Page, until: ReturnType<Page['getByRole']>) {
  const asked = page.getByRole('heading', { name: 'Confirm that it is you' });
  await expect(asked.or(until).first()).toBeVisible();
  if (!(await asked.isVisible())) return;
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Confirm', exact: true }).click();
  await expect(until).toBeVisible();
  await hydrated(page);
}

/** Sets an authenticator app up on the page of the second factor; answers with its secret and the backup codes. */
async function enrol(page: Page): Promise<[string, string[]]> {
  const begin = page.getByRole('button', { name: 'Turn on two-factor authentication' });
  await confirm(page, begin);
  await begin.click();
  await expect(page.getByRole('img', { name: 'QR code with the setup key below' })).toBeVisible();
  const secret = (await page.getByLabel('setup key', { exact: true }).innerText()).trim();
  await page.getByLabel('Code', { exact: true }).fill(code(secret));
  await page.getByRole('button', { name: 'Turn on', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Your backup codes' })).toBeVisible();
  const codes = await page.locator('.backup-codes code').allInnerTexts();
  expect(codes).toHaveLength(10);
  return [secret, codes];
}

test('from the invitation to the export of the log', async ({ browser }) => {
  test.setTimeout(300_000);
  const ada = await at(browser, OFFICE);
  await logIn(ada, 'ada@example.com');
  await heading(ada, 'Overview');

  // Invite, accept.
  await open(ada, '/team/invitations');
  await ada.getByLabel('Email addresses').fill('dev@example.com');
  await ada.getByLabel('Role').selectOption('admin');
  await ada.getByRole('button', { name: 'Invite', exact: true }).click();
  await expect(ada.getByText('a mail is on its way')).toBeVisible();
  const dev = await at(browser, OFFICE);
  await open(dev, (await mailbox.take('dev@example.com')).link);
  await dev.getByLabel('Your name').fill('Dev');
  await dev.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await dev.getByRole('button', { name: 'Make the account and join' }).click();
  await heading(dev, 'Overview');

  // Enrol an app, and log in with a code of it.
  await open(dev, '/profile/security/two-factor');
  const [secret] = await enrol(dev);
  await dev.context().clearCookies();
  await logIn(dev, 'dev@example.com');
  await heading(dev, 'Enter your code');
  await hydrated(dev);
  // The code of this half minute set the app up; that of the next one counts already.
  await dev.getByLabel('Code', { exact: true }).fill(code(secret, 1));
  await dev.getByRole('button', { name: 'Log in', exact: true }).click();
  await heading(dev, 'Overview');

  // Require a second factor of everybody: who has none is caught in what they are doing, and led to setting one up.
  const bob = await at(browser, OFFICE);
  await logIn(bob, 'bob@example.com');
  await heading(bob, 'Overview');
  await open(dev, '/settings/security');
  const require = dev.getByRole('button', { name: 'Require two-factor authentication' });
  await confirm(dev, require);
  await require.click();
  await expect(dev.getByRole('button', { name: 'Stop requiring it' })).toBeVisible();
  await bob.goto(`${server.url}/connectors`);
  await expect(bob.getByRole('heading', { level: 2, name: 'Set up a second factor' })).toBeVisible();
  await bob.getByRole('link', { name: 'Set it up' }).click();
  await expect(bob.getByText('Acme requires a second factor')).toBeVisible();
  await hydrated(bob);
  await enrol(bob);
  await bob.getByRole('link', { name: 'I have saved them, go on' }).click();
  await heading(bob, 'Connectors');

  // With PIN protection, deleting asks for the PIN; without it nothing is deleted.
  await open(dev, '/settings/security');
  const protect = dev.getByRole('button', { name: 'Turn PIN protection on' });
  await confirm(dev, protect);
  await protect.click();
  await expect(protect).toBeHidden();
  await open(dev, '/profile/security/pin');
  const newPin = dev.getByLabel('New PIN', { exact: true });
  await confirm(dev, newPin);
  await newPin.fill(PIN);
  await dev.getByLabel('New PIN once more').fill(PIN);
  await dev.getByRole('button', { name: 'Set PIN' }).click();
  await expect(dev.getByText('PIN set.')).toBeVisible();
  await open(dev, '/settings/api-keys');
  await dev.getByRole('link', { name: 'Delete key ci' }).click();
  await expect(dev.getByLabel('Your PIN')).toBeVisible();
  await hydrated(dev);
  await dev.getByRole('button', { name: 'Delete key' }).click();
  await expect(dev.getByRole('alert')).toContainText('PIN');
  await dev.getByLabel('Your PIN').fill(PIN);
  await dev.getByRole('button', { name: 'Delete key' }).click();
  await expect(dev.getByText('API key deleted.')).toBeVisible();

  // The allowlist lets the office in, and refuses another address.
  await open(dev, '/settings/security/allowlist');
  await expect(dev.getByLabel('Address or range')).toHaveValue(OFFICE);
  await dev.getByRole('button', { name: 'Add range' }).click();
  await expect(dev.getByText('In a range')).toBeVisible();
  await hydrated(dev);
  await dev.getByRole('button', { name: 'Enforce it on trial' }).click();
  await expect(dev.getByRole('button', { name: 'Keep it' })).toBeVisible();
  await hydrated(dev);
  await dev.getByRole('button', { name: 'Keep it' }).click();
  await expect(dev.getByText('Kept.')).toBeVisible();
  await bob.setExtraHTTPHeaders({ 'x-forwarded-for': ELSEWHERE });
  await open(bob, '/connectors', 403);
  await heading(bob, 'Not from this address');
  await bob.setExtraHTTPHeaders({ 'x-forwarded-for': OFFICE });
  await open(bob, '/connectors');

  // Ended elsewhere, a session is worth nothing with its next request.
  const laptop = await at(browser, OFFICE);
  await logIn(laptop, 'dev@example.com');
  await laptop.getByLabel('Code', { exact: true }).waitFor();
  await hydrated(laptop);
  // Those of the half minutes so far were used: wait for one that was not.
  await expect(async () => {
    await laptop.getByLabel('Code', { exact: true }).fill(code(secret, 1), { timeout: 1000 });
    await laptop.getByRole('button', { name: 'Log in', exact: true }).click({ timeout: 1000 });
    await expect(laptop.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible({ timeout: 3000 });
  }).toPass({ intervals: [10_000], timeout: 90_000 });
  await open(dev, '/profile/sessions');
  await expect(dev.getByRole('cell', { name: 'Password and code' })).toHaveCount(2);
  await dev.getByRole('button', { name: /^Revoke the session of/ }).first().click();
  await expect(dev.getByRole('button', { name: /^Revoke the session of/ })).toHaveCount(1);
  await dev.getByRole('button', { name: /^Revoke the session of/ }).click();
  await expect(dev.getByRole('button', { name: /^Revoke the session of/ })).toHaveCount(0);
  await open(laptop, '/connectors');
  await expect(laptop.getByLabel('Email')).toBeVisible();

  // All of it is in the log: found by a filter, and exported.
  const expected = [
    'invitation.created',
    'team.member_added',
    'auth.mfa_enabled',
    'auth.signed_in',
    'settings.security_updated',
    'pin.set',
    'api_key.deleted',
    'security.allowlist_range_added',
    'security.allowlist_on',
    'security.allowlist_kept',
    'auth.sessions_revoked',
  ];
  for (const action of expected) {
    await open(dev, `/settings/audit?action=${action}`);
    await expect(dev.getByRole('cell', { name: action, exact: true }).first()).toBeVisible();
  }
  await open(dev, '/settings/audit');
  const [saved] = await Promise.all([
    dev.waitForEvent('download'),
    dev.getByRole('button', { name: 'Export JSON' }).click(),
  ]);
  const text = await readFile(await saved.path(), 'utf8');
  for (const action of expected) expect(text, action).toContain(`"${action}"`);
  expect(text).toContain(OFFICE);
  for (const secrets of [PASSWORD, PIN, secret.replaceAll(' ', '')]) expect(text).not.toContain(secrets);
  await open(dev, '/settings/audit?action=audit.exported');
  await expect(dev.getByRole('cell', { name: 'audit.exported', exact: true }).first()).toBeVisible();
  for (const page of [ada, dev, bob, laptop]) await page.context().close();
});
