// Passkeys, with an authenticator that the browser makes up: added, an account's key, its second step, removed.
import type { CDPSession, Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Gatehouse, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

test.describe.configure({ mode: 'serial' });

// A passkey belongs to a host name, so this one is not reached by its address.
let gatehouse: Gatehouse;

test.beforeAll(async () => {
  gatehouse = await startGatehouse({}, 'localhost');
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'bob@example.com', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'bob@example.com', '--role', 'developer', '--json']);
});

test.afterAll(async () => {
  await gatehouse.stop();
});

/** A device that looks at its person's finger, and says yes. */
async function plugIn(page: Page): Promise<[CDPSession, string]> {
  const session = await page.context().newCDPSession(page);
  await session.send('WebAuthn.enable');
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return [session, authenticatorId];
}

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

async function expectOverview(page: Page) {
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

test('a passkey is added, logs in, is the second step, and goes again', async ({ page }) => {
  test.skip(test.info().project.name === 'noscript', 'passkeys need scripts');
  test.setTimeout(180_000);
  const [session, authenticatorId] = await plugIn(page);
  await logIn(page, 'ada@example.com');
  await expectOverview(page);
  await open(page, '/profile/security/passkeys');
  await expect(page.getByText('No passkeys')).toBeVisible();
  await expectFits(page, 'passkeys-none');
  await page.getByLabel('Name').fill('Laptop');
  await page.getByRole('button', { name: 'Add passkey' }).click();
  await expect(page.getByRole('heading', { name: 'Your backup codes' })).toBeVisible();
  await expect(page.locator('.backup-codes code')).toHaveCount(10);
  await expectFits(page, 'passkeys-codes');
  await page.getByRole('link', { name: 'I have saved them' }).click();
  await expect(page.getByRole('heading', { name: 'Your backup codes' })).toHaveCount(0);
  await hydrated(page);
  await expect(page.getByRole('heading', { name: 'Laptop' })).toBeVisible();
  await expectFits(page, 'passkeys-one');

  // The same device once more: the browser itself knows that it has one.
  await page.getByRole('button', { name: 'Add passkey' }).click();
  await expect(page.getByText('This device has a passkey of yours already.')).toBeVisible();

  // Without an address and without a password.
  await page.context().clearCookies();
  await open(page, '/sign-in');
  await expectFits(page, 'sign-in-passkey');
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await expectOverview(page);

  // After the password. A finger that the device does not know is told of, and the page stays usable.
  await page.context().clearCookies();
  await logIn(page, 'ada@example.com');
  await expect(page.getByRole('heading', { level: 1, name: 'Use your passkey' })).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'sign-in-second-passkey');
  await session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await expect(page.getByText('No passkey was used')).toBeVisible();
  await session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true });
  await page.getByRole('button', { name: 'Use a passkey' }).click();
  await expectOverview(page);

  await open(page, '/profile/security/passkeys');
  await expect(page.getByText('Rename or remove')).toBeVisible();
  await page.getByText('Rename or remove').click();
  await page.getByLabel('Name', { exact: true }).first().fill('Old laptop');
  await page.getByRole('button', { name: 'Rename' }).click();
  await expect(page.getByRole('heading', { name: 'Old laptop' })).toBeVisible();
  await hydrated(page);
  const card = page.locator('.card', { has: page.getByRole('heading', { name: 'Old laptop' }) });
  if (!(await card.getByRole('button', { name: 'Remove with the passkey' }).isVisible())) {
    await card.getByText('Rename or remove').click();
  }
  await card.getByRole('button', { name: 'Remove passkey' }).click();
  await expect(page.getByRole('alert')).toContainText('Enter your password');
  await card.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await card.getByRole('button', { name: 'Remove with the passkey' }).click();
  await expect(page.getByText('No passkeys')).toBeVisible();

  await page.context().clearCookies();
  await open(page, '/sign-in');
  await page.getByRole('button', { name: 'Log in with a passkey' }).click();
  await expect(page.getByRole('alert')).toContainText('This passkey was not accepted');
});

test('an organisation that requires a second factor takes a passkey', async ({ page }) => {
  test.skip(test.info().project.name === 'noscript', 'passkeys need scripts');
  test.setTimeout(120_000);
  await gatehouse.cli(['org', 'set', '--org', 'acme', '--require-mfa', 'on', '--json']);
  await plugIn(page);
  await logIn(page, 'bob@example.com');
  await expect(page.getByText('Acme requires a second factor')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'forced-enrolment');
  await page.getByRole('link', { name: 'Use a passkey instead' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Passkeys' })).toBeVisible();
  await page.getByLabel('Name').fill('Phone');
  await page.getByRole('button', { name: 'Add passkey' }).click();
  await page.getByRole('link', { name: 'I have saved them' }).click();
  await open(page, '/');
  await expectOverview(page);
  await open(page, '/profile/security/passkeys');
  await page.getByText('Rename or remove').click();
  await expect(page.getByText('It cannot be removed')).toBeVisible();
  await gatehouse.cli(['org', 'set', '--org', 'acme', '--require-mfa', 'off', '--json']);
});

test('without scripts the pages say so and offer the other ways', async ({ page }) => {
  test.skip(test.info().project.name !== 'noscript', 'for browsers without scripts');
  await page.goto(`${gatehouse.url}/sign-in`);
  await expect(page.getByText('Passkeys need scripts')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Log in with a passkey' })).toBeHidden();
  await logIn(page, 'ada@example.com');
  await expectOverview(page);
  await page.goto(`${gatehouse.url}/profile/security/passkeys`);
  await expect(page.getByText('Passkeys need scripts')).toBeVisible();
  await page.goto(`${gatehouse.url}/profile/security/two-factor`);
  await expect(page.getByRole('button', { name: 'Turn on two-factor authentication' })).toBeVisible();
});
