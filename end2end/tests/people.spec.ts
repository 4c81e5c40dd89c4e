// People: invited, signing up, forgetting their password, changing their account, leaving. With a mail server of the test's.
import type { Browser, Page } from '@playwright/test';

import { expect, expectAccessible, hydrated, test } from '../fixtures';
import { type Mailbox, startMailbox } from '../mail';
import { type Gatehouse, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';
const NEW = 'a wholly different horse 7 saddles';

test.describe.configure({ mode: 'serial' });

let mailbox: Mailbox;
let server: Gatehouse;

test.beforeAll(async () => {
  mailbox = await startMailbox();
  server = await startGatehouse({ GATEHOUSE_SMTP_URL: mailbox.url, GATEHOUSE_SIGN_UP: 'open' });
  await server.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
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

async function logIn(page: Page, email: string, password = PASSWORD) {
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

const heading = (page: Page, name: string | RegExp) => expect(page.getByRole('heading', { level: 1, name })).toBeVisible();

async function invite(page: Page, email: string, role: string): Promise<string> {
  await open(page, '/team/invitations');
  await page.getByLabel('Email addresses').fill(email);
  await page.getByLabel('Role').selectOption(role);
  await page.getByRole('button', { name: 'Invite', exact: true }).click();
  await expect(page.getByText('a mail is on its way')).toBeVisible();
  return (await mailbox.take(email)).link;
}

test('somebody is invited, makes an account and works', async ({ page, browser }) => {
  await logIn(page, 'ada@example.com');
  await heading(page, 'Overview');
  const link = await invite(page, 'dev@example.com', 'developer');
  await expect(page.getByRole('row', { name: /dev@example\.com/ })).toBeVisible();
  const guest = await another(browser);
  await open(guest, link);
  await heading(guest, 'Join Acme');
  await expect(guest.getByText('Invited by')).toBeVisible();
  await guest.getByRole('button', { name: 'Make the account and join' }).click();
  await expect(guest.getByRole('alert').getByText('Enter a name for yourself')).toBeVisible();
  await guest.getByLabel('Your name').fill('Dev');
  await guest.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await guest.getByRole('button', { name: 'Make the account and join' }).click();
  await heading(guest, 'Overview');
  await open(page, '/team');
  await expect(page.getByRole('row', { name: /dev@example\.com/ }).first()).toContainText('developer');
  await open(page, '/team/invitations');
  await expect(page.getByText('No open invitations')).toBeVisible();
  // The link worked once.
  await open(await another(browser), link, 404);
  await guest.context().close();
});

test('an invitation is sent again, passed on by hand and withdrawn', async ({ page, browser }) => {
  await logIn(page, 'ada@example.com');
  await heading(page, 'Overview');
  const first = await invite(page, 'late@example.com', 'viewer');
  await page.getByRole('button', { name: 'Send again to late@example.com' }).click();
  await expect(page.getByText('Sent again')).toBeVisible();
  const second = (await mailbox.take('late@example.com')).link;
  expect(second).not.toBe(first);
  const guest = await another(browser);
  await open(guest, first, 404);
  await hydrated(page);
  await page.getByRole('button', { name: 'New link for late@example.com' }).click();
  await expect(page.getByText('Pass this one on; it is shown once.')).toBeVisible();
  const third = await page.locator('.callout .copy-field code').innerText();
  await open(guest, second, 404);
  await open(guest, third);
  // Somebody who is logged in with another address cannot take it.
  await open(page, third);
  await expect(page.getByText('You are logged in as')).toBeVisible();
  await open(page, '/team/invitations');
  await page.getByRole('button', { name: 'Withdraw the invitation of late@example.com' }).click();
  await expect(page.getByText('Invitation withdrawn')).toBeVisible();
  await open(guest, third, 404);
  await heading(guest, 'This invitation was withdrawn');
  await guest.context().close();
});

test('somebody with an account joins a second organisation, switches and leaves it', async ({ page, browser }) => {
  await server.cli(['user', 'create', '--email', 'owner@example.com', '--password', PASSWORD, '--json']);
  await server.cli(['org', 'create', '--name', 'Second', '--slug', 'second', '--owner', 'owner@example.com', '--json']);
  await logIn(page, 'owner@example.com');
  await heading(page, 'Overview');
  const link = await invite(page, 'dev@example.com', 'member');
  const guest = await another(browser);
  await open(guest, link);
  await expect(guest.getByText('This address has an account.')).toBeVisible();
  await guest.getByRole('link', { name: 'Log in' }).click();
  await hydrated(guest);
  await guest.getByLabel('Email').fill('dev@example.com');
  await guest.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await guest.getByRole('button', { name: 'Log in', exact: true }).click();
  await heading(guest, 'Join Second');
  await hydrated(guest);
  await guest.getByRole('button', { name: 'Join Second' }).click();
  await heading(guest, 'Overview');
  await expect(guest.getByText(`${server.url}/mcp/second`).first()).toBeVisible();
  await hydrated(guest);
  await guest.locator('summary', { hasText: 'Organisation:' }).first().click();
  await guest.getByRole('button', { name: 'Switch to Acme' }).click();
  await expect(guest.getByText(`${server.url}/mcp/acme`).first()).toBeVisible();
  await open(guest, '/profile/account');
  await guest.getByRole('link', { name: 'Leave Second' }).click();
  await heading(guest, 'Leave Second?');
  await hydrated(guest);
  await guest.getByRole('button', { name: 'Leave organisation' }).click();
  await expect(guest.getByText('You left the organisation.')).toBeVisible();
  await open(guest, '/profile/account');
  await expect(guest.getByRole('link', { name: 'Leave Second' })).toHaveCount(0);
  await guest.context().close();
});

test('a forgotten password is set anew', async ({ page }) => {
  await open(page, '/sign-in');
  await page.getByRole('link', { name: 'Forgot your password?' }).click();
  await heading(page, 'Set a new password');
  await hydrated(page);
  await page.getByLabel('Email').fill('dev@example.com');
  await page.getByRole('button', { name: 'Send the link' }).click();
  await heading(page, 'Look into your mailbox');
  const { link } = await mailbox.take('dev@example.com');
  await open(page, link);
  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByRole('button', { name: 'Set the password' }).click();
  await expect(page.getByRole('alert').getByText('Use at least 15 characters')).toBeVisible();
  await page.getByLabel('Password', { exact: true }).fill(NEW);
  await page.getByRole('button', { name: 'Set the password' }).click();
  await expect(page.getByText('Password set. Log in with it.')).toBeVisible();
  await hydrated(page);
  await page.getByLabel('Email').fill('dev@example.com');
  await page.getByLabel('Password', { exact: true }).fill(NEW);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await heading(page, 'Overview');
  await mailbox.take('dev@example.com');
});

test('somebody signs up, changes address and password, and deletes the account', async ({ page, browser }) => {
  await open(page, '/sign-in');
  await page.getByRole('link', { name: 'Sign up' }).click();
  await heading(page, 'Sign up');
  await hydrated(page);
  await page.getByLabel('Email').fill('xi@example.com');
  await page.getByRole('button', { name: 'Send the link' }).click();
  await heading(page, 'Look into your mailbox');
  await open(page, (await mailbox.take('xi@example.com')).link);
  await page.getByLabel('Your name').fill('Xi');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Organisation name').fill('Xi and Co');
  await page.getByLabel('Slug').fill('xi-and-co');
  await page.getByRole('button', { name: 'Make the account' }).click();
  await heading(page, 'Overview');

  await open(page, '/profile/account');
  await expect(page.getByText('Confirmed', { exact: true })).toBeVisible();
  await page.getByLabel('New email').fill('xi2@example.com');
  await page.getByLabel('Your password').fill('wrong');
  await page.getByRole('button', { name: 'Change email' }).click();
  await expect(page.getByRole('alert').getByText('This is not your password')).toBeVisible();
  await page.getByLabel('New email').fill('xi2@example.com');
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Change email' }).click();
  await expect(page.getByText('Look into the mailbox of the new address')).toBeVisible();
  await open(page, (await mailbox.take('xi2@example.com')).link);
  await page.getByRole('button', { name: 'Use this address' }).click();
  await expect(page.getByText('Address confirmed.')).toBeVisible();
  expect((await mailbox.take('xi@example.com')).text).toContain('xi2@example.com');

  await hydrated(page);
  await page.getByLabel('Present password').fill(PASSWORD);
  await page.getByLabel('New password').fill(NEW);
  await page.getByRole('button', { name: 'Change password' }).click();
  await expect(page.getByText('Password changed.')).toBeVisible();
  await mailbox.take('xi2@example.com');

  // The last owner stays, until there is another one.
  await open(page, '/profile/account/delete');
  await expect(page.getByText('You are the last owner of Xi and Co')).toBeVisible();
  await server.cli(['org', 'member', 'add', '--org', 'xi-and-co', '--email', 'ada@example.com', '--role', 'owner', '--json']);
  await open(page, '/profile/account/delete');
  await page.getByLabel('Type the address').fill('xi2@example.com');
  await page.getByLabel('Your password').fill(NEW);
  await page.getByRole('button', { name: 'Delete account' }).click();
  await expect(page.getByText('Your account is deleted.')).toBeVisible();
  await mailbox.take('xi2@example.com');
  const again = await another(browser);
  await logIn(again, 'xi2@example.com', NEW);
  await expect(again.getByText('Email or password is not right.')).toBeVisible();
  await again.context().close();
});

test('a suspended organisation says so', async ({ page }) => {
  await logIn(page, 'owner@example.com');
  await heading(page, 'Overview');
  await server.cli(['org', 'suspend', '--org', 'second', '--json']);
  await open(page, '/connectors', 403);
  await heading(page, 'This organisation is suspended');
  await server.cli(['org', 'resume', '--org', 'second', '--json']);
  await open(page, '/connectors');
});

test('the pages of people fit a phone, and axe finds nothing', async ({ page, browser }) => {
  test.setTimeout(240_000);
  test.skip(test.info().project.use.javaScriptEnabled === false, 'axe needs scripts');
  await logIn(page, 'ada@example.com');
  await heading(page, 'Overview');
  const token = await invite(page, 'a.very.long.name.of.somebody.nobody.knows@subdomain.example.com', 'viewer');
  const guest = await another(browser);
  const pages: [Page, string, number][] = [
    [page, '/team', 200],
    [page, '/team/invitations', 200],
    [page, '/team/roles', 200],
    [page, '/settings/audit', 200],
    [page, '/settings/audit/stream', 200],
    [page, '/settings/security', 200],
    [page, '/profile', 200],
    [page, '/profile/account', 200],
    [page, '/profile/account/delete', 200],
    [page, token, 200],
    [guest, token, 200],
    [guest, '/sign-in', 200],
    [guest, '/sign-up', 200],
    [guest, '/forgot-password', 200],
    [guest, '/invite/nothing', 404],
  ];
  for (const [who, path, status] of pages) {
    await test.step(path, async () => {
      await open(who, path, status);
      await expect(who.getByRole('heading', { level: 1 })).toHaveCount(1);
      const folder = process.env.GATEHOUSE_TEST_SCREENSHOTS;
      for (const [width, colorScheme] of [[1440, 'light'], [1440, 'dark'], [390, 'light'], [390, 'dark']].filter(() => folder) as [number, 'light' | 'dark'][]) {
        await who.setViewportSize({ width, height: 900 });
        await who.emulateMedia({ colorScheme });
        const name = path.replace(/^http.*\/invite\/.*/, '/invite').replaceAll('/', '-').slice(1);
        await who.screenshot({ path: `${folder}/${name}-${who === guest ? 'guest' : 'in'}-${width}-${colorScheme}.png`, fullPage: true });
      }
      for (const width of [1440, 390, 320]) {
        await who.setViewportSize({ width, height: 900 });
        const wider = await who.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(wider, `${path} at ${width}`).toBeLessThanOrEqual(0);
        if (width !== 320) await expectAccessible(who);
      }
    });
  }
  await guest.context().close();
});
