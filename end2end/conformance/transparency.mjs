// Whether what a server says comes through the gateway as it was said: every tool, prompt and resource, in both eras, as
// text. Only what one hop must change may differ: ids, and what names the era.

const MODERN = '2026-07-28';
const key = (name) => `io.modelcontextprotocol/${name}`;

/** Calls an endpoint in one era; gives the raw text of results. */
class Client {
  constructor(url, era, apiKey) {
    Object.assign(this, { url, era, next: 1, headers: apiKey ? { 'X-API-Key': apiKey } : {} });
  }

  async open() {
    if (this.era === 'modern') return;
    const { response } = await this.post({ method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'compare', version: '1' } } });
    this.headers['Mcp-Session-Id'] = response.headers.get('mcp-session-id');
    this.headers['MCP-Protocol-Version'] = '2025-11-25';
  }

  async post({ method, params }) {
    const headers = { ...this.headers, 'Content-Type': 'application/json', Accept: 'application/json, text/event-stream' };
    let sent = params;
    if (this.era === 'modern') {
      sent = { ...params, _meta: { [key('protocolVersion')]: MODERN, [key('clientCapabilities')]: {} } };
      const name = params.name ?? params.uri;
      Object.assign(headers, { 'MCP-Protocol-Version': MODERN, 'Mcp-Method': method, ...(name && { 'Mcp-Name': name }) });
    }
    const id = this.next;
    this.next += 1;
    const response = await fetch(this.url, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', id, method, params: sent }) });
    const text = await response.text();
    const stream = response.headers.get('content-type')?.startsWith('text/event-stream');
    const messages = stream ? text.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)) : [text];
    return { response, text: messages.at(-1) };
  }

  /** The text of `result` or `error`, of the last message. */
  async ask(method, params = {}) {
    const { text } = await this.post({ method, params });
    return text.replace(/^\{"jsonrpc":"2\.0","id":\d+,"(result|error)":/, '$1 ').replace(/\}$/, '');
  }
}

export async function compare({ bare, gateway, key: apiKey, era, slug }) {
  const different = [];
  let compared = 0;
  for (const spoken of era === 'both' ? ['legacy', 'modern'] : [era]) {
    const [direct, through] = [new Client(bare, spoken), new Client(gateway, spoken, apiKey)];
    await direct.open();
    await through.open();
    const public_ = {
      name: (name) => (slug ? `${slug}__${name}` : name),
      uri: (uri) => (slug ? `mcp.${slug}+${uri}` : uri),
    };
    const plain = (text) => (slug ? text.replaceAll(`"${slug}__`, '"').replaceAll(`"mcp.${slug}+`, '"') : text);
    const same = async (what, method, params, own = params) => {
      compared += 1;
      const [want, got] = [await direct.ask(method, params), plain(await through.ask(method, own))];
      if (want !== got) different.push(`${spoken} ${method} ${what}: ${difference(want, got)}`);
      return JSON.parse(want.slice(want.indexOf(' ') + 1));
    };
    const { tools } = JSON.parse((await direct.ask('tools/list')).slice(7));
    // The list of tools is the gateway's own, of what was fetched before; what stands in it is the server's.
    const listed = await through.ask('tools/list');
    for (const tool of tools) {
      compared += 1;
      if (!plain(listed).includes(JSON.stringify(tool))) different.push(`${spoken} tools/list: the definition of ${tool.name} is not as the server wrote it`);
      // Those that change something or ask somebody are the suite's business.
      if (!/sampling|elicitation|input_required|trigger/.test(tool.name)) await same(tool.name, 'tools/call', { name: tool.name, arguments: {} }, { name: public_.name(tool.name), arguments: {} });
    }
    const list = async (method) => {
      if (!slug) return same('', method, {});
      const [want, got] = [JSON.parse((await direct.ask(method)).slice(7)), JSON.parse(plain(await through.ask(method)).slice(7))];
      const member = Object.keys(want).find((name) => Array.isArray(want[name]));
      compared += 1;
      if (JSON.stringify(want[member]) !== JSON.stringify(got[member])) different.push(`${spoken} ${method}: the elements differ`);
      return want;
    };
    const { prompts } = await list('prompts/list');
    for (const { name } of prompts.filter((prompt) => !prompt.name.includes('input_required'))) {
      const args = { arg1: 'a', arg2: 'b', resourceUri: 'test://example-resource' };
      await same(name, 'prompts/get', { name, arguments: args }, { name: public_.name(name), arguments: args });
    }
    const { resources } = await list('resources/list');
    await list('resources/templates/list');
    for (const uri of [...resources.map((resource) => resource.uri), 'test://template/7/data']) {
      await same(uri, 'resources/read', { uri }, { uri: public_.uri(uri) });
    }
    const ref = (name) => ({ ref: { type: 'ref/prompt', name }, argument: { name: 'arg1', value: 'par' } });
    await same('', 'completion/complete', ref('test_prompt_with_arguments'), ref(public_.name('test_prompt_with_arguments')));
  }
  return { compared, different };
}

/** Where two texts part. */
function difference(want, got) {
  let at = 0;
  while (at < want.length && want[at] === got[at]) at += 1;
  return `at ${at}: …${want.slice(Math.max(at - 30, 0), at + 60)}… became …${got.slice(Math.max(at - 30, 0), at + 60)}…`;
}
