// What the upstream server of the conformance runs offers: the names that the suite calls, and beside them what no model
// of the protocol knows, so that the transparency test has something to lose.
import { createHmac, randomBytes } from 'node:crypto';

const secret = randomBytes(32);
const IMAGE = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=';
const SOUND = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=';

/** An error of the protocol. */
export class RpcError extends Error {
  constructor(code, message, { data, status } = {}) {
    super(message);
    Object.assign(this, { code, data, status });
  }
}

const say = (text) => ({ content: [{ type: 'text', text }] });
const nothing = { type: 'object', properties: {} };
const object = (properties, required) => ({ type: 'object', properties, ...(required && { required }) });
const string = { type: 'string' };

const form = (message, properties, required) => ({
  method: 'elicitation/create',
  params: { mode: 'form', message, requestedSchema: object(properties, required) },
});
const sampling = (question) => ({
  method: 'sampling/createMessage',
  params: { messages: [{ role: 'user', content: { type: 'text', text: question } }], maxTokens: 100 },
});
const roots = { method: 'roots/list', params: {} };

/** A state that a client carries: what was sealed, or an error for what was changed. */
const seal = (value) => {
  const body = Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
};
const unseal = (state) => {
  const [body, mark] = String(state).split('.');
  if (mark !== createHmac('sha256', secret).update(body).digest('base64url')) throw new RpcError(-32602, 'requestState was changed');
  return JSON.parse(Buffer.from(body, 'base64url').toString());
};
const input = (inputRequests, state) => ({
  resultType: 'input_required', inputRequests, ...(state !== undefined && { requestState: seal(state) }),
});
/** What a call of the modern era stops with that needs input first. */
class InputRequired extends Error {
  constructor(result) {
    super('input is required');
    this.result = result;
  }
}

/**
 * Asks the client several things at once: in a session by requests, each of which it answers; without one by a result, so
 * that the call is made again with the answers.
 */
async function gather({ modern, inputs, ask }, requests, carried) {
  if (modern) {
    if (Object.keys(requests).every((name) => inputs?.[name])) return inputs;
    throw new InputRequired(input(requests, carried));
  }
  const answers = Object.entries(requests).map(async ([name, request]) => [name, await ask(request.method.split('/')[0], request)]);
  return Object.fromEntries(await Promise.all(answers));
}

/** The same for one question. */
const one = async (call, request) => (await gather(call, { answer: request })).answer;

const accepted = (answer) => (answer?.action === 'accept' ? answer.content : undefined);
const pause = () => new Promise((done) => { setTimeout(done, 20); });

/** Goes on only with an answer, and in the modern era with the state that it gave. */
async function confirmed(call, text) {
  if (call.state !== undefined) unseal(call.state);
  const request = { confirm: form('Go on?', { ok: { type: 'boolean' } }, ['ok']) };
  if (call.modern && call.state === undefined) return input(request, { kind: text, at: Date.now() });
  await gather(call, request, { kind: text, at: Date.now() });
  return say(text);
}

const choices = ['option1', 'option2', 'option3'];
const titled = ['First', 'Second', 'Third'].map((title, at) => ({ const: `value${at + 1}`, title: `${title} Option` }));
const outcome = (answer) => say(`Elicitation completed: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`);

// name: [input schema, what it does]. A call knows: args, meta, inputs and state of a second round, can (the client's
// capabilities), progress(), log(), ask() for servers with sessions, tell() for news.
const tools = {
  test_simple_text: [nothing, () => say('This is a simple text response for testing.')],
  test_image_content: [nothing, () => ({ content: [{ type: 'image', data: IMAGE, mimeType: 'image/png' }] })],
  test_audio_content: [nothing, () => ({ content: [{ type: 'audio', data: SOUND, mimeType: 'audio/wav' }] })],
  test_embedded_resource: [nothing, () => ({
    content: [{ type: 'resource', resource: { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' } }],
  })],
  test_multiple_content_types: [nothing, () => ({
    content: [
      { type: 'text', text: 'Multiple content types test:' },
      { type: 'image', data: IMAGE, mimeType: 'image/png' },
      { type: 'resource', resource: { uri: 'test://mixed-content-resource', mimeType: 'application/json', text: '{"test":"data","value":123}' } },
    ],
  })],
  test_tool_with_logging: [nothing, async ({ log }) => {
    for (const text of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      log('info', text);
      await pause();
    }
    return say('Tool with logging executed successfully');
  }],
  test_tool_with_progress: [nothing, async ({ progress, meta }) => {
    for (const done of [0, 50, 100]) {
      progress(done, 100);
      await pause();
    }
    return say(String(meta.progressToken === undefined));
  }],
  test_error_handling: [nothing, () => ({ ...say('This tool intentionally returns an error for testing'), isError: true })],
  test_sampling: [object({ prompt: string }, ['prompt']), async (call) => {
    const answer = await one(call, sampling(call.args.prompt));
    return say(`LLM response: ${answer.content?.text ?? ''}`);
  }],
  test_elicitation: [object({ message: string }, ['message']), async (call) => {
    const answer = await one(call, form(call.args.message, { username: string, email: string }, ['username', 'email']));
    return say(`User response: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`);
  }],
  test_elicitation_sep1034_defaults: [nothing, async (call) => outcome(await one(call, form('Please look at the defaults', {
    name: { ...string, default: 'John Doe' },
    age: { type: 'integer', default: 30 },
    score: { type: 'number', default: 95.5 },
    status: { ...string, enum: ['active', 'inactive', 'pending'], default: 'active' },
    verified: { type: 'boolean', default: true },
  }, [])))],
  test_elicitation_sep1330_enums: [nothing, async (call) => outcome(await one(call, form('Please choose', {
    untitledSingle: { ...string, enum: choices },
    titledSingle: { ...string, oneOf: titled },
    legacyEnum: { ...string, enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
    untitledMulti: { type: 'array', items: { ...string, enum: choices } },
    titledMulti: { type: 'array', items: { anyOf: titled } },
  }, [])))],
  json_schema_2020_12_tool: [{
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    $defs: { address: { $anchor: 'addressDef', type: 'object', properties: { street: string, city: string } } },
    properties: { name: string, address: { $ref: '#/$defs/address' }, contactMethod: { ...string, enum: ['phone', 'email'] }, phone: string, email: string },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false,
  }, ({ args }) => say(JSON.stringify(args))],
  test_header_argument: [object({ region: { ...string, 'x-mcp-header': 'Region' }, level: { type: 'integer' } }), ({ args }) => say(`region=${args.region}`)],
  test_missing_capability: [nothing, ({ can }) => {
    if (!can.sampling) throw new RpcError(-32021, 'The client has no sampling', { data: { requiredCapabilities: { sampling: {} } }, status: 400 });
    return say('ok');
  }],
  test_streaming_elicitation: [nothing, () => say('no requests on the stream')],
  test_logging_tool: [nothing, ({ log }) => { log('info', 'it ran'); return say('done'); }],
  test_trigger_tool_change: [nothing, ({ tell }) => { tell('toolsListChanged', 'notifications/tools/list_changed'); return say('told'); }],
  test_trigger_prompt_change: [nothing, ({ tell }) => { tell('promptsListChanged', 'notifications/prompts/list_changed'); return say('told'); }],
  test_trigger_resource_update: [object({ uri: string }), ({ args, updated }) => { updated(args.uri); return say('told'); }],
  test_input_required_result_elicitation: [nothing, async (call) => {
    const request = form('What is your name?', { name: string }, ['name']);
    for (;;) {
      const { user_name: answer } = await gather(call, { user_name: request });
      if (accepted(answer)?.name) return say(`Hello, ${accepted(answer).name}!`);
      if (call.modern) return input({ user_name: request });
    }
  }],
  test_input_required_result_sampling: [nothing, async (call) => {
    const { capital_question: answer } = await gather(call, { capital_question: sampling('What is the capital of France?') });
    return say(answer.content?.text ?? '');
  }],
  test_input_required_result_list_roots: [nothing, async (call) => {
    const { client_roots: answer } = await gather(call, { client_roots: roots });
    return say(`There are ${answer.roots.length} roots`);
  }],
  test_input_required_result_request_state: [nothing, (call) => confirmed(call, 'state-ok')],
  test_input_required_result_tampered_state: [nothing, (call) => confirmed(call, 'integrity-ok')],
  test_input_required_result_multiple_inputs: [nothing, async (call) => {
    if (call.state !== undefined) unseal(call.state);
    await gather(call, { user_name: form('Your name?', { name: string }, ['name']), greeting: sampling('Greet the user'), client_roots: roots }, { kind: 'several' });
    return say('all inputs received');
  }],
  test_input_required_result_multi_round: [nothing, async (call) => {
    const [first, second] = [form('Your name?', { name: string }, ['name']), form('Which colour?', { color: string }, ['color'])];
    if (!call.modern) {
      const { step1 } = await gather(call, { step1: first });
      await gather(call, { step2: second });
      return say(`Done: ${accepted(step1)?.name}`);
    }
    const known = call.state === undefined ? undefined : unseal(call.state);
    if (known?.round === 2 && call.inputs?.step2) return say(`Done: ${known.name}`);
    if (known?.round === 1 && call.inputs?.step1) return input({ step2: second }, { round: 2, name: accepted(call.inputs.step1)?.name });
    return input({ step1: first }, { round: 1, at: Date.now() });
  }],
  test_input_required_result_capabilities: [nothing, async (call) => {
    const { can } = call;
    const asked = { ...(can.sampling && { question: sampling('Hello?') }), ...(can.elicitation && { name: form('Your name?', { name: string }) }) };
    if (!Object.keys(asked).length) return say('nothing to ask with');
    await gather(call, asked);
    return say('asked');
  }],
  // Beyond the suite: what a gateway with a typed model would lose.
  test_unknown_members: [nothing, () => ({
    content: [
      { type: 'hologram', frames: [1, 2.50, 1e3], vendor: { 'x-y': null } },
      { type: 'text', text: 'known\u2028text', annotations: { audience: ['user'], 'x-own': true }, extra: [] },
      { type: 'resource_link', uri: 'test://static-text', name: 'linked', size: 48, extra: 1 },
    ],
    structuredContent: [1, 'two', { three: null }],
    _meta: { 'com.example/trace': 'abc' },
    vendorResult: { deep: { er: [true] } },
  })],
};

const definitions = Object.entries(tools).map(([name, [inputSchema]]) => ({
  name, description: `${name} of the conformance runs`, inputSchema,
  ...(name === 'test_unknown_members' && {
    annotations: { readOnlyHint: true, vendorHint: 'kept' }, execution: { taskSupport: 'forbidden' }, vendorField: { nested: [1, 2] },
  }),
}));

// name: [argument names, what it says]
const prompts = {
  test_simple_prompt: [[], () => [{ type: 'text', text: 'This is a simple prompt for testing.' }]],
  test_prompt_with_arguments: [['arg1', 'arg2'], ({ args }) => [{ type: 'text', text: `Prompt with arguments: arg1='${args.arg1}', arg2='${args.arg2}'` }]],
  test_prompt_with_embedded_resource: [['resourceUri'], ({ args }) => [
    { type: 'resource', resource: { uri: args.resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' } },
    { type: 'text', text: 'Please process the embedded resource above.' },
  ]],
  test_prompt_with_image: [[], () => [{ type: 'image', data: IMAGE, mimeType: 'image/png' }, { type: 'text', text: 'Please analyze the image above.' }]],
  test_input_required_result_prompt: [[], async (call) => {
    const { user_context: answer } = await gather(call, { user_context: form('Which context?', { context: string }, ['context']) });
    return [{ type: 'text', text: `Context: ${JSON.stringify(accepted(answer))}` }];
  }],
};

const resources = {
  'test://static-text': { mimeType: 'text/plain', text: 'This is the content of the static text resource.', vendorContent: { kept: true } },
  'test://static-binary': { mimeType: 'image/png', blob: IMAGE },
  'test://watched-resource': { mimeType: 'text/plain', text: 'Watched resource content' },
};

export const capabilities = {
  tools: { listChanged: true }, prompts: { listChanged: true }, resources: { listChanged: true, subscribe: true }, completions: {}, logging: {},
};

function list(member, all, { cursor, page }) {
  const from = cursor === undefined ? 0 : Number(/^at-(\d+)$/.exec(cursor)?.[1] ?? Number.NaN);
  if (!(from >= 0 && from < Math.max(all.length, 1))) throw new RpcError(-32602, 'Unknown cursor');
  const size = page ?? all.length;
  return { [member]: all.slice(from, from + size), ...(from + size < all.length && { nextCursor: `at-${from + size}` }) };
}

/** Answers what both eras have in common; nothing for other methods. */
export async function answer(method, params, call) {
  try {
    return await outcomeOf(method, params, call);
  } catch (error) {
    if (error instanceof InputRequired) return error.result;
    throw error;
  }
}

async function outcomeOf(method, params, call) {
  const cursor = { cursor: params.cursor, page: call.page };
  switch (method) {
    case 'tools/list': return list('tools', definitions, cursor);
    case 'prompts/list': return list('prompts', Object.entries(prompts).map(([name, [args]]) => ({
      name, description: `${name} of the conformance runs`, arguments: args.map((arg) => ({ name: arg, required: true })), vendorField: 'kept',
    })), cursor);
    case 'resources/list': return list('resources', Object.entries(resources).map(([uri, { mimeType }]) => ({ uri, name: uri.slice(7), mimeType })), cursor);
    case 'resources/templates/list': return list('resourceTemplates', [{ uriTemplate: 'test://template/{id}/data', name: 'template', mimeType: 'application/json' }], cursor);
    case 'tools/call': {
      const tool = Object.hasOwn(tools, params.name) ? tools[params.name] : undefined;
      if (!tool) throw new RpcError(-32602, `Unknown tool: ${params.name}`);
      return tool[1]({ args: params.arguments ?? {}, meta: params._meta ?? {}, inputs: params.inputResponses, state: params.requestState, ...call });
    }
    case 'prompts/get': {
      const prompt = Object.hasOwn(prompts, params.name) ? prompts[params.name] : undefined;
      if (!prompt) throw new RpcError(-32602, `Unknown prompt: ${params.name}`);
      const said = await prompt[1]({ args: params.arguments ?? {}, inputs: params.inputResponses, ...call });
      return Array.isArray(said) ? { messages: said.map((content) => ({ role: 'user', content })) } : said;
    }
    case 'resources/read': {
      const id = /^test:\/\/template\/([^/]+)\/data$/.exec(params.uri ?? '')?.[1];
      const made = id && { mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
      const found = Object.hasOwn(resources, params.uri) ? resources[params.uri] : made;
      if (!found) throw new RpcError(call.modern ? -32602 : -32002, 'Resource not found', { data: { uri: params.uri } });
      return { contents: [{ uri: params.uri, ...found }] };
    }
    case 'completion/complete': {
      if (params.ref?.type === 'ref/prompt' && !Object.hasOwn(prompts, params.ref.name)) throw new RpcError(-32602, `Unknown prompt: ${params.ref.name}`);
      const values = ['paris', 'park', 'party'].filter((value) => value.startsWith(params.argument?.value ?? ''));
      return { completion: { values, total: values.length, hasMore: false } };
    }
    default: return undefined;
  }
}

/** The header values that a tool's arguments must be repeated in, by header name. */
export function headerArguments(params) {
  const schema = Object.hasOwn(tools, params.name ?? '') ? tools[params.name][0] : {};
  return Object.entries(schema.properties ?? {})
    .filter(([name, property]) => property['x-mcp-header'] && params.arguments?.[name] != null)
    .map(([name, property]) => [`mcp-param-${property['x-mcp-header'].toLowerCase()}`, String(params.arguments[name])]);
}
