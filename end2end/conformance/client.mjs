// The client side of the official conformance suite, against the gateway's way to servers: for each scenario the suite
// starts a server and runs driver.mjs with its URL. The driver adds that server as a connector of a running gateway, in
// the dashboard as a person would, signs in where the server wants it, and calls its tools through the gateway.
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { signIn } from './dashboard.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(here, '../node_modules');
const node = path.join(modules, 'node/bin/node');
const suite = path.join(modules, '@modelcontextprotocol/conformance/dist/index.js');
const REQUIRED = { '2025-11-25': 18, '2026-07-28': 32 };

/** What a revision requires of clients. */
async function required(revision) {
  const text = await fs.readFile(path.join(modules, '@modelcontextprotocol/conformance/requirements', `${revision}.yaml`), 'utf8');
  const list = text.slice(text.search(/^client:$/m)).split(/\n(?=\S)/)[0];
  return [...list.matchAll(/^ {2}- (\S+)$/gm)].map(([, name]) => name);
}

async function run(revision, names, folder, env) {
  const out = path.join(folder, `client-${revision}`);
  await fs.rm(out, { recursive: true, force: true });
  const command = `${process.execPath} ${path.join(here, 'driver.mjs')}`;
  // The suite's servers would listen on every interface.
  const args = ['--import', path.join(here, 'loopback.mjs'), suite, 'client', '--command', command, '--requirements', revision, '-o', out];
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH, ...env } });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => { log += part; });
  const timer = setTimeout(() => child.kill('SIGKILL'), 300_000);
  const closed = new Promise((done) => { child.on('close', done); });
  const scenarios = new Map();
  const walk = async (at) => {
    for (const entry of await fs.readdir(at, { withFileTypes: true }).catch(() => [])) {
      const inner = path.join(at, entry.name);
      if (entry.isDirectory()) await walk(inner);
      if (entry.name !== 'checks.json') continue;
      const name = path.relative(out, at).replace(/^client-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
      try {
        scenarios.set(name, JSON.parse(await fs.readFile(inner, 'utf8')));
      } catch {
        // It is being written.
      }
    }
  };
  // The suite waits for the connections of its servers, and a gateway keeps the streams of its sessions open: once all is
  // written there is nothing more to wait for.
  for (let ended = false; !ended;) {
    ended = await Promise.race([closed.then(() => true), new Promise((done) => { setTimeout(done, 1000, false); })]);
    await walk(out);
    if (names.every((name) => scenarios.has(name))) {
      await new Promise((done) => { setTimeout(done, 2000); });
      break;
    }
  }
  child.kill('SIGKILL');
  clearTimeout(timer);
  await closed;
  await walk(out);
  await fs.writeFile(path.join(folder, `client-${revision}.log`), log);
  return scenarios;
}

/** Runs both revisions; what is wrong, in sentences. */
export async function clientSide({ gateway, work }) {
  const problems = [];
  const { key } = await gateway.admin('api-key', 'create', '--org', 'acme', '--name', 'client side');
  const cookie = await signIn(gateway.url, 'ada@example.com', 'correct horse battery staple 9');
  for (const revision of Object.keys(REQUIRED)) {
    const names = await required(revision);
    if (names.length !== REQUIRED[revision]) problems.push(`${revision}: ${names.length} client scenarios are required, not ${REQUIRED[revision]}`);
    const scenarios = await run(revision, names, work, { GATEWAY: gateway.url, GATEWAY_KEY: key, GATEWAY_COOKIE: cookie });
    let clean = 0;
    let checks = 0;
    const warned = [];
    for (const name of names) {
      const found = scenarios.get(name) ?? [];
      const failed = found.filter(({ status }) => status === 'FAILURE');
      checks += found.filter(({ status }) => status === 'SUCCESS').length;
      warned.push(...found.filter(({ status }) => status === 'WARNING').map(({ id }) => `${name} ${id}`));
      if (failed.length === 0 && found.some(({ status }) => status === 'SUCCESS')) clean += 1;
      else if (failed.length === 0) problems.push(`client ${revision} ${name}: the suite did not report`);
      for (const check of failed) problems.push(`client ${revision} ${name}: ${check.id}: ${(check.errorMessage ?? check.description ?? '').slice(0, 300)}`);
    }
    console.log(`client side    ${revision}: ${clean}/${names.length} required scenarios, ${checks} checks passed${warned.length ? `; warnings: ${warned.join(', ')}` : ''}`);
  }
  return problems;
}
