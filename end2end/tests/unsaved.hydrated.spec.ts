// A form that edits something stored: it says that it was changed, takes it back, and asks before the page is left.
import { expect, hydrated, test } from '../fixtures';

const PASSWORD = 'correct horse battery staple 9';

test('changes that are not saved are not lost by a click', async ({ page, freshGatehouse: gatehouse }) => {
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${gatehouse.url}/sign-in?next=/settings`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  const name = page.getByLabel('Name', { exact: true });
  const unsaved = page.getByText('Unsaved changes').and(page.locator('.unsaved > *'));
  await expect(name).toHaveValue('Acme');
  await expect(unsaved).toBeHidden();

  await name.fill('Acme Robotics');
  await expect(unsaved).toBeVisible();
  await page.getByRole('button', { name: 'Discard' }).click();
  await expect(name).toHaveValue('Acme');
  await expect(unsaved).toBeHidden();

  await name.fill('Acme Robotics');
  const asked: string[] = [];
  let answer: 'accept' | 'dismiss' = 'dismiss';
  page.on('dialog', async (dialog) => { asked.push(dialog.type()); await dialog[answer](); });
  await page.getByRole('link', { name: 'Connectors' }).click();
  expect(asked).toEqual(['confirm']);
  await expect(name).toHaveValue('Acme Robotics');

  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByText('Saved.')).toBeVisible();
  await expect(unsaved).toBeHidden();
  await expect(page.getByText('Organisation: Acme Robotics')).toBeAttached();

  await name.fill('Something else');
  answer = 'accept';
  await page.getByRole('link', { name: 'Connectors' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Connectors' })).toBeVisible();
  expect(asked).toEqual(['confirm', 'confirm']);
});

test('of two tabs the second says what the first changed', async ({ page, context, freshGatehouse: gatehouse }) => {
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  await page.goto(`${gatehouse.url}/sign-in?next=/settings`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  const name = page.getByLabel('Name', { exact: true });
  await expect(name).toHaveValue('Acme');
  await hydrated(page);

  const other = await context.newPage();
  await other.goto(`${gatehouse.url}/settings`);
  await hydrated(other);
  await other.getByLabel('Name', { exact: true }).fill('Acme One');
  await other.getByRole('button', { name: 'Save changes' }).click();
  await expect(other.getByText('Saved.')).toBeVisible();
  await expect(other).toHaveURL(/settings$/);

  await name.fill('Acme Two');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await expect(page.getByRole('alert')).toContainText('it is “Acme One” now, and yours is “Acme Two”');
  await expect(name).toHaveValue('Acme Two');
  await page.getByRole('button', { name: 'Replace it with mine' }).click();
  await expect(page.getByText('Saved.')).toBeVisible();
  await other.reload();
  await expect(other.getByLabel('Name', { exact: true })).toHaveValue('Acme Two');
});
