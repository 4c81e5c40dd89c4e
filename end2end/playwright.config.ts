import { existsSync } from 'node:fs';

import { defineConfig } from '@playwright/test';

// Debian's Chromium where there is one, else the browser that Playwright installed.
const chromium = process.env.GATEHOUSE_TEST_CHROMIUM ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'tests',
  // Each project in a worker of its own, with a server of its own.
  workers: 2,
  forbidOnly: !!process.env.CI,
  timeout: 60_000,
  // Nobody is there in CI to try again when a slow machine was the cause; what took a second try is named as flaky.
  retries: Number(process.env.GATEHOUSE_TEST_RETRIES ?? 0),
  expect: { timeout: 10_000 },
  reporter: [['list'], ['./summary.ts']],
  use: {
    browserName: 'chromium',
    launchOptions: {
      executablePath: existsSync(chromium) ? chromium : undefined,
      // Containers have no user namespaces for the sandbox; the rest keeps the browser from calling home.
      args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
    },
    locale: 'en-GB',
    timezoneId: 'UTC',
    trace: 'retain-on-failure',
  },
  // Every flow runs twice: it must work before the wasm has arrived, and where it never does.
  projects: [
    { name: 'scripts' },
    { name: 'noscript', use: { javaScriptEnabled: false }, testIgnore: '**/*.hydrated.spec.ts' },
  ],
});
