// node end2end/clients/list-and-call.mjs URL KEY [TOOL [JSON-ARGUMENTS]]
//
// The official TypeScript SDK as a client: connects, lists the tools, calls one when it is named, and prints
// {"server", "protocol", "tools", "result"} as JSON. KEY is an API key, or - for none. On failure it prints {"error"}
// and exits with 1.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const [url, key, tool, args = '{}'] = process.argv.slice(2);
if (!url || !key) {
  console.error('usage: list-and-call.mjs URL KEY [TOOL [JSON-ARGUMENTS]]');
  process.exit(2);
}

const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: key === '-' ? {} : { Authorization: `Bearer ${key}` } },
});
const client = new Client({ name: 'gatehouse-end2end', version: '1.0.0' });
try {
  await client.connect(transport);
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools({ cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor);
  const result = tool ? await client.callTool({ name: tool, arguments: JSON.parse(args) }) : undefined;
  console.log(JSON.stringify({ server: client.getServerVersion(), protocol: transport.protocolVersion, tools, result }));
} catch (error) {
  console.log(JSON.stringify({ error: { name: error.name, code: error.code, message: error.message } }));
  process.exitCode = 1;
} finally {
  // Its stream of the server's messages would keep the process.
  await client.close();
}
