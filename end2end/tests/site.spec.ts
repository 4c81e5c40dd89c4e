// The binary stands alone: what its pages ask for comes out of it, and nothing else is asked for.
import { expect, test } from '../fixtures';

test('the first page and all that it loads come from the binary', async ({ page, gatehouse }) => {
  const failed: string[] = [];
  page.on('response', (response) => { if (response.status() >= 400) failed.push(`${response.status()} ${response.url()}`); });
  page.on('requestfailed', (request) => failed.push(`${request.failure()?.errorText} ${request.url()}`));
  page.on('request', (request) => { if (!request.url().startsWith(gatehouse.url)) failed.push(`elsewhere: ${request.url()}`); });
  page.on('console', (message) => { if (message.type() === 'error') failed.push(message.text()); });

  const response = await page.goto('/', { waitUntil: 'networkidle' });

  expect(response?.ok()).toBe(true);
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  expect(failed).toEqual([]);
});

test('static files are compressed, and kept for ever', async ({ request }) => {
  const html = await (await request.get('/')).text();
  const css = html.match(/\/assets\/[0-9a-f]{16}\/main\.css/)?.[0];
  expect(css).toBeDefined();

  const response = await request.get(css!, { headers: { 'Accept-Encoding': 'br' } });
  expect(response.headers()).toMatchObject({
    'cache-control': 'public, max-age=31536000, immutable',
    'content-encoding': 'br',
    'content-type': 'text/css; charset=utf-8',
    'x-content-type-options': 'nosniff',
  });
  expect((await request.get('/favicon.ico')).status()).toBe(200);
});
