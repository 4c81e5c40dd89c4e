// Writes docs/requirements.md: every numbered requirement, and the tests that carry its number in their name.
// With --check it only says whether the file is up to date, and fails when it is not.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const FILE = 'docs/requirements.md';

// [number, what it asks for in a few words, why it has no test yet]
const GATEWAY = 'with the rest of the gateway';
const OPERATION = 'with operation and release';
const LIST = [
  ['PWD-01', 'argon2id, stronger hashes replace weaker ones'],
  ['PWD-02', 'hashing behind a gate, off the request threads'],
  ['PWD-03', 'length of passwords, small credential requests'],
  ['PWD-04', 'common and guessable passwords are refused'],
  ['PWD-05', 'unknown account and wrong password look alike'],
  ['PWD-06', 'throttle per account and per address, no lock-out'],
  ['PWD-07', 'counters survive restarts and are shared by nodes'],
  ['PWD-08', 'one-time links by e-mail'],
  ['PWD-09', 're-authentication for sensitive changes'],
  ['PWD-10', 'mails about sensitive changes'],
  ['PWD-11', 'no default account or password'],
  ['SES-01', 'cookie attributes, only a hash stored'],
  ['SES-02', 'a new identifier at sign-in'],
  ['SES-03', 'ended sessions are refused at once'],
  ['SES-04', 'idle and absolute end'],
  ['SES-05', 'the list of sessions holds no cookie'],
  ['SES-06', 'changes only from pages of ours'],
  ['SES-07', 'server functions are POST and forms only'],
  ['SES-08', 'no CORS, cookies open nothing but the dashboard'],
  ['SES-09', 'return paths stay on this site'],
  ['SES-10', 'a limit of parallel sessions'],
  ...range('MFA', 8).map((id) => [id, 'second factor and passkeys']),
  ...range('PIN', 5).map((id) => [id, 'PIN step-up']),
  ['APK-01', 'format with checksum, refused without a look-up'],
  ['APK-02', 'only a hash is kept, shown once'],
  ['APK-03', 'two headers, no ambiguity'],
  ['APK-04', 'a foreign key looks like a random one'],
  ['APK-05', 'disabled and deleted keys get 401 at once'],
  ['APK-06', 'limited to connectors on list and call'],
  ['APK-07', 'a key opens nothing of the dashboard'],
  ['APK-08', 'expiry, last use, a warning before deleting'],
  ['APK-09', 'keys in URLs only with consent, never logged'],
  ['APK-10', 'keys of connections'],
  ['OAM-01', 'authorization server metadata'],
  ['OAM-02', 'protected resource metadata'],
  ['OAM-03', '401 names the metadata'],
  ...range('OAZ', 10).map((id) => [id, 'authorize endpoint']),
  ...range('OAT', 6).map((id) => [id, 'token endpoint']),
  ...range('OAR', 7).map((id) => [id, 'refresh tokens']),
  ...range('OAD', 5).map((id) => [id, 'registration of clients']),
  ...range('OAK', 5).map((id) => [id, 'revocation, introspection, keys']),
  ['RSV-01', 'order of judgement, no hint that a slug exists'],
  ['RSV-02', 'JWT algorithms and header'],
  ['RSV-03', 'JWT claims and their types'],
  ['RSV-04', 'JWT audience and organisation'],
  ['RSV-05', 'no fall-through to anonymous, no identity by header'],
  ['RSV-06', 'scopes of tokens'],
  ['RSV-07', 'no client credential goes upstream'],
  ['RSV-08', 'headers agree with the body'],
  ['RSV-09', 'strict envelope'],
  ['RSV-10', 'Origin and Host'],
  ['RSV-11', 'every answer reaches its own caller'],
  ['RSV-12', 'sessions and handles bound to their principal'],
  ['RSV-13', 'DPoP', OPERATION],
  ['RSV-14', 'one authorization for every path'],
  ...range('IDP', 6).map((id) => [id, "the organisation's own identity provider"]),
  ['TEN-01', "another organisation's things are not found"],
  ['TEN-02', 'ids in bodies move nothing'],
  ['TEN-03', 'every tenant row cascades from its organisation'],
  ['TEN-04', 'roles, last owner'],
  ['TEN-05', 'slugs: form, reserved, never reissued'],
  ['TEN-06', 'custom domains'],
  ['TEN-07', 'noisy neighbours', GATEWAY],
  ['IPA-01', 'the client address behind trusted proxies'],
  ...range('IPA', 5).slice(1).map((id) => [id, 'IP allowlist']),
  ['SSR-01', 'addresses are checked where they are dialled'],
  ['SSR-02', 'every private and special range, every spelling'],
  ['SSR-03', 'https and ports'],
  ['SSR-04', 'no redirects'],
  ['SSR-05', 'DNS rebinding'],
  ['SSR-06', 'no proxies from the environment'],
  ['SSR-07', "the operator's allow list"],
  ['SSR-08', 'refusals tell nothing about the network'],
  ['SSR-09', 'TLS is verified'],
  ['SSR-10', 'OAuth towards upstream servers'],
  ...range('WHK', 9).map((id) => [id, 'webhooks']),
  ...range('RLM', 6).map((id) => [id, 'rate limits and quotas']),
  ['REQ-01', 'size of bodies'],
  ['REQ-02', 'depth and size of JSON'],
  ['REQ-03', 'content types'],
  ['REQ-04', 'slow clients', OPERATION],
  ['REQ-05', 'URLs, headers, methods'],
  ['REQ-06', 'event streams'],
  ['REQ-07', 'schemas are never fetched'],
  ['AUD-03', 'a change and its event are one transaction'],
  ...range('AUD', 8).filter((id) => id !== 'AUD-03').map((id) => [id, 'audit log']),
  ['KEY-01', 'envelope encryption, bound to its place'],
  ['KEY-02', 'what is sealed, what is hashed'],
  ['KEY-03', 'no secret in files or output'],
  ['KEY-04', 'rotation of keys', OPERATION],
  ['KEY-05', 'the master key at start'],
  ['KEY-06', 'secrets do not print'],
  ...range('DEL', 5).map((id) => [id, 'deletion and export']),
  ['HDR-01', 'content security policy'],
  ['HDR-02', 'headers of every answer'],
  ['HDR-03', 'plain http'],
  ['HDR-04', 'tenant text is inert'],
  ['ERR-01', 'no internal text in answers'],
  ['ERR-02', 'no secret in logs'],
  ['ERR-03', 'live and ready'],
  ['ERR-04', 'traces', OPERATION],
  ['ERR-05', 'fail closed'],
  ...range('UPS', 15).map((id) => [id, 'upstream misbehaviour']),
  ...range('D', 17).map((id) => [id, 'durability and faults', OPERATION]),
];

function range(prefix, last) {
  return Array.from({ length: last }, (_, n) => `${prefix}-${String(n + 1).padStart(2, '0')}`.replace(/^D-/, 'D'));
}

const sources = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.rs', '*.ts'], { encoding: 'utf8' }).trim().split('\n').filter(existsSync);
const tests = new Map();
for (const path of sources) {
  const text = readFileSync(path, 'utf8');
  // Functions, the macros that define a test for both databases, and Playwright's titles.
  for (const [, name] of text.matchAll(/(?:fn |_test!\(\s*|test\(\s*['"`])([a-zA-Z0-9_ -]+)/g)) {
    for (const [, letters, digits, fault] of name.matchAll(/(?:^|_)(?:([a-z]{3})_(\d\d)|d(\d\d))(?=_)/g)) {
      const id = fault ? `D${fault}` : `${letters.toUpperCase()}-${digits}`;
      if (!tests.has(id)) tests.set(id, new Map());
      tests.get(id).set(name, path);
    }
  }
}

const seen = new Set();
const rows = LIST.map(([id, asks, later]) => {
  if (seen.has(id)) throw new Error(`${id} stands twice`);
  seen.add(id);
  const found = [...(tests.get(id) ?? [])].sort();
  const proof = found.map(([name, path]) => `\`${name}\` (${path})`).join('<br>');
  if (!proof && !later) return `| ${id} | ${asks} | **open**: no test carries its number |`;
  return `| ${id} | ${asks} | ${[proof, later && `${proof ? 'the rest ' : ''}comes ${later}`].filter(Boolean).join('<br>')} |`;
});
const unknown = [...tests.keys()].filter((id) => !seen.has(id));
if (unknown.length) throw new Error(`tests carry numbers that are not in the list: ${unknown}`);

const text = `# Requirements and their tests

Each security requirement has a number, and a test that proves one carries the number in its name: \`apk_05_…\` proves
APK-05. This file is written by \`node scripts/requirements.mjs\`; \`make lint\` fails when it is out of date.

| number | what it asks for | proven by |
| --- | --- | --- |
${rows.join('\n')}
`;
if (process.argv.includes('--check')) {
  if (readFileSync(FILE, 'utf8') !== text) {
    console.error(`${FILE} is out of date: node scripts/requirements.mjs`);
    process.exit(1);
  }
} else {
  writeFileSync(FILE, text);
  console.log(`${LIST.length} requirements, ${[...tests.keys()].length} with tests; open: ${rows.filter((row) => row.includes('**open**')).map((row) => row.slice(2, 8)).join(' ')}`);
}
