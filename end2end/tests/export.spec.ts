// An export as its owner meets it: chosen, followed, downloaded, opened; then its connectors are brought in once more.
import { readFile, writeFile } from 'node:fs/promises';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { unzip } from '../zip';

const PASSWORD = 'correct horse battery staple 9';

test('data is exported, opened, and its connectors are imported', async ({ page, freshGatehouse: gatehouse }, info) => {
  test.setTimeout(180_000);
  const scripts = info.project.use.javaScriptEnabled !== false;
  await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
  const secret = 'Bearer canary-5d21';
  await gatehouse.cli(['connector', 'add', '--org', 'acme', '--slug', 'weather', '--name', 'Weather', '--url', 'https://mcp.invalid/', '--header', `Authorization: ${secret}`, '--json']);
  const open = async (where: string) => {
    await page.goto(`${gatehouse.url}${where}`);
    await hydrated(page);
  };
  await open('/sign-in');
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();

  await open('/settings/export');
  await expect(page.getByText('No exports yet')).toBeVisible();
  await expectFits(page, 'export-empty');
  await page.getByLabel('Usage statistics').uncheck();
  await page.getByRole('button', { name: 'Generate Export' }).click();
  // The page follows by itself, with and without scripts.
  await expect(page.getByText('Ready', { exact: true })).toBeVisible({ timeout: 30_000 });
  await hydrated(page);
  await expectFits(page, 'export-ready');
  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: 'Download' }).click(),
  ]);
  expect(download.suggestedFilename()).toMatch(/^export-acme-\d{4}-\d\d-\d\d\.zip$/);
  const files = unzip(await readFile(await download.path()));
  expect([...files.keys()].sort()).toEqual(['api-keys.json', 'audit.json', 'connectors.json', 'manifest.json', 'members.json']);
  const manifest = JSON.parse(files.get('manifest.json')!);
  for (const part of manifest.parts) {
    const file = JSON.parse(files.get(part.file)!);
    expect((file.connectors ?? file).length).toBe(part.rows);
  }
  expect([...files.values()].join()).not.toContain('canary-5d21');

  // The slug is taken here, so the connector gets another one.
  await open('/settings/export/import');
  const text = files.get('connectors.json')!;
  await page.getByLabel('Or paste what is in it').fill('{"a": 1}');
  await page.getByRole('button', { name: 'Look what would be made' }).click();
  await expect(page.getByRole('alert')).toContainText('no file of connectors from Gatehouse');
  await hydrated(page);
  await expectFits(page, 'import-wrong');
  if (scripts) {
    const path = info.outputPath('connectors.json');
    await writeFile(path, text);
    await page.getByLabel('Choose a file').setInputFiles(path);
    await expect(page.getByLabel('Or paste what is in it')).toHaveValue(text);
  } else {
    await page.getByLabel('Or paste what is in it').fill(text);
  }
  await page.getByRole('button', { name: 'Look what would be made' }).click();
  await expect(page.getByText('Added as weather-2')).toBeVisible();
  await expect(page.getByText('the value of its header authorization')).toBeVisible();
  await hydrated(page);
  await expectFits(page, 'import-plan');
  await page.getByRole('button', { name: 'Import 1 connector' }).click();
  await expect(page.getByText('Connectors imported.')).toBeVisible();
  await expect(page.getByRole('link', { name: 'Weather' })).toHaveCount(2);

  await open('/settings/export');
  await page.getByRole('button', { name: 'Delete export' }).click();
  await expect(page.getByText('No exports yet')).toBeVisible();
});
