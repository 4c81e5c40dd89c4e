// The server of the conformance runs on standard streams: one message a line, and one client.
//   node stdio.mjs --era modern|legacy
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

import { RpcError, answer, capabilities } from './features.mjs';

const { values: options } = parseArgs({ options: { era: { type: 'string' } } });
const era = options.era;
const MODERN = '2026-07-28';
const LEGACY = ['2025-11-25', '2025-06-18', '2025-03-26'];
const key = (name) => `io.modelcontextprotocol/${name}`;
const serverInfo = { name: 'gatehouse-conformance', version: '1.0.0' };
const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const CACHED = ['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read', 'server/discover'];

const send = (message) => process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
/** Subscriptions of the modern era: { id, filter }. In the legacy era everybody hears everything. */
const listeners = new Set();
const tell = (wanted, method, params = {}) => {
  if (era === 'legacy') return send({ method, params });
  for (const { filter, id } of listeners) {
    if (filter[wanted] === true || filter[wanted]?.includes?.(params.uri)) send({ method, params: { ...params, _meta: { [key('subscriptionId')]: id } } });
  }
};
const news = { tell, updated: (uri) => tell('resourceSubscriptions', 'notifications/resources/updated', { uri }) };
const session = { can: {}, waiting: new Map(), level: 'info', asked: 0 };

function ask(capability, question) {
  if (!session.can[capability]) return Promise.reject(new RpcError(-32600, `The client has no ${capability}`));
  session.asked += 1;
  const id = `q${session.asked}`;
  return new Promise((resolve, reject) => {
    session.waiting.set(id, ({ result, error }) => {
      session.waiting.delete(id);
      if (error) reject(new RpcError(error.code, error.message));
      else resolve(result);
    });
    send({ id, ...question });
  });
}

function call(params) {
  const meta = params._meta ?? {};
  const level = era === 'modern' ? meta[key('logLevel')] : session.level;
  return {
    ...news,
    modern: era === 'modern',
    can: era === 'modern' ? meta[key('clientCapabilities')] : session.can,
    ...(era === 'legacy' && { ask }),
    progress: (progress, total) => {
      if (meta.progressToken !== undefined) send({ method: 'notifications/progress', params: { progressToken: meta.progressToken, progress, total } });
    },
    log: (at, data) => {
      if (level && LEVELS.indexOf(at) >= LEVELS.indexOf(level)) send({ method: 'notifications/message', params: { level: at, data } });
    },
  };
}

async function modern(method, params) {
  const version = params._meta?.[key('protocolVersion')];
  if (version === undefined || params._meta[key('clientCapabilities')] === undefined) throw new RpcError(-32602, 'A member of _meta is missing');
  if (version !== MODERN) throw new RpcError(-32022, 'Unsupported protocol version', { data: { supported: [MODERN], requested: version } });
  const result = method === 'server/discover'
    ? { supportedVersions: [MODERN], capabilities, instructions: 'For conformance runs' }
    : await answer(method, params, call(params));
  if (result === undefined) throw new RpcError(-32601, 'Method not found');
  const cache = CACHED.includes(method) && { ttlMs: 0, cacheScope: 'private' };
  return { resultType: 'complete', ...result, ...cache, _meta: { ...result._meta, [key('serverInfo')]: serverInfo } };
}

async function legacy(method, params) {
  if (method === 'initialize') {
    session.can = params.capabilities ?? {};
    const protocolVersion = LEGACY.includes(params.protocolVersion) ? params.protocolVersion : LEGACY[0];
    return { protocolVersion, capabilities, serverInfo, instructions: 'For conformance runs' };
  }
  if (method === 'logging/setLevel') session.level = params.level;
  if (['ping', 'logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'].includes(method)) return {};
  const result = await answer(method, params, call(params));
  if (result === undefined) throw new RpcError(-32601, 'Method not found');
  return result;
}

async function take({ id, method, params = {}, ...rest }) {
  if (method === undefined) return session.waiting.get(id)?.(rest);
  if (id === undefined) return undefined;
  if (method === 'subscriptions/listen' && era === 'modern') {
    const filter = params.notifications ?? {};
    listeners.add({ id, filter });
    return send({ method: 'notifications/subscriptions/acknowledged', params: { notifications: filter, _meta: { [key('subscriptionId')]: id } } });
  }
  try {
    return send({ id, result: await (era === 'modern' ? modern : legacy)(method, params) });
  } catch ({ code = -32603, message, data }) {
    return send({ id, error: { code, message, ...(data && { data }) } });
  }
}

console.error(`a server of the ${era} era`);
createInterface({ input: process.stdin }).on('line', (line) => take(JSON.parse(line))).on('close', () => process.exit());
