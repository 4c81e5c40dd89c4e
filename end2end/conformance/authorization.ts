// The authorization-server scenarios of the official MCP conformance suite, against a running gatehouse. The suite prints
// the address of the authorization request and waits at its callback; a person has to allow it meanwhile.
import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { Listener, node } from '../clients/programs';

const suite = path.join(import.meta.dirname, '../node_modules/@modelcontextprotocol/conformance/dist/index.js');

export interface Check {
  id: string;
  status: string;
  errorMessage?: string;
}

export interface Conformance {
  /** Each check of each scenario. */
  checks: { scenario: string; check: Check }[];
  code: number | null;
  output: string;
}

/** A free port that the suite can listen on: it takes the one that it is told. */
export async function authorization(
  server: { issuer: string; clientId: string; resource: string; port: number },
  allow: (address: URL) => Promise<void>,
): Promise<Conformance> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'gatehouse-conformance-'));
  const args = [
    suite, 'authorization', '--url', server.issuer, '--client-id', server.clientId, '--resource', server.resource,
    '-p', String(server.port), '-o', folder,
  ];
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = new Listener();
  child.stdout.on('data', (chunk) => output.hear(chunk));
  child.stderr.on('data', (chunk) => output.hear(chunk));
  const ended = new Promise<number | null>((done, failed) => { child.on('error', failed).on('close', done); });
  try {
    const asked = output.address().then(allow);
    // If it ends first, nothing was asked, and its output says why.
    const code = await Promise.race([Promise.all([asked, ended]).then(([, code]) => code), ended]);
    return { checks: await checks(folder), code, output: output.text };
  } finally {
    child.kill();
    await fs.rm(folder, { recursive: true, force: true });
  }
}

/** What the suite wrote: a folder for each scenario. */
async function checks(folder: string): Promise<Conformance['checks']> {
  const found: Conformance['checks'] = [];
  for (const file of await fs.readdir(folder, { recursive: true })) {
    if (path.basename(file) !== 'checks.json') continue;
    const scenario = path.basename(path.dirname(file));
    const list = JSON.parse(await fs.readFile(path.join(folder, file), 'utf8')) as Check[];
    for (const check of list) found.push({ scenario, check });
  }
  return found;
}
