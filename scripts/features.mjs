// Fails when the README names a test, in its table of features, that is not there.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const [, table] = readFileSync('README.md', 'utf8').split('## What it does, and which test shows it');
const rows = table.split('\n## ')[0].split('\n').filter((line) => line.startsWith('| ')).slice(2);
const named = rows.flatMap((row) => [...row.split(' | ').at(-1).matchAll(/`([^`]+)`/g)].map(([, name]) => name));
if (rows.length < 10 || !rows.every((row) => /`[^`]+` \|$/.test(row))) throw new Error('a row of the README\'s table names no test');

const files = execFileSync('git', ['ls-files', 'server', 'app', 'end2end/tests'], { encoding: 'utf8' }).split('\n');
const rust = files.filter((file) => file.endsWith('.rs')).map((file) => readFileSync(file, 'utf8')).join('\n');
const missing = named.filter((name) => (name.endsWith('.ts')
  ? !files.includes(`end2end/tests/${name}`)
  : !new RegExp(`(fn |env_test!\\()${name}\\b`).test(rust)));
if (missing.length) {
  console.error(`README.md names tests that are not there: ${missing.join(', ')}`);
  process.exit(1);
}
