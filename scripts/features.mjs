// Fails when the README names a test, in its table of features, that is not there, or when a page is missing from the table.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [, table] = readFileSync('README.md', 'utf8').split('## What it does, and which test shows it');
const rows = table.split('\n## ')[0].split('\n').filter((line) => line.startsWith('| ')).slice(2);
const named = rows.flatMap((row) => [...row.split(' | ').at(-1).matchAll(/`([^`]+)`/g)].map(([, name]) => name));
if (rows.length < 10 || !rows.every((row) => /`[^`]+` \|$/.test(row))) throw new Error('a row of the README\'s table names no test');

/** The pages that people find described elsewhere and look for here, as the table's first column has them. */
const pages = [
  'Overview', 'Connectors', 'Playground', 'Activity', 'Team', 'Settings → General', 'Settings → API keys', 'Connect to an AI agent',
  'Settings → OAuth clients', 'Connect to Claude.ai', 'Settings → MCP connections', 'Authentication', 'Settings → SSO',
  'Settings → Security', 'Profile → Security', 'Sessions', 'Settings → Webhooks', 'Settings → Custom domain', 'Settings → Audit log',
  'Settings → Data export', 'Settings → Plan', 'Settings → Danger zone',
];
const shown = rows.flatMap((row) => row.slice(2).split(' | ')[0].split(', '));
const lost = pages.filter((page) => !shown.includes(page));
if (lost.length) {
  console.error(`README.md has no row for: ${lost.join(', ')}`);
  process.exit(1);
}

const files = execFileSync('git', ['ls-files', 'server', 'app', 'end2end/tests'], { encoding: 'utf8' }).split('\n');
const rust = files.filter((file) => file.endsWith('.rs')).map((file) => readFileSync(file, 'utf8')).join('\n');
const missing = named.filter((name) => (name.endsWith('.ts')
  ? !files.includes(`end2end/tests/${name}`)
  : !new RegExp(`(fn |env_test!\\()${name}\\b`).test(rust)));
if (missing.length) {
  console.error(`README.md names tests that are not there: ${missing.join(', ')}`);
  process.exit(1);
}
