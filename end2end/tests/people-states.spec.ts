// Pages of people in the states that a list of paths does not show: links of mails, good and dead, the last step before
// somebody is removed, and the audit log locked, refused, empty and asked for nonsense. axe finds nothing on any, and each fits.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';

import type { Browser, Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Mailbox, startMailbox } from '../mail';
import { type Gatehouse, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

test.describe.configure({ mode: 'serial' });

let mailbox: Mailbox;
let server: Gatehouse;

test.beforeAll(async () => {
  mailbox = await startMailbox();
  server = await startGatehouse({ GATEHOUSE_SMTP_URL: mailbox.url, GATEHOUSE_SIGN_UP: 'open' });
  await server.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await server.cli(['user', 'create', '--email', 'dev@example.com', '--password', PASSWORD, '--name', 'Dev', '--json']);
  await server.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'dev@example.com', '--role', 'developer', '--json']);
  await server.cli(['org', 'set', '--org', 'acme', '--plan', 'team', '--json']);
});

test.afterAll(async () => {
  await server?.stop();
  await mailbox?.stop();
});

/** A browser of somebody else. */
async function another(browser: Browser): Promise<Page> {
  const { javaScriptEnabled } = test.info().project.use;
  return (await browser.newContext({ javaScriptEnabled, locale: 'en-GB' })).newPage();
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
  await heading(page, 'Overview');
}

const heading = (page: Page, name: string | RegExp) => expect(page.getByRole('heading', { level: 1, name })).toBeVisible();

/** One heading, what has to be read there, and nothing wider than the window or found by axe. */
async function fits(page: Page, name: string, says: string | RegExp) {
  await test.step(name, async () => {
    await expect(page.getByRole('heading', { level: 1 })).toHaveCount(1);
    await expect(page.locator('body')).toContainText(says);
    await expectFits(page, `people-${name}`);
    await page.setViewportSize({ width: 1280, height: 900 });
  });
}

async function invite(page: Page, email: string): Promise<string> {
  await open(page, '/team/invitations');
  await page.getByLabel('Email addresses').fill(email);
  await page.getByLabel('Role').selectOption('viewer');
  await page.getByRole('button', { name: 'Invite', exact: true }).click();
  await expect(page.getByText('a mail is on its way')).toBeVisible();
  return (await mailbox.take(email)).link;
}

/** Changes rows past every rule, as only time does otherwise. */
async function tamper(sql: string) {
  const database = path.join(server.folder, 'data/gatehouse.db');
  const script = 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=10); n = c.execute(sys.argv[2]).rowcount; c.commit(); print(n)';
  const { stdout } = await promisify(execFile)('python3', ['-c', script, database, sql]);
  expect(stdout.trim()).toBe('1');
}

test('invitations that were withdrawn, accepted, declined or have run out say so', async ({ page, browser }) => {
  test.setTimeout(240_000);
  await logIn(page, 'ada@example.com');
  const guest = await another(browser);

  const withdrawn = await invite(page, 'withdrawn@example.com');
  await hydrated(page);
  await page.getByRole('button', { name: 'Withdraw the invitation of withdrawn@example.com' }).click();
  await expect(page.getByText('Invitation withdrawn')).toBeVisible();
  await open(guest, withdrawn, 404);
  await fits(guest, 'invitation-withdrawn', 'This invitation was withdrawn');

  const declined = await invite(page, 'declined@example.com');
  await open(guest, declined);
  await guest.getByRole('button', { name: 'Decline' }).click();
  await expect(guest).not.toHaveURL(declined);
  await open(guest, declined, 404);
  await fits(guest, 'invitation-declined', 'This invitation was declined');

  const expired = await invite(page, 'expired@example.com');
  await tamper("UPDATE invitations SET expires_at = 1 WHERE email = 'expired@example.com'");
  await open(guest, expired, 404);
  await fits(guest, 'invitation-expired', 'This invitation has expired');
  await guest.getByRole('button', { name: 'Ask for another invitation' }).click();
  await expect(guest.getByText('whoever made it was told')).toBeVisible();
  await fits(guest, 'invitation-asked-again', 'They decide');

  const accepted = await invite(page, 'accepted@example.com');
  await open(guest, accepted);
  await guest.getByLabel('Your name').fill('Accepted');
  await guest.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await guest.getByRole('button', { name: 'Make the account and join' }).click();
  await heading(guest, 'Overview');
  const third = await another(browser);
  await open(third, accepted, 404);
  await fits(third, 'invitation-accepted', 'This invitation was accepted');
  await third.context().close();
  await guest.context().close();
});

test('links of mails: a password, an address, an account', async ({ page, browser }) => {
  test.setTimeout(240_000);
  const guest = await another(browser);
  await open(guest, '/forgot-password');
  await guest.getByLabel('Email').fill('dev@example.com');
  await guest.getByRole('button', { name: 'Send the link' }).click();
  await heading(guest, 'Look into your mailbox');
  await open(guest, (await mailbox.take('dev@example.com')).link);
  expect(new URL(guest.url()).pathname).toMatch(/^\/reset-password\/./);
  await fits(guest, 'reset-password', 'dev@example.com');

  await open(guest, '/sign-up');
  await guest.getByLabel('Email').fill('new@example.com');
  await guest.getByRole('button', { name: 'Send the link' }).click();
  await heading(guest, 'Look into your mailbox');
  const signUp = (await mailbox.take('new@example.com')).link;
  await open(guest, signUp);
  expect(new URL(guest.url()).pathname).toMatch(/^\/sign-up\/./);
  await fits(guest, 'sign-up-link', 'new@example.com');

  await logIn(page, 'ada@example.com');
  await open(page, '/profile/account');
  await page.getByLabel('New email').fill('ada2@example.com');
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Change email' }).click();
  await expect(page.getByText('Look into the mailbox of the new address')).toBeVisible();
  const address = (await mailbox.take('ada2@example.com')).link;
  await open(page, address);
  expect(new URL(page.url()).pathname).toMatch(/^\/confirm-address\/./);
  await fits(page, 'confirm-address', 'ada2@example.com');
  for (const dead of ['/reset-password/nothing', '/confirm-address/nothing', '/sign-up/nothing']) {
    await open(guest, dead, 404);
    await fits(guest, `dead${dead.replaceAll('/', '-')}`, 'This link does not work');
  }
  await guest.context().close();
});

test('the step before somebody is removed, and the audit log in every state', async ({ page, browser }) => {
  test.setTimeout(240_000);
  await logIn(page, 'ada@example.com');
  await open(page, '/team');
  await page.getByRole('row', { name: /dev@example\.com/ }).getByRole('link', { name: /Remove/ }).click();
  await expect(page).toHaveURL(/\/team\/usr_[^/]+\/remove/);
  await hydrated(page);
  await fits(page, 'remove-member', 'dev@example.com');

  await open(page, '/settings/audit');
  await page.getByRole('link', { name: /created|invited|logged in/ }).first().click();
  await expect(page).toHaveURL(/\/settings\/audit\/evt_/);
  await hydrated(page);
  await fits(page, 'audit-event', 'ada@example.com');
  await open(page, '/settings/audit/evt_00000000000000000000000007', 404);
  await fits(page, 'audit-event-unknown', 'There is no such event here');
  await open(page, '/settings/audit?to=2020-01-01');
  await fits(page, 'audit-nothing-fits', 'No events match these filters');
  await open(page, '/settings/audit?from=yesterday');
  await fits(page, 'audit-bad-date', 'Write a day as year, month and day');

  const dev = await another(browser);
  await logIn(dev, 'dev@example.com');
  await open(dev, '/settings/audit', 403);
  await fits(dev, 'audit-denied', 'audit:read');
  await dev.context().close();

  await server.cli(['org', 'set', '--org', 'acme', '--plan', 'free', '--json']);
  await expect(async () => {
    await open(page, '/settings/audit');
    await expect(page.locator('body')).toContainText('Included in the plans', { timeout: 1000 });
  }).toPass({ timeout: 10_000 });
  await fits(page, 'audit-locked', 'Included in the plans Pro, Team and Enterprise');
});
