// node lighthouse.mjs: Lighthouse, as on a phone, for pages of dist/gatehouse. Prints the figures beside the goals; a
// figure depends on the machine, so it is information and no test.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { launch } from 'chrome-launcher';
import lighthouse from 'lighthouse';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gatehouse-lighthouse-'));
const program = path.join(folder, 'gatehouse');
fs.copyFileSync(path.join(import.meta.dirname, '../dist/gatehouse'), program);
const port = 20_000 + (process.pid % 20_000);
const base = `http://127.0.0.1:${port}`;
const env = { PATH: process.env.PATH, GATEHOUSE_LISTEN: `127.0.0.1:${port}`, GATEHOUSE_DEMO: 'on' };
const account = { email: 'ada@example.com', password: 'correct horse battery staple 9' };
const admin = (...args) => execFileSync(program, ['admin', ...args, '--json'], { cwd: folder, env });
admin('setup', '--email', account.email, '--password', account.password, '--org-name', 'Acme', '--org-slug', 'acme');
admin('api-key', 'create', '--org', 'acme', '--name', 'claude-prod');

const server = spawn(program, ['serve'], { cwd: folder, env, stdio: 'ignore' });
const chrome = await launch({
  chromePath: process.env.GATEHOUSE_TEST_CHROMIUM ?? '/usr/bin/chromium',
  chromeFlags: ['--headless=new', '--no-sandbox', '--disable-background-networking', '--disable-component-update', '--no-first-run'],
});
try {
  for (let tries = 0; !(await fetch(`${base}/readyz`).then((r) => r.ok, () => false)); tries++) {
    if (tries > 100) throw new Error('gatehouse does not start');
    await pause(50);
  }
  const cookie = await logIn();
  console.log('page                     perf  a11y  best   LCP s  TBT ms    CLS');
  console.log('goal                     ≥ 95   100   100   ≤ 1.8    ≤ 80 ≤ 0.01');
  for (const [page, headers] of [['/sign-in', {}], ['/', { cookie }], ['/connectors', { cookie }], ['/settings/api-keys', { cookie }]]) {
    const { lhr } = await lighthouse(base + page, {
      port: chrome.port,
      output: 'json',
      logLevel: 'error',
      extraHeaders: headers,
      onlyCategories: ['performance', 'accessibility', 'best-practices'],
      disableStorageReset: true,
    });
    const score = (name) => String(Math.round(lhr.categories[name].score * 100)).padStart(4);
    const value = (name) => lhr.audits[name].numericValue;
    console.log([
      page.padEnd(23), score('performance'), ` ${score('accessibility')}`, ` ${score('best-practices')}`,
      (value('largest-contentful-paint') / 1000).toFixed(2).padStart(7),
      value('total-blocking-time').toFixed(0).padStart(7),
      value('cumulative-layout-shift').toFixed(3).padStart(6),
    ].join(' '));
    for (const audit of Object.values(lhr.audits)) {
      const counts = ['accessibility', 'best-practices'].some((c) => lhr.categories[c].auditRefs.some((r) => r.id === audit.id && r.weight > 0));
      if (counts && audit.score !== null && audit.score < 1) console.log(`    ${audit.id}: ${audit.title}`);
    }
  }
} finally {
  await chrome.kill();
  server.kill();
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Logs in as a browser without scripts does, and gives back the cookies. */
async function logIn() {
  const page = await fetch(`${base}/sign-in`);
  const form = page.headers.getSetCookie().map((line) => line.split(';')[0]);
  const csrf = (await page.text()).match(/name="csrf"[^>]*value="([^"]+)"/)?.[1] ?? '';
  const answer = await fetch(`${base}/sign-in?do=sign_in`, {
    method: 'POST',
    redirect: 'manual',
    headers: { cookie: form.join('; '), 'sec-fetch-site': 'same-origin', 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ ...account, csrf }),
  });
  if (answer.status !== 303) throw new Error(`logging in answered ${answer.status}`);
  return answer.headers.getSetCookie().map((line) => line.split(';')[0]).join('; ');
}
