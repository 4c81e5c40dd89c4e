// What is typed while a page loads its data again stays.
import { expect, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

test('what is being typed outlives the reload after a change', async ({ page, freshGatehouse }) => {
  await freshGatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${freshGatehouse.url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  await page.goto(`${freshGatehouse.url}/profile/security/two-factor`);
  await hydrated(page);

  // The data comes only when the code is half typed.
  let go = () => {};
  const typed = new Promise<void>((resolve) => { go = resolve; });
  await page.route('**/api/load_*', async (route) => {
    await typed;
    await route.continue();
  });
  await page.getByRole('button', { name: 'Turn on two-factor authentication' }).click();
  const code = page.getByLabel('Code', { exact: true });
  await code.pressSequentially('000');
  const before = await code.elementHandle();
  const loaded = page.waitForResponse('**/api/load_factors');
  go();
  await loaded;
  // The form is made anew. If it no longer is, nothing is shown here.
  await expect.poll(() => before!.evaluate((field) => field.isConnected)).toBe(false);
  await expect(code).toHaveValue('000');
  await expect(code).toBeFocused();
  await page.keyboard.type('000');
  await expect(code).toHaveValue('000000');
  await page.getByRole('button', { name: 'Turn on', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('not the code that your app shows');
});
