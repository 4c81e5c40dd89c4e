// A way through for the suite, which cannot send a credential: what comes to this port goes to the gateway with the key.
// Names with a prefix can be hidden, as the suite knows the fixture's own names only. Host and Origin of this port become
// the gateway's; foreign ones, which the suite sends to see them refused, pass as they are.
import http from 'node:http';

const NAMED = ['tools/call', 'prompts/get'];
const URIS = ['resources/read', 'resources/subscribe', 'resources/unsubscribe'];

/** Starts it; gives its URL and a way to stop it. */
export async function openDoor({ target, key, prefix }) {
  const to = new URL(target);
  const server = http.createServer((req, res) => {
    const own = `127.0.0.1:${server.address().port}`;
    const chunks = [];
    req.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
      const headers = { ...req.headers, 'x-api-key': key };
      for (const alias of [own, own.replace('127.0.0.1', 'localhost')]) {
        if (headers.host === alias) headers.host = to.host;
        if (headers.origin === `http://${alias}`) headers.origin = to.origin;
      }
      let body = Buffer.concat(chunks);
      if (prefix && body.length) body = rename(body, headers, prefix);
      if (body.length) headers['content-length'] = String(body.length);
      const onward = http.request({ host: to.hostname, port: to.port, method: req.method, path: to.pathname, headers, setHost: false }, (answer) => {
        const kept = { ...answer.headers };
        if (prefix) delete kept['content-length'];
        res.writeHead(answer.statusCode, kept);
        res.flushHeaders();
        if (prefix) unname(answer, res, prefix);
        else answer.pipe(res);
      });
      onward.on('error', () => res.destroy());
      res.on('close', () => onward.destroy());
      onward.end(body);
    });
  });
  await new Promise((ready) => { server.listen(0, '127.0.0.1', ready); });
  return {
    url: `http://127.0.0.1:${server.address().port}/mcp`,
    stop: () => { server.closeAllConnections(); server.close(); },
  };
}

function rename(body, headers, { name, uri }) {
  let message;
  try {
    message = JSON.parse(body.toString());
  } catch {
    return body;
  }
  const { method, params } = message;
  const put = (object, member, before) => {
    if (typeof object?.[member] === 'string' && object[member] !== '') object[member] = before + object[member];
  };
  if (NAMED.includes(method)) put(params, 'name', name);
  if (URIS.includes(method)) put(params, 'uri', uri);
  if (method === 'completion/complete') put(params?.ref, params?.ref?.type === 'ref/prompt' ? 'name' : 'uri', params?.ref?.type === 'ref/prompt' ? name : uri);
  const header = headers['mcp-name'];
  if (header !== undefined && !header.startsWith('=?base64?')) {
    if (NAMED.includes(headers['mcp-method'])) headers['mcp-name'] = name + header;
    if (URIS.includes(headers['mcp-method'])) headers['mcp-name'] = uri + header;
  }
  return Buffer.from(JSON.stringify(message));
}

/** Takes prefixes out of an answer, line by line, so that streams stay streams. */
function unname(answer, res, { name, uri }) {
  let rest = '';
  const clean = (text) => text.replaceAll(`"${name}`, '"').replaceAll(`"${uri}`, '"');
  answer.setEncoding('utf8').on('data', (part) => {
    rest += part;
    const end = rest.lastIndexOf('\n') + 1;
    if (end > 0) res.write(clean(rest.slice(0, end)));
    rest = rest.slice(end);
  }).on('end', () => res.end(clean(rest)));
}
