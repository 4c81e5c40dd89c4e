// What the suite runs for each scenario of clients: `driver.mjs URL`, with the scenario in the environment.
// It ends with 0 when everything that the scenario is about was done.
import { randomBytes } from 'node:crypto';

import { dashboard } from './dashboard.mjs';

const url = process.argv.at(-1);
const { GATEWAY, GATEWAY_KEY, GATEWAY_COOKIE, MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_CONTEXT } = process.env;
const context = MCP_CONFORMANCE_CONTEXT ? JSON.parse(MCP_CONFORMANCE_CONTEXT) : {};
// The suite would compare it with this one; Gatehouse's own document needs an https address to be fetched from.
const DOCUMENT = 'https://conformance-test.local/client-metadata.json';
const key = (name) => `io.modelcontextprotocol/${name}`;
const VERSION = '2026-07-28';
const SIMPLE = { string: 'x', number: 1, integer: 1, boolean: true, array: [], object: {} };

const slug = `c-${randomBytes(6).toString('hex')}`;
const person = dashboard(GATEWAY, GATEWAY_COOKIE);
let nextId = 0;

/** One request to the connector's own endpoint. */
async function ask(method, params = {}) {
  nextId += 1;
  const ours = nextId;
  const _meta = {
    [key('protocolVersion')]: VERSION,
    [key('clientInfo')]: { name: 'driver', version: '1' },
    [key('clientCapabilities')]: { elicitation: { form: {} }, sampling: {}, roots: {} },
  };
  const name = params.name ?? params.uri;
  const encode = (text) => (/^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(text) ? text : `=?base64?${Buffer.from(text).toString('base64')}?=`);
  const { headers: more, ...rest } = params;
  const response = await fetch(`${GATEWAY}/mcp/acme/${slug}`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json', Accept: 'application/json, text/event-stream', 'X-API-Key': GATEWAY_KEY,
      'MCP-Protocol-Version': VERSION, 'Mcp-Method': method, ...(name !== undefined && { 'Mcp-Name': encode(name) }),
      ...Object.fromEntries(Object.entries(more ?? {}).map(([header, value]) => [`Mcp-Param-${header}`, encode(String(value))])),
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: ours, method, params: { ...rest, _meta } }),
  });
  const text = await response.text();
  const messages = response.headers.get('content-type')?.startsWith('text/event-stream')
    ? [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data))
    : [JSON.parse(text)];
  const answer = messages.find(({ id }) => id === ours || id === null);
  if (!answer) throw new Error(`${method}: no answer: ${text.slice(0, 300)}`);
  return answer;
}

/** The answer of a person who agrees with everything. */
function agree({ method, params }) {
  if (method === 'roots/list') return { roots: [] };
  if (method === 'sampling/createMessage') return { role: 'assistant', model: 'none', content: { type: 'text', text: 'yes' } };
  const properties = Object.entries(params.requestedSchema?.properties ?? {});
  return { action: 'accept', content: Object.fromEntries(properties.map(([name, schema]) => [name, schema.default ?? schema.enum?.[0] ?? SIMPLE[schema.type]])) };
}

/** Calls a tool, answers what it asks, and tells what came of it. */
async function call(tool, given) {
  const schema = tool.inputSchema ?? {};
  const required = (schema.required ?? []).map((name) => [name, SIMPLE[schema.properties?.[name]?.type] ?? 'x']);
  const args = given ?? Object.fromEntries(required);
  const headers = Object.fromEntries(
    Object.entries(schema.properties ?? {})
      .filter(([name, property]) => property['x-mcp-header'] && args[name] !== undefined && args[name] !== null)
      .map(([name, property]) => [property['x-mcp-header'], args[name]]),
  );
  let answer = await ask('tools/call', { name: tool.name, arguments: args, headers });
  for (let round = 0; answer.result?.resultType === 'input_required' && round < 8; round += 1) {
    const { inputRequests = {}, requestState } = answer.result;
    const inputResponses = Object.fromEntries(Object.entries(inputRequests).map(([name, request]) => [name, agree(request)]));
    answer = await ask('tools/call', { name: tool.name, arguments: args, headers, inputResponses, ...(requestState !== undefined && { requestState }) });
  }
  return answer;
}

async function tools() {
  const deadline = Date.now() + 5_000;
  for (;;) {
    const answer = await ask('tools/list');
    if (answer.result?.tools?.length || Date.now() > deadline) return answer.result?.tools ?? [];
    await new Promise((done) => { setTimeout(done, 100); });
  }
}

/** Signs in as often as the server asks for more, which must come to an end. */
async function signedIn(id) {
  const typed = context.client_id ? context : scenario === 'auth/basic-cimd' ? { client_id: DOCUMENT } : {};
  await person.credentials(id, typed);
  for (let attempt = 0; attempt < 3; attempt += 1) {
    await person.authorize(id);
    await person.test(id);
    const all = await tools();
    const answers = await Promise.all(all.map((tool) => call(tool)));
    if (all.length > 0 && answers.every(({ error }) => !error)) return;
  }
  throw new Error('signed in three times, and still refused');
}

const id = await person.add(slug, url);
if (scenario.startsWith('auth/')) {
  await signedIn(id);
} else {
  await person.test(id);
  const all = scenario === 'initialize' ? [] : await tools();
  const calls = context.toolCalls ?? all.map(({ name }) => ({ name }));
  const answers = await Promise.all(calls.map((given) => {
    const tool = all.find(({ name }) => name === given.name);
    if (!tool) throw new Error(`no tool ${given.name}`);
    return call(tool, given.arguments);
  }));
  for (const { error } of answers) if (error) throw new Error(`a call failed: ${error.message}`);
  if (scenario === 'http-standard-headers') {
    for (const { uri } of (await ask('resources/list')).result?.resources ?? []) await ask('resources/read', { uri });
    for (const { name } of (await ask('prompts/list')).result?.prompts ?? []) await ask('prompts/get', { name });
  }
}
