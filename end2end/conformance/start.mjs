// Starts programs for the conformance runs and ends them.
import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Starts a program and waits until it has printed what is looked for; `found` is its first group. */
export async function start(program, args, look, options = {}) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env.PATH }, ...options });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (part) => { output += part; });
  child.on('error', (error) => { output += error; });
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => { child.once('exit', done); });
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  };
  const deadline = Date.now() + 30_000;
  while (!look.test(output)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`${program} did not start:\n${output}`);
    }
    await new Promise((done) => { setTimeout(done, 25); });
  }
  return { found: output.match(look)[1], output: () => output, stop };
}

async function freePort() {
  const server = net.createServer();
  await new Promise((ready) => { server.listen(0, '127.0.0.1', ready); });
  const { port } = server.address();
  await new Promise((done) => { server.close(done); });
  return port;
}

/** The gateway with one organisation, `acme`, in a folder of its own. */
export async function startGateway() {
  const program = process.env.GATEHOUSE_TEST_BINARY ?? path.join(here, '../../dist/gatehouse');
  await fs.access(program).catch(() => { throw new Error(`${program} is missing: run make build`); });
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'gatehouse-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const env = {
    PATH: process.env.PATH, GATEHOUSE_LISTEN: `127.0.0.1:${port}`, GATEHOUSE_PUBLIC_URL: url, GATEHOUSE_EGRESS_ALLOW: '127.0.0.0/8,localhost:1024-65535',
  };
  // The servers on this machine.
  const servers = ['modern', 'legacy'].map((era) => `[stdio.${era}]\ncommand = ${JSON.stringify(process.execPath)}\nargs = ${JSON.stringify([path.join(here, 'stdio.mjs'), '--era', era])}\norgs = ["acme"]\n`);
  await fs.writeFile(path.join(folder, 'gatehouse.toml'), servers.join('\n'));
  const running = await start(program, ['serve'], /(\/setup\/)/, { cwd: folder, env });
  const admin = async (...args) => {
    const { stdout } = await promisify(execFile)(program, ['admin', ...args, '--json'], { cwd: folder, env });
    return JSON.parse(stdout);
  };
  const stop = async () => {
    await running.stop();
    await fs.rm(folder, { recursive: true, force: true });
  };
  try {
    await admin('setup', '--email', 'ada@example.com', '--password', 'correct horse battery staple 9', '--org-name', 'Acme', '--org-slug', 'acme');
  } catch (error) {
    await stop();
    throw error;
  }
  /** Waits until the running server has seen a change of the command line. */
  const until = async (endpoint, key) => {
    const deadline = Date.now() + 15_000;
    for (;;) {
      const response = await fetch(endpoint, {
        method: 'POST', headers: { 'Content-Type': 'application/json', 'X-API-Key': key }, body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
      }).catch(() => undefined);
      const body = await response?.json().catch(() => undefined);
      if (body?.result?.tools?.length) return;
      if (Date.now() > deadline) throw new Error(`${endpoint} does not answer: ${JSON.stringify(body)}\n${running.output()}`);
      await new Promise((done) => { setTimeout(done, 100); });
    }
  };
  return { url, admin, until, output: running.output, stop };
}
