// Starts what the tests talk to: the built binary, alone in an empty folder, and the MCP reference server.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import dgram from 'node:dgram';
import fs from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = process.env.GATEHOUSE_TEST_BINARY ?? path.join(here, '../dist/gatehouse');

export interface Gatehouse {
  /** Where it listens, without a slash at the end. */
  url: string;
  /** The one-time link for the first owner, as printed at start. */
  setupLink: string;
  /** Its working folder, with data/ in it. */
  folder: string;
  /** Runs `gatehouse admin …` on the same data and gives its output; throws when it fails. */
  cli(args: string[]): Promise<string>;
  /** The same with --json, parsed. */
  cliJson<T = Record<string, unknown>>(args: string[]): Promise<T>;
  /** All that it printed so far. */
  output(): string;
  stop(): Promise<void>;
}

/** `host` tells two of them apart to a browser, which keeps one set of cookies for a host, whatever its port. */
export async function startGatehouse(settings: Record<string, string> = {}, host = '127.0.0.1'): Promise<Gatehouse> {
  await fs.access(binary).catch(() => { throw new Error(`${binary} is missing: run make build`); });
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'gatehouse-'));
  const program = path.join(folder, 'gatehouse');
  await fs.copyFile(binary, program);
  const port = await freePort();
  const url = `http://${host}:${port}`;
  // Only what is named here: nothing of the tester's own settings gets in.
  const env = {
    PATH: process.env.PATH,
    GATEHOUSE_LISTEN: `127.0.0.1:${port}`,
    GATEHOUSE_PUBLIC_URL: url,
    GATEHOUSE_DEMO: 'on',
    GATEHOUSE_EGRESS_ALLOW: '127.0.0.0/8',
    ...settings,
  };
  const child = spawn(program, ['serve'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = collect(child);
  const stop = async () => {
    await end(child);
    await fs.rm(folder, { recursive: true, force: true });
  };

  try {
    const link = /https?:\/\/[^\s"]*\/setup\/[^\s"]+/;
    await until('the set-up link of gatehouse', child, output, () => link.test(output()));
    await until('an answer from gatehouse', child, output, () => answers(url));
    const cli = async (args: string[]) => {
      const { stdout } = await promisify(execFile)(program, ['admin', ...args], { cwd: folder, env });
      return stdout;
    };
    return {
      url,
      setupLink: output().match(link)![0],
      folder,
      cli,
      cliJson: async (args) => JSON.parse(await cli([...args, '--json'])),
      output,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

export interface Everything {
  /** Its MCP endpoint. */
  url: string;
  stop(): Promise<void>;
}

/** The MCP reference server, over streamable HTTP. */
export async function startEverything(): Promise<Everything> {
  const child = spawn(
    process.execPath,
    [
      '--import', new URL('./bind-loopback.mjs', import.meta.url).href,
      path.join(here, 'node_modules/@modelcontextprotocol/server-everything/dist/index.js'), 'streamableHttp',
    ],
    { cwd: here, env: { PATH: process.env.PATH, PORT: '0' }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const output = collect(child);
  const address = /listening on (127\.0\.0\.1:\d+)/;
  try {
    await until('server-everything', child, output, () => address.test(output()));
  } catch (error) {
    await end(child);
    throw error;
  }
  return { url: `http://${output().match(address)![1]}/mcp`, stop: () => end(child) };
}

export interface Provider {
  issuer: string;
  /** A token of its machine client for this resource. */
  token(resource: string): Promise<string>;
  stop(): Promise<void>;
}

/** An OpenID provider with one machine client; with `redirect`, also with the client `dashboard` that people log in with. */
export async function startProvider(redirect = ''): Promise<Provider> {
  const child = spawn(process.execPath, [path.join(here, 'clients/identity-provider.mjs')], {
    cwd: here, env: { PATH: process.env.PATH, PORT: '0', REDIRECT_URI: redirect }, stdio: ['pipe', 'pipe', 'pipe'],
  });
  const output = collect(child);
  const address = /listening on (http:\/\/127\.0\.0\.1:\d+)/;
  try {
    await until('the identity provider', child, output, () => address.test(output()));
  } catch (error) {
    await end(child);
    throw error;
  }
  const issuer = output().match(address)![1];
  const token = async (resource: string) => {
    const answer = await fetch(`${issuer}/token`, {
      method: 'POST',
      headers: { Authorization: `Basic ${btoa('agent:agent-secret')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'tools', resource }),
    });
    return ((await answer.json()) as { access_token: string }).access_token;
  };
  return { issuer, token, stop: () => end(child) };
}

export interface Names {
  /** For GATEHOUSE_DNS_RESOLVER. */
  address: string;
  /** TXT records by name; what is not in here has none. */
  records: Map<string, string>;
  /** Where CNAME records of names lead. */
  aliases: Map<string, string>;
  stop(): void;
}

/** A name server on 127.0.0.1. */
export async function startNames(): Promise<Names> {
  const records = new Map<string, string>();
  const aliases = new Map<string, string>();
  const socket = dgram.createSocket('udp4');
  socket.on('message', (question, from) => {
    const labels: string[] = [];
    let at = 12;
    for (; question[at] !== 0; at += 1 + question[at]) labels.push(question.toString('latin1', at + 1, at + 1 + question[at]));
    const kind = question.readUInt16BE(at + 1);
    const name = labels.join('.');
    const parts = kind === 16 ? records.get(name) && [records.get(name)!]
      : kind === 5 && aliases.has(name) ? [...aliases.get(name)!.split('.'), ''] : undefined;
    const data = Buffer.concat((parts || []).map((part) => Buffer.from([part.length, ...Buffer.from(part, 'latin1')])));
    const header = Buffer.from([question[0], question[1], 0x81, 0x80, 0, 1, 0, parts ? 1 : 0, 0, 0, 0, 0]);
    const record = parts ? [Buffer.from([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, data.length]), data] : [];
    socket.send(Buffer.concat([header, question.subarray(12, at + 5), ...record]), from.port, from.address);
  });
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
  return { address: `127.0.0.1:${socket.address().port}`, records, aliases, stop: () => void socket.close() };
}

export interface Proxy {
  /** Where it takes TLS. */
  port: number;
  /** The root that its certificates are of, PEM. */
  root(): Promise<string>;
  output(): string;
  stop(): Promise<void>;
}

/**
 * Caddy with deploy/Caddyfile as it is, but for the addresses of Gatehouse, the ports it may take, and certificates of its
 * own making.
 */
export async function startCaddy(gatehouse: string, ask: string): Promise<Proxy> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'caddy-'));
  const [port, plain] = [await freePort(), await freePort()];
  const options = `admin off\n\tpersist_config off\n\tlocal_certs\n\tskip_install_trust\n\thttp_port ${plain}\n\thttps_port ${port}\n\tdefault_bind 127.0.0.1\n\tstorage file_system ${folder}`;
  const ours = await fs.readFile(path.join(here, '../deploy/Caddyfile'), 'utf8');
  const changed = [['{\n\ton_demand_tls', `{\n\t${options}\n\ton_demand_tls`], ['127.0.0.1:9464', ask], ['127.0.0.1:3000', gatehouse]]
    .reduce((text, [old, made]) => {
      if (!text.includes(old)) throw new Error(`deploy/Caddyfile has no ${old}`);
      return text.replaceAll(old, made);
    }, ours);
  await fs.writeFile(path.join(folder, 'Caddyfile'), changed);
  const child = spawn(path.join(here, '.venv/bin/caddy'), ['run', '--config', path.join(folder, 'Caddyfile'), '--adapter', 'caddyfile'], {
    cwd: folder, env: { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: folder }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = collect(child);
  const stop = async () => {
    await end(child);
    await fs.rm(folder, { recursive: true, force: true });
  };
  try {
    await until('Caddy', child, output, () => output().includes('serving initial configuration'));
  } catch (error) {
    await stop();
    throw error;
  }
  const root = () => fs.readFile(path.join(folder, 'pki/authorities/local/root.crt'), 'utf8');
  return { port, root, output, stop };
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (part) => { text += part; });
  // Without this, a program that cannot be started at all would end the test run; `until` reports it.
  child.on('error', (error) => { text += `${error}\n`; });
  return () => text;
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { redirect: 'manual' });
    await response.body?.cancel();
    return true;
  } catch {
    return false;
  }
}

async function until(what: string, child: ChildProcess, output: () => string, done: () => boolean | Promise<boolean>) {
  const deadline = Date.now() + 15_000;
  while (!(await done())) {
    const ended = child.pid === undefined || child.exitCode !== null;
    if (ended || Date.now() > deadline) throw new Error(`no sign of ${what}; it printed:\n${output()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
  await exited;
  clearTimeout(timer);
}
