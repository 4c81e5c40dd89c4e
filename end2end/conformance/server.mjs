// An MCP server for conformance runs, of both eras on one endpoint, without dependencies.
//   node server.mjs [--era modern|legacy|both] [--page N] [--port N]
// It says where it listens and ends with its parent's standard input.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import { parseArgs } from 'node:util';

import { RpcError, answer, capabilities, headerArguments } from './features.mjs';

const { values: options } = parseArgs({
  options: { era: { type: 'string', default: 'both' }, page: { type: 'string' }, port: { type: 'string', default: '0' } },
});
const speaks = { modern: options.era !== 'legacy', legacy: options.era !== 'modern' };
const page = options.page && Number(options.page);
const MODERN = '2026-07-28';
const LEGACY = ['2025-11-25', '2025-06-18', '2025-03-26'];
const versions = [...(speaks.modern ? [MODERN] : []), ...(speaks.legacy ? LEGACY : [])];
const key = (name) => `io.modelcontextprotocol/${name}`;
const serverInfo = { name: 'gatehouse-conformance', version: '1.0.0' };
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];

/** Streams that hear of changes: { filter, send }. */
const listeners = new Set();
const tell = (wanted, method, params = {}) => {
  for (const { filter, id, send } of listeners) {
    if (filter === undefined) send({ jsonrpc: '2.0', method, params });
    else if (filter[wanted] === true || filter[wanted]?.includes?.(params.uri)) send({ jsonrpc: '2.0', method, params: { ...params, _meta: { [key('subscriptionId')]: id } } });
  }
};
const news = { tell, updated: (uri) => tell('resourceSubscriptions', 'notifications/resources/updated', { uri }) };

/** One answer, which becomes a stream when something else is to be said before it. */
function replyTo(res, id) {
  let streaming = false;
  const send = (message) => {
    if (!streaming) res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
    streaming = true;
    res.write(`data: ${JSON.stringify(message)}\n\n`);
  };
  const end = (message, status = 200, headers = {}) => {
    if (streaming) {
      send(message);
      res.end();
    } else {
      res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(message));
    }
  };
  return {
    send,
    result: (result, headers) => end({ jsonrpc: '2.0', id, result }, 200, headers),
    error: ({ code = -32603, message, data, status = 200 }) => end({ jsonrpc: '2.0', id: id ?? null, error: { code, message, ...(data && { data }) } }, status),
  };
}

function progress(reply, meta) {
  return (done, total) => {
    if (meta?.progressToken !== undefined) reply.send({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: meta.progressToken, progress: done, total } });
  };
}

/** A log message, unless it is below the level. */
function logger(reply, level) {
  return (at, data) => {
    if (level && LEVELS.indexOf(at) >= LEVELS.indexOf(level)) reply.send({ jsonrpc: '2.0', method: 'notifications/message', params: { level: at, data } });
  };
}

function decode(header) {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(header ?? '')?.[1];
  return encoded === undefined ? header : Buffer.from(encoded, 'base64').toString();
}

function checkModern(headers, { method, params = {} }) {
  const meta = params._meta ?? {};
  const refuse = (header) => { throw new RpcError(-32020, `Header mismatch: ${header}`, { status: 400 }); };
  const version = meta[key('protocolVersion')];
  if (version === undefined || meta[key('clientCapabilities')] === undefined) throw new RpcError(-32602, 'A member of _meta is missing', { status: 400 });
  if (headers['mcp-protocol-version'] !== version) refuse('MCP-Protocol-Version');
  if (version !== MODERN) throw new RpcError(-32022, 'Unsupported protocol version', { data: { supported: versions, requested: version }, status: 400 });
  if (headers['mcp-method'] !== method) refuse('Mcp-Method');
  const name = { 'tools/call': params.name, 'prompts/get': params.name, 'resources/read': params.uri }[method];
  if (name !== undefined && decode(headers['mcp-name']) !== name) refuse('Mcp-Name');
  if (method === 'tools/call') {
    for (const [header, value] of headerArguments(params)) if (decode(headers[header]) !== value) refuse(header);
  }
}

const CACHED = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read', 'server/discover'];

async function modern(req, res, message) {
  if (message.id === undefined) return res.writeHead(202).end();
  const reply = replyTo(res, message.id);
  try {
    checkModern(req.headers, message);
    const { method, params } = message;
    if (method === 'subscriptions/listen') return listen(res, reply, message);
    const call = {
      modern: true, page, can: params._meta[key('clientCapabilities')], progress: progress(reply, params._meta), ...news,
      log: logger(reply, params._meta[key('logLevel')]),
    };
    const result = method === 'server/discover' ? { supportedVersions: versions, capabilities, instructions: 'For conformance runs' } : await answer(method, params, call);
    if (result === undefined) throw new RpcError(-32601, 'Method not found', { status: 404 });
    const cache = CACHED.includes(method) && { ttlMs: 0, cacheScope: 'private' };
    return reply.result({ resultType: 'complete', ...result, ...cache, _meta: { ...result._meta, [key('serverInfo')]: serverInfo } });
  } catch (error) {
    return reply.error(error);
  }
}

function listen(res, reply, { id, params }) {
  const filter = params.notifications ?? {};
  reply.send({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params: { notifications: filter, _meta: { [key('subscriptionId')]: id } } });
  hear(res, { filter, id, send: reply.send });
}

function hear(res, listener) {
  listeners.add(listener);
  const beat = setInterval(() => res.write(': here\n\n'), 10_000);
  res.on('close', () => { clearInterval(beat); listeners.delete(listener); });
}

const sessions = new Map();

async function legacy(req, res, message) {
  const reply = replyTo(res, message.id);
  const { method, params = {} } = message;
  if (method === 'initialize') {
    const id = randomUUID();
    sessions.set(id, { can: params.capabilities ?? {}, waiting: new Map(), level: 'info' });
    const protocolVersion = LEGACY.includes(params.protocolVersion) ? params.protocolVersion : LEGACY[0];
    return reply.result({ protocolVersion, capabilities, serverInfo, instructions: 'For conformance runs' }, { 'mcp-session-id': id });
  }
  const session = sessions.get(req.headers['mcp-session-id']);
  if (!session) {
    const status = req.headers['mcp-session-id'] ? 404 : 400;
    return reply.error(new RpcError(-32600, 'There is no such session', { status }));
  }
  if (method === undefined) {
    session.waiting.get(message.id)?.(message);
    return res.writeHead(202).end();
  }
  if (message.id === undefined) return res.writeHead(202).end();
  const ask = (capability, question) => new Promise((resolve, reject) => {
    if (!session.can[capability]) return reject(new RpcError(-32600, `The client has no ${capability}`));
    const id = randomUUID();
    session.waiting.set(id, ({ result, error }) => {
      session.waiting.delete(id);
      if (error) reject(new RpcError(error.code, error.message));
      else resolve(result);
    });
    return reply.send({ jsonrpc: '2.0', id, ...question });
  });
  try {
    if (method === 'logging/setLevel') session.level = params.level;
    const simple = ['ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'].includes(method);
    const call = { page, can: session.can, progress: progress(reply, params._meta), log: logger(reply, session.level), ask, ...news };
    const result = simple ? {} : await answer(method, params, call);
    if (result === undefined) throw new RpcError(-32601, 'Method not found');
    return reply.result(result);
  } catch (error) {
    return reply.error(error instanceof RpcError ? { ...error, message: error.message, status: 200 } : error);
  }
}

/** Which era a message is of, in a server that has both. */
function isModern({ headers }, message) {
  if (!speaks.legacy || !speaks.modern) return speaks.modern;
  if (message.params?._meta?.[key('protocolVersion')] !== undefined) return true;
  return headers['mcp-session-id'] === undefined && headers['mcp-protocol-version'] === MODERN;
}

const LOCAL = /^(https?:\/\/)?(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

http.createServer((req, res) => {
  const chunks = [];
  req.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
    const refuse = (status) => res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32600, message: 'Refused' } }));
    if (!LOCAL.test(req.headers.host ?? '') || (req.headers.origin && !LOCAL.test(req.headers.origin))) return refuse(403);
    const session = req.headers['mcp-session-id'];
    if (req.method !== 'POST') {
      if (!speaks.legacy || session === undefined) return refuse(405);
      if (!sessions.has(session)) return refuse(404);
      if (req.method === 'DELETE') {
        sessions.delete(session);
        return res.writeHead(204).end();
      }
      res.writeHead(200, { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' }).write(': open\n\n');
      return hear(res, { send: (message) => res.write(`data: ${JSON.stringify(message)}\n\n`) });
    }
    let message;
    try {
      message = JSON.parse(Buffer.concat(chunks).toString());
    } catch {
      return refuse(400);
    }
    return isModern(req, message) ? modern(req, res, message) : legacy(req, res, message);
  });
}).listen(Number(options.port), '127.0.0.1', function listening() {
  console.log(`listening on http://127.0.0.1:${this.address().port}/mcp`);
});
// Whoever started it has gone.
process.stdin.resume().on('end', () => process.exit()).on('error', () => process.exit());
