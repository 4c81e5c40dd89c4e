// MCP clients that people run as programs, with nothing but a URL: the MCP Inspector's command line, and mcp-remote, which
// lends its sign-in to clients that only speak over stdio. Both are run by the Node of `node_modules/node`, which is new
// enough for them, in an empty home of their own.
//
// By hand: HOME=$(mktemp -d) npx @modelcontextprotocol/inspector --cli --server-url URL --transport http --method tools/list
//          HOME=$(mktemp -d) npx mcp-remote-client URL
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const modules = path.join(import.meta.dirname, '../node_modules');
export const node = path.join(modules, 'node/bin/node');

/** The page that a program wants opened, when it has said so. */
const ADDRESS = /https?:\/\/[^\s"'<>]*code_challenge=[^\s"'<>]*/;

export interface Home {
  /** What the program is started with: it opens no browser by itself. */
  env: Record<string, string>;
  remove(): Promise<void>;
}

export async function emptyHome(): Promise<Home> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'gatehouse-client-'));
  return {
    env: { PATH: process.env.PATH!, HOME: folder, BROWSER: '/bin/true', MCP_AUTO_OPEN_ENABLED: 'true', NO_COLOR: '1' },
    remove: () => fs.rm(folder, { recursive: true, force: true }),
  };
}

/** Collects what is written to a stream and waits for the address in it. */
export class Listener {
  text = '';
  #waiting: (() => void)[] = [];
  hear(chunk: string | Buffer) {
    this.text += chunk.toString();
    for (const look of this.#waiting) look();
  }
  async address(patience = 60_000): Promise<URL> {
    return new Promise((found, missed) => {
      const timer = setTimeout(() => missed(new Error(`no page to open was named:\n${this.text}`)), patience);
      const look = () => {
        // Only a whole line: the rest of the address may still be on its way.
        const line = this.text.match(new RegExp(`${ADDRESS.source}(?=[\\s"'<>])`));
        if (line) { clearTimeout(timer); found(new URL(line[0])); }
      };
      this.#waiting.push(look);
      look();
    });
  }
}

export interface Running {
  output: Listener;
  /** Exit code and standard output. */
  ended: Promise<{ code: number | null; stdout: string }>;
  stop(): void;
}

/** One method through the Inspector's command line. */
export function inspector(url: string, home: Home, args: string[]): Running {
  const file = path.join(modules, '@modelcontextprotocol/inspector/clients/launcher/build/index.js');
  return run([file, '--cli', '--server-url', url, '--transport', 'http', ...args], home);
}

export const mcpRemote = path.join(modules, 'mcp-remote/dist/proxy.js');

function run(args: string[], home: Home): Running {
  const child: ChildProcess = spawn(node, args, { env: home.env, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = new Listener();
  let stdout = '';
  child.stdout!.on('data', (chunk) => { stdout += chunk; output.hear(chunk); });
  child.stderr!.on('data', (chunk) => output.hear(chunk));
  const ended = new Promise<{ code: number | null; stdout: string }>((done, failed) => {
    child.on('error', failed);
    child.on('close', (code) => done({ code, stdout }));
  });
  return { output, ended, stop: () => child.kill() };
}
