// The official conformance suite through the gateway: the built binary, a connector to the server beside this file, and
// the scenarios that a revision requires. Also: whether the gateway changes what servers say; and the suite's side for
// clients against the gateway's way to servers (client.mjs).
//   node conformance/run.mjs [--only NAME|client] [--keep DIR]
// GATEHOUSE_TEST_BINARY names another binary than dist/gatehouse.
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { clientSide } from './client.mjs';
import { openDoor } from './door.mjs';
import { compare } from './transparency.mjs';
import { start, startGateway } from './start.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const modules = path.join(here, '../node_modules');
// The suite needs Node 22, which is a package here so that an older one on the machine does.
const node = path.join(modules, 'node/bin/node');
const suite = path.join(modules, '@modelcontextprotocol/conformance/dist/index.js');
const { values: options } = parseArgs({ options: { only: { type: 'string' }, keep: { type: 'string' } } });

const LEGACY = '2025-11-25';
const MODERN = '2026-07-28';
const REQUIRED = { [LEGACY]: 30, [MODERN]: 37 };

// Which server is behind the gateway, under which names the suite finds it, and what cannot pass, with the reason.
const RUNS = [
  { name: 'both', era: 'both', prefixed: false, except: {} },
  { name: 'both-prefixed', era: 'both', prefixed: true, except: {} },
  {
    name: 'legacy',
    era: 'legacy',
    prefixed: false,
    except: {
      [MODERN]: {
        // It looks for its own key, user_name, in the map of questions. A request of a legacy server has no such key.
        'input-required-result-basic-elicitation': ['sep-2322-elicitation-incomplete'],
      },
    },
  },
  { name: 'modern', era: 'modern', prefixed: false, except: {} },
  { name: 'stdio-modern', era: 'modern', prefixed: false, stdio: true, except: {} },
  {
    name: 'stdio-legacy',
    era: 'legacy',
    prefixed: false,
    stdio: true,
    except: { [MODERN]: { 'input-required-result-basic-elicitation': ['sep-2322-elicitation-incomplete'] } },
  },
];

async function conformance(url, revision, folder) {
  const out = path.join(folder, revision);
  await fs.rm(out, { recursive: true, force: true });
  const child = spawn(node, [suite, 'server', '--url', url, '--requirements', revision, '-o', out], { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => { log += part; });
  const timer = setTimeout(() => child.kill('SIGKILL'), 240_000);
  await new Promise((done) => { child.on('close', done); });
  clearTimeout(timer);
  await fs.writeFile(path.join(folder, `${revision}.log`), log);
  const scenarios = new Map();
  for (const entry of await fs.readdir(out).catch(() => [])) {
    const text = await fs.readFile(path.join(out, entry, 'checks.json'), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    const name = entry.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '');
    scenarios.set(name, JSON.parse(text));
  }
  return scenarios;
}

/** The scenarios that the revision requires of a server. */
async function required(revision) {
  const text = await fs.readFile(path.join(modules, '@modelcontextprotocol/conformance/requirements', `${revision}.yaml`), 'utf8');
  const list = text.slice(text.search(/^server:$/m)).split(/\n(?=\S)/)[0];
  return [...list.matchAll(/^ {2}- (\S+)$/gm)].map(([, name]) => name);
}

const problems = [];
const work = options.keep ?? await fs.mkdtemp(path.join(os.tmpdir(), 'conformance-'));
await fs.mkdir(work, { recursive: true });
const gateway = await startGateway();
try {
  for (const run of RUNS.filter(({ name }) => !options.only || options.only === name)) {
    const server = await start(process.execPath, [path.join(here, 'server.mjs'), '--era', run.era], /listening on (\S+)/);
    const connector = `c-${run.name}`;
    const folder = path.join(work, run.name);
    await fs.mkdir(folder, { recursive: true });
    const place = run.stdio ? ['--transport', 'stdio', '--url', run.era] : ['--url', server.found];
    await gateway.admin('connector', 'add', '--org', 'acme', '--slug', connector, '--name', run.name, ...place);
    const { key } = await gateway.admin('api-key', 'create', '--org', 'acme', '--name', run.name, '--connector', connector);
    const target = `${gateway.url}/mcp/acme${run.prefixed ? '' : `/${connector}`}`;
    await gateway.until(target, key);
    const door = await openDoor({ target, key, prefix: run.prefixed && { name: `${connector}__`, uri: `mcp.${connector}+` } });
    for (const revision of [LEGACY, MODERN]) {
      const names = await required(revision);
      if (names.length !== REQUIRED[revision]) problems.push(`${revision}: ${names.length} scenarios are required, not ${REQUIRED[revision]}`);
      const scenarios = await conformance(door.url, revision, folder);
      const excepted = run.except[revision] ?? {};
      let clean = 0;
      let checks = 0;
      for (const name of names) {
        const found = scenarios.get(name);
        const allowed = excepted[name] ?? [];
        const all = (found ?? []).filter(({ status }) => status === 'FAILURE');
        const failed = all.filter(({ id }) => !allowed.includes(id));
        checks += (found ?? []).filter(({ status }) => status === 'SUCCESS').length;
        const passed = found !== undefined && failed.length === 0;
        if (passed && all.length === 0) clean += 1;
        if (passed && all.length < allowed.length) problems.push(`${run.name} ${revision} ${name}: passes, so it is no exception any more`);
        if (!passed) {
          for (const check of failed.length ? failed : [{ id: 'no result', description: 'the suite did not report' }]) {
            problems.push(`${run.name} ${revision} ${name}: ${check.id}: ${(check.errorMessage ?? check.description ?? '').slice(0, 300)}`);
          }
        }
      }
      const warned = [...scenarios].flatMap(([name, found]) => found.filter(({ status }) => status === 'WARNING').map(({ id }) => `${name} ${id}`));
      console.log(`${run.name.padEnd(14)} ${revision}: ${clean}/${names.length} required scenarios, ${checks} checks passed${warned.length ? `; warnings: ${warned.join(', ')}` : ''}`);
    }
    const differences = await compare({ bare: server.found, gateway: target, key, era: run.era, slug: run.prefixed ? connector : undefined });
    console.log(`${run.name.padEnd(14)} bodies compared: ${differences.compared}, different: ${differences.different.length}`);
    problems.push(...differences.different.map((text) => `${run.name}: ${text}`));
    door.stop();
    await server.stop();
  }
  if (!options.only || options.only === 'client') problems.push(...await clientSide({ gateway, work }));
} finally {
  await gateway.stop();
  if (!options.keep) await fs.rm(work, { recursive: true, force: true });
}
for (const problem of problems) console.error(`FAIL ${problem}`);
process.exitCode = problems.length ? 1 : 0;
