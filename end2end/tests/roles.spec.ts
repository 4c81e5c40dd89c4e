// Roles that an organisation makes: made, given, seen by who has them, changed under them, deleted with a successor.
import type { Browser, Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { type Gatehouse, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

test.describe.configure({ mode: 'serial' });

let server: Gatehouse;

test.beforeAll(async () => {
  server = await startGatehouse();
  await server.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await server.cli(['user', 'create', '--email', 'dev@example.com', '--password', PASSWORD, '--json']);
  await server.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'dev@example.com', '--role', 'member', '--json']);
});

test.afterAll(async () => {
  await server?.stop();
});

/** A browser of somebody else. */
async function another(browser: Browser): Promise<Page> {
  const { javaScriptEnabled } = test.info().project.use;
  return (await browser.newContext({ javaScriptEnabled, locale: 'en-GB' })).newPage();
}

async function open(page: Page, path: string, status = 200) {
  const response = await page.goto(`${server.url}${path}`);
  expect(response?.status(), path).toBe(status);
  await hydrated(page);
}

const heading = (page: Page, name: string | RegExp) => expect(page.getByRole('heading', { level: 1, name })).toBeVisible();

async function logIn(page: Page, email: string) {
  await open(page, '/sign-in');
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await heading(page, 'Overview');
  await hydrated(page);
}

test('a role is made, given, changed under whoever has it, and deleted with a successor', async ({ page, browser }) => {
  test.setTimeout(300_000);
  await logIn(page, 'ada@example.com');
  const dev = await another(browser);
  await logIn(dev, 'dev@example.com');
  await open(dev, '/settings/api-keys', 403);

  await open(page, '/team');
  await page.getByRole('link', { name: 'What each role may do' }).click();
  await heading(page, 'Roles');
  await hydrated(page);
  await expect(page.getByText('has none of its own')).toBeVisible();
  await expectFits(page, 'roles-empty');
  await page.getByRole('link', { name: 'New role' }).click();
  await heading(page, 'New role');
  await hydrated(page);
  await expect(page.getByLabel('org:delete')).toHaveCount(0);

  // Nothing that looks like a built-in role.
  await page.getByLabel('Name').fill('0wner');
  await page.getByRole('button', { name: 'Create role' }).click();
  await expect(page.getByRole('alert').getByText('looks like the built-in role owner')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'roles-refused');
  await page.getByLabel('Name').fill('Key keeper');
  await page.getByLabel('Description').fill('Rotates the keys of the night shift.');
  for (const permission of ['connectors:read', 'playground:use']) await page.getByLabel(permission).uncheck();
  await page.getByLabel('api-keys:revoke').check();
  await page.getByRole('button', { name: 'Create role' }).click();
  await heading(page, 'Roles');
  await expect(page.getByText('Role saved.')).toBeVisible();
  await hydrated(page);
  await expect(page.getByRole('link', { name: 'Key keeper' })).toBeVisible();
  await expectFits(page, 'roles-list');

  // Given on the team's page, where everybody's rights can be seen.
  await open(page, '/team');
  await page.getByLabel('Role of dev@example.com').or(page.getByLabel('Role of dev', { exact: true })).first().selectOption({ label: 'Key keeper' });
  await page.getByRole('button', { name: /Change the role of dev/ }).click();
  await expect(page.getByText('Role changed.')).toBeVisible();
  await hydrated(page);
  const row = page.getByRole('row', { name: /dev@example\.com/ }).first();
  await row.getByText('2 of 30 rights').click();
  await expect(row.getByText('api-keys:revoke')).toBeVisible();
  await expectFits(page, 'roles-team');
  await open(dev, '/settings/api-keys');
  await open(dev, '/connectors', 403);

  // Other permissions count for them at once, and they stay logged in.
  await open(page, '/team/roles');
  await page.getByRole('link', { name: 'Key keeper' }).click();
  await heading(page, 'Key keeper');
  await hydrated(page);
  await expect(page.getByText('1 member has it, 0 invitations are open').first()).toBeVisible();
  await expect(page.getByLabel('api-keys:revoke')).toBeChecked();
  await expectFits(page, 'roles-one');
  await page.getByLabel('api-keys:revoke').uncheck();
  await page.getByLabel('api-keys:read').uncheck();
  await page.getByLabel('connectors:read').check();
  await page.getByRole('button', { name: 'Save role' }).click();
  await expect(page.getByText('Role saved.')).toBeVisible();
  await open(dev, '/connectors');
  await open(dev, '/settings/api-keys', 403);

  // An invitation to it, and the command line knows it by its name.
  await open(page, '/team/invitations');
  await page.getByLabel('Email addresses').fill('eve@example.com');
  const option = page.getByLabel('Role').locator('option', { hasText: 'Key keeper' });
  await page.getByLabel('Role').selectOption(await option.getAttribute('value'));
  await page.getByRole('button', { name: 'Invite', exact: true }).click();
  await expect(page.getByRole('row', { name: /eve@example\.com/ })).toContainText('Key keeper');
  await server.cli(['user', 'create', '--email', 'bob@example.com', '--password', PASSWORD, '--json']);
  await server.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'bob@example.com', '--role', 'key keeper', '--json']);

  // It goes only with a successor.
  await open(page, '/team/roles');
  await page.getByRole('link', { name: 'Key keeper' }).click();
  await heading(page, 'Key keeper');
  await hydrated(page);
  await expect(page.getByText('2 members have it, 1 invitation is open').first()).toBeVisible();
  await page.getByRole('button', { name: 'Delete role' }).click();
  await expect(page.getByRole('alert').getByText('choose what they get instead')).toBeVisible();
  await hydrated(page);
  await page.getByLabel('What they get instead').selectOption('viewer');
  await page.getByRole('button', { name: 'Delete role' }).click();
  await heading(page, 'Roles');
  await expect(page.getByText('Role deleted.')).toBeVisible();
  await expect(page.getByText('has none of its own')).toBeVisible();
  await open(page, '/team');
  await expect(page.getByRole('row', { name: /dev@example\.com/ }).first()).toContainText('viewer');
  await open(page, '/team/invitations');
  await expect(page.getByRole('row', { name: /eve@example\.com/ })).toContainText('viewer');
  await open(page, '/settings/audit');
  await expect(page.getByText('deleted the role Key keeper')).toBeVisible();
  await dev.context().close();
});

test('who may not change roles sees what they allow, and why not', async ({ page, browser }) => {
  test.setTimeout(240_000);
  await logIn(page, 'ada@example.com');
  await open(page, '/team/roles/new');
  await page.getByLabel('Name').fill('People');
  for (const permission of ['connectors:read', 'playground:use']) await page.getByLabel(permission).uncheck();
  await page.getByLabel('team:roles').check();
  await page.getByRole('button', { name: 'Create role' }).click();
  await expect(page.getByText('Role saved.')).toBeVisible();
  await open(page, '/team/roles/new');
  await page.getByLabel('Name').fill('Night shift');
  await page.getByRole('button', { name: 'Create role' }).click();
  await expect(page.getByText('Role saved.')).toBeVisible();

  const dev = await another(browser);
  await logIn(dev, 'dev@example.com');
  await open(dev, '/team/roles');
  await expect(dev.getByRole('link', { name: 'New role' })).toHaveCount(0);
  await dev.getByRole('link', { name: 'Night shift' }).click();
  await heading(dev, 'Night shift');
  await hydrated(dev);
  await expect(dev.getByText('You need the permission team:roles')).toBeVisible();
  await expect(dev.getByRole('button', { name: 'Delete role' })).toHaveCount(0);
  await expectFits(dev, 'roles-looked-at');

  await server.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'dev@example.com', '--role', 'People', '--json']);
  await open(dev, '/team/roles');
  await dev.getByRole('link', { name: 'Night shift' }).click();
  await heading(dev, 'Night shift');
  await hydrated(dev);
  await expect(dev.getByText('holds rights that yours does not')).toBeVisible();
  // Of their own they have few to give.
  await open(dev, '/team/roles/new');
  await expect(dev.getByRole('checkbox')).toHaveCount(2);
  // And no control for whoever reaches further.
  await open(dev, '/team');
  await expect(dev.getByRole('row', { name: /ada@example\.com/ }).first().getByRole('combobox')).toHaveCount(0);
  await open(dev, '/team/roles/role_00000000000000000000000007', 404);
  await dev.context().close();
});
