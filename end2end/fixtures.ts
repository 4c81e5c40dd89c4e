// What specs import instead of @playwright/test:
//   test('…', async ({ page, gatehouse, everything }) => { await page.goto(gatehouse.setupLink); … })
import AxeBuilder from '@axe-core/playwright';
import { expect, type Page, test as base } from '@playwright/test';

import { type Everything, type Gatehouse, startEverything, startGatehouse } from './processes';

export { expect };

interface TestFixtures {
  /** A server of this test's own, for what can be done only once: the set-up link, for one. */
  freshGatehouse: Gatehouse;
}

interface WorkerFixtures {
  /**
   * One server for all specs that a worker runs; page.goto('/…') goes there. A failed test gets a new worker and so a
   * new, empty server: every spec file makes what it needs, with names of its own.
   */
  gatehouse: Gatehouse;
  /** The MCP reference server. */
  everything: Everything;
}

export const test = base.extend<TestFixtures, WorkerFixtures>({
  gatehouse: [async ({}, use) => {
    const gatehouse = await startGatehouse();
    await use(gatehouse);
    await gatehouse.stop();
  }, { scope: 'worker' }],

  everything: [async ({}, use) => {
    const everything = await startEverything();
    await use(everything);
    await everything.stop();
  }, { scope: 'worker' }],

  baseURL: async ({ gatehouse }, use) => use(gatehouse.url),

  freshGatehouse: async ({}, use, info) => {
    const gatehouse = await startGatehouse();
    await use(gatehouse);
    if (info.status !== info.expectedStatus) await info.attach('gatehouse', { body: gatehouse.output() });
    await gatehouse.stop();
  },
});

/** No findings of axe, in light and in dark. Needs scripts: for the project `scripts` only. */
export async function expectAccessible(page: Page): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // Colours follow the scheme a moment later; what is read meanwhile belongs to neither.
    await page.evaluate(() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 200)));
    const { violations } = await new AxeBuilder({ page }).analyze();
    const findings = violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(' ')}: ${n.failureSummary}`));
    expect(findings, `axe, ${colorScheme}`).toEqual([]);
  }
}

/** No findings, and nothing wider than the window, at both widths; with pictures where GATEHOUSE_TEST_PICTURES names a folder. */
export async function expectFits(page: Page, name: string): Promise<void> {
  const scripts = test.info().project.use.javaScriptEnabled !== false;
  for (const width of [1440, 390]) {
    await page.setViewportSize({ width, height: 900 });
    if (!scripts) continue;
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(wider, `${name} at ${width}`).toBeLessThanOrEqual(0);
    await expectAccessible(page);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      if (process.env.GATEHOUSE_TEST_PICTURES) {
        await page.screenshot({ path: `${process.env.GATEHOUSE_TEST_PICTURES}/${name}-${width}-${colorScheme}.png`, fullPage: true });
      }
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1440, height: 900 });
}

/** Waits until the page is hydrated, which starts only when the browser is idle; at once without scripts. */
export async function hydrated(page: Page): Promise<void> {
  if (test.info().project.use.javaScriptEnabled === false) return;
  await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
}
