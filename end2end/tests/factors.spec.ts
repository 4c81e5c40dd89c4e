// Second factor, PIN, Require MFA and the IP allowlist, as people meet them.
import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Gatehouse, startGatehouse } from '../processes';
import { code } from '../totp';

const PASSWORD = 'correct horse battery staple 9';
const PIN = '483920';

test.describe.configure({ mode: 'serial' });

// A server of this file's own: what it requires of members concerns all of them.
let gatehouse: Gatehouse;
let backup: string[] = [];

test.beforeAll(async () => {
  gatehouse = await startGatehouse();
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'bob@example.com', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'bob@example.com', '--role', 'developer', '--json']);
  await gatehouse.cli(['api-key', 'create', '--org', 'acme', '--name', 'ci', '--json']);
});

test.afterAll(async () => {
  await gatehouse.stop();
});

async function open(page: Page, path: string) {
  await page.goto(`${gatehouse.url}${path}`);
  await hydrated(page);
}

async function logIn(page: Page, email: string) {
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
}

/** Presses a button that confirms who is there, if the page asks for that. */
async function confirmIfAsked(page: Page) {
  const heading = page.getByRole('heading', { name: 'Confirm that it is you' });
  if (!(await heading.isVisible())) return;
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Confirm' }).click();
  await expect(heading).toBeHidden();
}

/** Sets an app up; answers with its secret and the backup codes. */
async function enrol(page: Page, pictures: boolean): Promise<[string, string[]]> {
  await page.getByRole('button', { name: 'Turn on two-factor authentication' }).click();
  await expect(page.getByRole('img', { name: 'QR code with the setup key below' })).toBeVisible();
  const secret = (await page.getByLabel('setup key', { exact: true }).innerText()).trim();
  expect(secret.replaceAll(' ', '')).toMatch(/^[A-Z2-7]{32}$/);
  if (pictures) await expectFits(page, 'two-factor-scan');
  await page.getByLabel('Code', { exact: true }).fill('000000');
  await page.getByRole('button', { name: 'Turn on', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('not the code that your app shows');
  await page.getByLabel('Code', { exact: true }).fill(code(secret));
  await page.getByRole('button', { name: 'Turn on', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Your backup codes' })).toBeVisible();
  const codes = await page.locator('.backup-codes code').allInnerTexts();
  expect(codes).toHaveLength(10);
  if (pictures) await expectFits(page, 'two-factor-codes');
  return [secret, codes];
}

test('an app is set up, and from then on logging in takes a code', async ({ page }) => {
  test.setTimeout(180_000);
  await logIn(page, 'ada@example.com');
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await expect(page.getByText('Turn on two-factor authentication').first()).toBeVisible();
  await open(page, '/profile/security/two-factor');
  await expectFits(page, 'two-factor-off');
  const [secret, codes] = await enrol(page, true);
  await page.getByRole('link', { name: 'I have saved them' }).click();
  await expect(page.getByText('10 of 10 left')).toBeVisible();
  await hydrated(page);
  await expect(page.getByText(codes[0])).toHaveCount(0);
  await expectFits(page, 'two-factor-on');

  await page.context().clearCookies();
  await logIn(page, 'ada@example.com');
  await expect(page.getByRole('heading', { level: 1, name: 'Enter your code' })).toBeVisible();
  await expectFits(page, 'sign-in-code');
  await page.getByLabel('Code', { exact: true }).fill('000000');
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('This code is not right');
  await expectFits(page, 'sign-in-code-wrong');
  // The code of this half minute set the app up; that of the next one counts already.
  await page.getByLabel('Code', { exact: true }).fill(code(secret, 1));
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();

  await page.context().clearCookies();
  await logIn(page, 'ada@example.com');
  await page.getByRole('button', { name: 'Log in as somebody else' }).click();
  await expect(page.getByLabel('Email')).toBeVisible();
  await logIn(page, 'ada@example.com');
  await page.getByLabel('Code', { exact: true }).fill(codes[0].toLowerCase());
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  backup = codes.slice(1);
});

/** Logs in with a backup code. */
async function logInWhole(page: Page) {
  await logIn(page, 'ada@example.com');
  await page.getByLabel('Code', { exact: true }).fill(backup.shift()!);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

test('a PIN is set, and asked for before a key is deleted', async ({ page }) => {
  test.setTimeout(180_000);
  await logInWhole(page);
  await open(page, '/settings/security');
  await confirmIfAsked(page);
  await expectFits(page, 'security');
  await page.getByRole('button', { name: 'Turn PIN protection on' }).click();
  await expect(page.getByRole('button', { name: 'Turn PIN protection on' })).toBeHidden();
  await open(page, '/settings/api-keys');
  await page.getByRole('link', { name: 'Delete key ci' }).click();
  await expect(page.getByText('This needs your PIN, and you have none yet')).toBeVisible();
  await page.getByRole('link', { name: 'Set your PIN' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'PIN' })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'pin');
  await page.getByLabel('New PIN', { exact: true }).fill('123456');
  await page.getByLabel('New PIN once more').fill('123456');
  await page.getByRole('button', { name: 'Set PIN' }).click();
  await expect(page.getByRole('alert')).toContainText('one of the first that anybody would try');
  await page.getByLabel('New PIN', { exact: true }).fill(PIN);
  await page.getByLabel('New PIN once more').fill(PIN);
  await page.getByRole('button', { name: 'Set PIN' }).click();
  await expect(page.getByText('PIN set.')).toBeVisible();

  await open(page, '/settings/api-keys');
  await page.getByRole('link', { name: 'Delete key ci' }).click();
  await expect(page.getByLabel('Your PIN')).toBeVisible();
  await hydrated(page);
  await page.getByLabel('Your PIN').fill('705318');
  await page.getByRole('button', { name: 'Delete key' }).click();
  await expect(page.getByRole('alert')).toContainText('This is not your PIN');
  await expect(page.getByLabel('Your PIN')).toHaveValue(/^(705318)?$/);
  await expectFits(page, 'delete-with-pin');
  await page.getByLabel('Your PIN').fill(PIN);
  await page.getByRole('button', { name: 'Delete key' }).click();
  await expect(page.getByText('API key deleted.')).toBeVisible();
});

test('an organisation requires a second factor, and a member is led to setting one up', async ({ page, browser }) => {
  test.setTimeout(180_000);
  await logInWhole(page);
  await open(page, '/settings/security');
  await confirmIfAsked(page);
  await expect(page.getByText('1 of 2 members has no second factor.')).toBeVisible();
  const context = await browser.newContext({ javaScriptEnabled: test.info().project.use.javaScriptEnabled });
  const bob = await context.newPage();
  await logIn(bob, 'bob@example.com');
  await expect(bob.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await page.getByRole('button', { name: 'Require two-factor authentication' }).click();
  await expect(page.getByRole('button', { name: 'Stop requiring it' })).toBeVisible();

  await open(bob, '/connectors');
  await expect(bob.getByRole('heading', { level: 2, name: 'Set up a second factor' })).toBeVisible();
  await expectFits(bob, 'mfa-required');
  await bob.getByRole('link', { name: 'Set it up' }).click();
  await expect(bob.getByText('Acme requires a second factor')).toBeVisible();
  await hydrated(bob);
  await confirmIfAsked(bob);
  await enrol(bob, false);
  await bob.getByRole('link', { name: 'I have saved them, go on' }).click();
  await expect(bob.getByRole('heading', { level: 1, name: 'Connectors' })).toBeVisible();
  await context.close();
});

test('the allowlist is tried, kept and stopped', async ({ page }) => {
  test.setTimeout(180_000);
  await logInWhole(page);
  await open(page, '/settings/security/allowlist');
  await expect(page.getByText('No ranges yet')).toBeVisible();
  await expectFits(page, 'allowlist-empty');
  await page.getByLabel('Address or range').fill('10.0.0.5/8');
  await page.getByRole('button', { name: 'Add range' }).click();
  await expect(page.getByRole('alert')).toContainText('Did you mean 10.0.0.0/8?');
  await page.getByLabel('Address or range').fill('10.0.0.0/8');
  await page.getByLabel('Note').fill('Office');
  await page.getByRole('button', { name: 'Add range' }).click();
  await expect(page.getByText('IP allowlist saved.')).toBeVisible();
  await expect(page.getByText('You would lock yourself out')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'allowlist-outside');
  // One's own address is offered.
  await expect(page.getByLabel('Address or range')).toHaveValue(/^(127\.0\.0\.1|::1)$/);
  await page.getByRole('button', { name: 'Add range' }).click();
  await expect(page.getByText('In a range')).toBeVisible();
  await page.getByRole('button', { name: 'Enforce it on trial' }).click();
  await expect(page.getByRole('button', { name: 'Keep it' })).toBeVisible();
  await expectFits(page, 'allowlist-trial');
  await page.getByRole('button', { name: 'Keep it' }).click();
  await expect(page.getByText('Kept.')).toBeVisible();
  await page.getByLabel('Your PIN').fill(PIN);
  await page.getByRole('button', { name: 'Stop enforcing' }).click();
  await expect(page.getByText('is not enforced any more')).toBeVisible();

  await open(page, '/settings/audit');
  for (const action of ['security.allowlist_off', 'security.allowlist_kept', 'security.allowlist_on']) {
    await expect(page.getByText(action).first()).toBeVisible();
  }
});
