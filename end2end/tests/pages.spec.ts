// Every page: its heading, no findings of axe in light and dark, nothing wider than the window, no error in the console.
import { expect, expectAccessible, hydrated, test as shared } from '../fixtures';
import { type Gatehouse, startGatehouse } from '../processes';

const PASSWORD = 'correct horse battery staple 9';

// A server of its own: in one that others have used, the overview offers no demo server any more.
const test = shared.extend<object, { gatehouse: Gatehouse }>({
  gatehouse: [async ({}, use) => {
    const gatehouse = await startGatehouse();
    await use(gatehouse);
    await gatehouse.stop();
  }, { scope: 'worker' }],
});

test.describe.configure({ mode: 'serial' });

test.beforeAll(async ({ gatehouse }) => {
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await gatehouse.cli(['org', 'create', '--name', 'The second organisation with a long name', '--slug', 'second', '--owner', 'ada@example.com', '--json']);
  await gatehouse.cli(['user', 'create', '--email', 'vera@example.com', '--password', PASSWORD, '--json']);
  await gatehouse.cli(['org', 'member', 'add', '--org', 'acme', '--email', 'vera@example.com', '--role', 'member', '--json']);
});

async function logIn(page: import('@playwright/test').Page, url: string, email: string) {
  await page.goto(`${url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

const PAGES: [string, string | RegExp][] = [
  ['/', 'Overview'],
  ['/connectors', 'Connectors'],
  ['/connectors/new', 'Add connector'],
  ['/settings', /Settings|General/],
  ['/settings/danger', 'Danger zone'],
  ['/settings/api-keys', 'API keys'],
  ['/settings/api-keys/new', 'New API key'],
  ['/settings/api-keys/connect', /Connect to an AI agent/],
  ['/profile', /Profile/],
  ['/profile/sessions', /Sessions/],
  ['/orgs/new', 'New organisation'],
  ['/help/authentication', /Authentication/],
  ['/help/quickstart', /Quickstart/],
];

test('every page has its heading, fits a phone, and axe finds nothing', async ({ page, gatehouse }) => {
  test.setTimeout(900_000);
  const problems: string[] = [];
  page.on('console', (message) => { if (message.type() === 'error') problems.push(`${page.url()}: ${message.text()}`); });
  page.on('pageerror', (error) => problems.push(`${page.url()}: ${error}`));
  await logIn(page, gatehouse.url, 'ada@example.com');
  await page.goto(gatehouse.url);
  await hydrated(page);
  await page.getByRole('button', { name: 'Add the demo server' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Demo' })).toBeVisible();
  const demo = new URL(page.url()).pathname;
  const key = await gatehouse.cliJson<{ id: string }>(['api-key', 'create', '--org', 'acme', '--name', 'a name of forty characters, all of them!']);
  const more: [string, string | RegExp][] = [
    [demo, 'Demo'],
    [`${demo}/edit`, /Demo|Edit/],
    [`${demo}/delete`, /Delete Demo/],
    [`/settings/api-keys/${key.id}/edit`, /Edit/],
    [`/settings/api-keys/${key.id}/delete`, /Delete/],
  ];
  for (const [path, heading] of [...PAGES, ...more]) {
    await test.step(path, async () => {
      const response = await page.goto(`${gatehouse.url}${path}`);
      expect(response?.status(), path).toBe(200);
      await expect(page.getByRole('heading', { level: 1 })).toHaveText(heading);
      await expect(page.getByRole('heading', { level: 1 })).toHaveCount(1);
      await hydrated(page);
      for (const width of [1440, 768, 390, 320]) {
        await page.setViewportSize({ width, height: 900 });
        if (test.info().project.use.javaScriptEnabled !== false) {
          const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          expect(wider, `${path} at ${width}`).toBeLessThanOrEqual(0);
          if (width === 1440 || width === 390) await expectAccessible(page);
        }
      }
      await page.setViewportSize({ width: 1440, height: 900 });
    });
  }
  expect(problems).toEqual([]);
});

test('a member reads connectors and is told what else takes', async ({ page, gatehouse }) => {
  await logIn(page, gatehouse.url, 'vera@example.com');
  const denied = await page.goto(`${gatehouse.url}/settings/api-keys`);
  expect(denied?.status()).toBe(403);
  await expect(page.getByText('api-keys:read').first()).toBeVisible();
  const shown = await page.goto(`${gatehouse.url}/connectors`);
  expect(shown?.status()).toBe(200);
  await expect(page.getByRole('link', { name: 'Add connector' })).toHaveCount(0);
  const missing = await page.goto(`${gatehouse.url}/no-such-page`);
  expect(missing?.status()).toBe(404);
});

test('the theme, the organisation and the session can be changed', async ({ page, gatehouse }) => {
  await logIn(page, gatehouse.url, 'ada@example.com');
  await page.goto(`${gatehouse.url}/profile`);
  await hydrated(page);
  await page.getByRole('radio', { name: 'Dark' }).check();
  await page.getByRole('button', { name: 'Save theme' }).click();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.goto(`${gatehouse.url}/`);
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await hydrated(page);
  await page.goto(`${gatehouse.url}/settings`);
  await expect(page.getByText(`${gatehouse.url}/mcp/acme`).first()).toBeVisible();
  await hydrated(page);
  await page.locator('summary', { hasText: 'Organisation:' }).first().click();
  await page.getByRole('button', { name: 'Switch to The second organisation' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await expect(page.getByText(`${gatehouse.url}/mcp/second`).first()).toBeVisible();
  await hydrated(page);
  await page.locator('summary', { hasText: 'Your account:' }).first().click();
  await page.getByRole('button', { name: 'Log out' }).first().click();
  await expect(page.getByRole('heading', { level: 1, name: 'Log in' })).toBeVisible();
  await page.goto(`${gatehouse.url}/settings`);
  await expect(page.getByRole('heading', { level: 1, name: 'Log in' })).toBeVisible();
});
