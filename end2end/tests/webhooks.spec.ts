// Webhooks as a person lives with them: added, tried out, failing, replayed, paused, deleted. A real receiver verifies every
// delivery with the official library.
import type { Page } from '@playwright/test';

import { expect, expectFits, hydrated, test } from '../fixtures';
import { Receiver } from '../receiver';

const PASSWORD = 'correct horse battery staple 9';

async function logIn(page: Page, url: string) {
  await page.goto(`${url}/sign-in`);
  await hydrated(page);
  await page.getByLabel('Email').fill('ada@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
}

/** Reloads until the page shows what a job in the background does. */
async function eventually(page: Page, text: string | RegExp) {
  await expect(async () => {
    await page.reload();
    await expect(page.getByText(text).first()).toBeVisible({ timeout: 500 });
  }).toPass({ timeout: 20_000 });
  await hydrated(page);
}

test('a webhook is added, tried out, fails, is replayed, paused and deleted', async ({ page, freshGatehouse: gatehouse }) => {
  test.setTimeout(240_000);
  const receiver = await Receiver.start();
  const key = (name: string) => gatehouse.cli(['api-key', 'create', '--org', 'acme', '--name', name, '--json']);
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(`${page.url()}: ${error}`));
  try {
    await gatehouse.cli(['setup', '--email', 'ada@example.com', '--password', PASSWORD, '--org-name', 'Acme', '--org-slug', 'acme', '--json']);
    await logIn(page, gatehouse.url);
    await page.goto(`${gatehouse.url}/settings/webhooks`);
    await hydrated(page);
    await expect(page.getByText('No webhooks yet')).toBeVisible();
    await expectFits(page, 'webhooks-empty');
    await page.getByRole('link', { name: 'Add Webhook' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'Add Webhook' })).toBeVisible();
    await hydrated(page);

    // A private address is refused at its field.
    await page.getByLabel('URL').fill('https://10.0.0.1/hook');
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('private or local addresses').first()).toBeVisible();
    await hydrated(page);
    await page.getByLabel('URL').fill(`${receiver.url}?token=hunter2`);
    await page.getByLabel('Description').fill('The incident channel');
    await page.getByLabel('Only selected events').check();
    await page.getByLabel('api_key.created').check();
    await page.getByLabel('api_key.revoked').check();
    await expectFits(page, 'webhooks-new');
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'Webhook added' })).toBeVisible();
    receiver.secret = (await page.getByLabel('signing secret', { exact: true }).innerText()).trim();
    expect(receiver.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    await expectFits(page, 'webhooks-secret');

    await page.getByRole('link', { name: 'Send a test' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'Send Test' })).toBeVisible();
    await hydrated(page);
    await page.getByRole('button', { name: 'Send Test' }).click();
    await expect(page.getByText('The receiver took it')).toBeVisible();
    await expectFits(page, 'webhooks-test');
    expect(receiver.events.map((event) => event.type)).toEqual(['webhook.test']);

    // It happens elsewhere, and arrives by itself.
    await key('arrives');
    await expect.poll(() => receiver.events.length, { timeout: 10_000 }).toBe(2);
    expect(receiver.events[1]!.data.name).toBe('arrives');

    await page.goto(`${gatehouse.url}/settings/webhooks`);
    await hydrated(page);
    await expectFits(page, 'webhooks-list');
    await expect(page.getByText('hunter2')).toHaveCount(0);
    await page.getByRole('link', { name: receiver.url }).click();
    await expect(page.getByRole('heading', { level: 2, name: 'Latest deliveries' })).toBeVisible();
    await eventually(page, 'Delivered');
    await expectFits(page, 'webhooks-detail');
    const own = page.url();

    receiver.status = 500;
    await key('fails');
    await eventually(page, 'Retrying');
    await expect(page.getByText('It takes no events')).toBeVisible();
    await page.getByRole('link', { name: 'api_key.created' }).first().click();
    await expect(page.getByRole('heading', { level: 1, name: 'api_key.created' })).toBeVisible();
    await hydrated(page);
    await expect(page.getByText('answered with 500').first()).toBeVisible();
    await expectFits(page, 'webhooks-delivery');
    receiver.status = 200;
    await page.getByRole('button', { name: 'Replay' }).click();
    await expect(page.getByText('The event is sent once more.')).toBeVisible();
    await eventually(page, /Attempt \d+, replay: 200/);
    const failed = receiver.events.filter((event) => event.data.name === 'fails');
    expect(failed.length).toBeGreaterThanOrEqual(2);
    expect(new Set(failed.map((event) => event.id)).size).toBe(1);

    // A new secret, and both sign.
    await page.goto(`${own}/edit`);
    await hydrated(page);
    await expect(page.getByLabel('URL')).toHaveValue(`${receiver.url}?••••••`);
    await expectFits(page, 'webhooks-edit');
    await page.getByRole('button', { name: 'Rotate secret' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'New secret made' })).toBeVisible();
    const rotated = (await page.getByLabel('signing secret', { exact: true }).innerText()).trim();
    expect(rotated).not.toBe(receiver.secret);
    const before = receiver.events.length;
    await key('old secret');
    await expect.poll(() => receiver.events.length).toBe(before + 1);
    receiver.secret = rotated;
    await key('new secret');
    await expect.poll(() => receiver.events.length).toBe(before + 2);

    // Paused: what happens waits, and goes out when it is resumed.
    await page.goto(own);
    await hydrated(page);
    await page.getByRole('button', { name: 'Pause' }).click();
    await expect(page.getByText('Webhook paused.')).toBeVisible();
    await key('waits');
    await eventually(page, '1 event waits');
    await expectFits(page, 'webhooks-paused');
    expect(receiver.events.length).toBe(before + 2);
    await page.getByLabel('Send them, the oldest first').check();
    await page.getByRole('button', { name: 'Resume' }).click();
    await expect(page.getByText('Webhook resumed.')).toBeVisible();
    await expect.poll(() => receiver.events.length).toBe(before + 3);

    // The log with filters, and a range of days.
    await page.goto(own);
    await hydrated(page);
    await page.getByRole('link', { name: 'All deliveries, with filters' }).click();
    await expect(page.getByRole('heading', { level: 1, name: 'Deliveries' })).toBeVisible();
    await hydrated(page);
    await page.getByLabel('Event').selectOption('webhook.test');
    await page.getByRole('button', { name: 'Filter' }).click();
    await expect(page.getByRole('row')).toHaveCount(2);
    await hydrated(page);
    await expectFits(page, 'webhooks-log');
    await page.goto(`${own}/replay`);
    await hydrated(page);
    await page.getByLabel('First day').fill(new Date(Date.now() - 86_400_000).toISOString().slice(0, 10));
    await page.getByLabel('Also events that were delivered').check();
    await page.getByRole('button', { name: 'Count events' }).click();
    await expect(page.getByRole('button', { name: /Replay \d+ events/ })).toBeVisible();
    await expectFits(page, 'webhooks-replay');
    const sofar = receiver.events.length;
    await page.getByRole('button', { name: /Replay \d+ events/ }).click();
    await expect(page.getByText('The events are sent once more.')).toBeVisible();
    await expect.poll(() => receiver.events.length).toBe(sofar + 5);

    await page.goto(`${own}/delete`);
    await hydrated(page);
    await expectFits(page, 'webhooks-delete');
    await page.getByRole('button', { name: 'Delete webhook' }).click();
    await expect(page.getByText('Webhook deleted with its log.')).toBeVisible();
    await page.goto(`${gatehouse.url}/help/webhooks`);
    await hydrated(page);
    await expectFits(page, 'webhooks-help');
    expect(receiver.refused).toBe(0);
    expect(problems).toEqual([]);
  } finally {
    await receiver.stop();
  }
});
