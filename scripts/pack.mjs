// Turns what `cargo leptos build --split` leaves in the site's pkg/ into few files. It makes one chunk of wasm for every
// set of pages that have code in common, so that a first page would ask for up to a hundred files. Here they become
//   gatehouse.wasm   the core, merged with the chunks that many pages need
//   split_….wasm     one page, with the rest of its chunks in a custom section, also where other pages have them too
//   gatehouse.js     with the loader for that (pack-loader.js) instead of cargo-leptos's
// Both stay plain wasm modules, so the browser compiles them while they arrive. (A chunk that is part of several pages must
// start once, so it stays a module of its own.) The section is a row of
// [number of the chunk, its length, its bytes], the first two as 32 bit little-endian.
//
// It knows the output of cargo-leptos 0.3.7, and fails when that looks different.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { budgets } from './budgets.mjs';
import { flags, leb, optimised, rename, rewritten } from './wasm.mjs';

const pkg = path.join(process.argv[2], 'pkg');
const at = (name) => path.join(pkg, name);
const read = (name) => fs.readFileSync(at(`${name}.wasm`));
const linker = '__wasm_split.______________________.js';

/** The parts of `text` that match; there must be `times` of them. */
function expect(what, text, pattern, times = 1) {
  const found = [...text.matchAll(pattern)];
  if (found.length !== times) throw new Error(`pack: expected ${times} × ${what}, found ${found.length}`);
  return found;
}

const number = (chunk) => Number(expect('name of a chunk', chunk, /^chunk_(\d+)$/g)[0][1]);

// Page → its chunks, and itself as the last one.
const manifest = JSON.parse(fs.readFileSync(at('__wasm_split_manifest.json'), 'utf8'));
const pages = Object.values(manifest).map((list) => ({ file: list.at(-1), chunks: list.slice(0, -1) }));
const chunks = [...new Set(pages.flatMap((p) => p.chunks))].sort((a, b) => number(a) - number(b));
const bytes = new Map(chunks.map((chunk) => [chunk, read(chunk)]));
const users = new Map(chunks.map((chunk) => [chunk, pages.filter((p) => p.chunks.includes(chunk))]));

function withChunks(file, list) {
  const name = Buffer.from('chunks');
  const rows = list.flatMap((chunk) => {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(number(chunk), 0);
    head.writeUInt32LE(bytes.get(chunk).length, 4);
    return [head, bytes.get(chunk)];
  });
  const section = Buffer.concat([leb(name.length), name, ...rows]);
  return Buffer.concat([read(file), Buffer.from([0]), leb(section.length), section]);
}

/** The site when these chunks go with the core: the core as long as it is only weighed, before they are merged. */
function site(common) {
  const files = pages.map(({ file, chunks }) => [file, withChunks(file, chunks.filter((c) => !common.has(c)))]);
  return new Map([['gatehouse', withChunks('gatehouse', chunks.filter((c) => common.has(c)))], ...files]);
}

/**
 * The lightest chunks for the core that leave no page above `most` bytes: one after the other the chunk that takes most
 * off the pages that are too heavy, for what it weighs. In the end some are not needed any more.
 */
function lightest(most) {
  const common = new Set();
  const weights = new Map(pages.map((p) => [p, light.get(p.file) + p.chunks.reduce((sum, c) => sum + light.get(c), 0)]));
  const over = (p) => Math.max(0, weights.get(p) - most);
  const move = (chunk, sign) => users.get(chunk).forEach((p) => weights.set(p, weights.get(p) + sign * light.get(chunk)));
  const worth = (chunk) => users.get(chunk).reduce((sum, p) => sum + Math.min(over(p), light.get(chunk)), 0) / light.get(chunk);
  for (;;) {
    const rest = chunks.filter((c) => !common.has(c)).map((c) => [worth(c), light.get(c), c]);
    const [gain, , chunk] = rest.reduce((x, y) => (y[0] - x[0] || y[1] - x[1]) > 0 ? y : x, [0, 0, '']);
    if (gain === 0) break;
    common.add(chunk);
    move(chunk, -1);
  }
  for (const chunk of [...common].sort((x, y) => light.get(y) - light.get(x))) {
    if (users.get(chunk).some((p) => weights.get(p) + light.get(chunk) > most)) continue;
    common.delete(chunk);
    move(chunk, 1);
  }
  return common;
}

const { BROTLI_PARAM_LGWIN, BROTLI_PARAM_QUALITY } = zlib.constants;
const brotli = promisify(zlib.brotliCompress);
async function weigh(files) {
  // The quality of compress.mjs: lower ones misjudge by more than there is to win.
  const params = { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_LGWIN]: 24 };
  const [core, ...others] = [...files.values()];
  const largest = others.sort((a, b) => b.length - a.length).slice(0, 4);
  const [first, ...further] = (await Promise.all([core, ...largest].map((f) => brotli(f, { params })))).map((f) => f.length);
  return { first: first + Math.max(...further), further: Math.max(...further) };
}

// What each part weighs by itself: a guess at its share, because parts compress better together.
const params = { [BROTLI_PARAM_QUALITY]: 5, [BROTLI_PARAM_LGWIN]: 24 };
const light = new Map(await Promise.all(
  [...chunks.map((c) => [c, bytes.get(c)]), ...pages.map((p) => [p.file, read(p.file)])]
    .map(async ([name, data]) => [name, (await brotli(data, { params })).length]),
));

// The first page is lightest when pages may be as heavy as the budget of a further page lets them. How heavy the guess
// may find them for that is tried out.
const score = ({ first, further }) => (further <= budgets.further * 1000 ? first - 1e9 : first + further);
let best;
for (let share = 0.9; share <= 1.6; share += 0.05) {
  const common = lightest(budgets.further * 1000 * share);
  const files = site(common);
  const sizes = await weigh(files);
  if (!best || score(sizes) < score(best.sizes)) best = { common, files, sizes };
}

// The core and its chunks as one module: they call each other without the table, and what they both have is there once.
function merge(core, common) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pack-'));
  try {
    const put = (name, content) => {
      const file = path.join(folder, `${name}.wasm`);
      fs.writeFileSync(file, content);
      return file;
    };
    const modules = [[core, '__wasm_split'], ...common.map((c) => [c, c])].flatMap(([name, module]) => [put(name, read(name)), module]);
    const merged = path.join(folder, 'merged');
    const merger = new URL('../frontend/node_modules/binaryen/bin/wasm-merge', import.meta.url).pathname;
    execFileSync(process.execPath, [merger, ...modules, '-o', merged, ...flags, '--rename-export-conflicts'], { stdio: 'pipe' });
    return fs.readFileSync(merged);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/**
 * What JavaScript may call on objects that only the wasm could have made, when it makes none: the streams of server
 * functions. They keep alive all that they call.
 */
function dead(wasm) {
  const module = new WebAssembly.Module(wasm);
  const made = WebAssembly.Module.imports(module).map(({ name }) => name).filter((name) => /^__wbg_intounderlying\w+_new/.test(name));
  if (made.length) throw new Error(`pack: the wasm makes streams now: ${made}`);
  return WebAssembly.Module.exports(module).map(({ name }) => name).filter((name) => /^(__wbg_)?intounderlying/.test(name));
}

/**
 * Makes plain calls of those through the table whose entry is known: what was in a chunk is called so. The entries that are
 * there from the start are never written again; the other ones are for the pages. (The pass `directize` of Binaryen, told
 * so, takes the others for traps.)
 */
function direct(text) {
  const lines = text.split('\n');
  const entries = new Map();
  for (const line of lines) {
    const [, start, list] = /^ \(elem \S+ (?:\(table \S+\) )?\(i32\.const (\d+)\) func(?:ref)? (.*)\)$/.exec(line) ?? [];
    const items = list?.match(/\$[^\s()]+|ref\.null/g) ?? [];
    items.forEach((item, i) => item !== 'ref.null' && entries.set(Number(start) + i, item));
  }
  const gone = new Set();
  let left = 0;
  lines.forEach((line, i) => {
    const indent = /^( *)\(call_indirect \S+ \(type \S+\)$/.exec(line)?.[1];
    if (indent === undefined) return;
    const last = lines.indexOf(`${indent})`, i) - 1;
    const entry = new RegExp(`^${indent} \\(i32\\.const (\\d+)\\)$`).exec(lines[last])?.[1];
    if (entry === undefined) return;
    const called = entries.get(Number(entry));
    left += called === undefined;
    if (called === undefined) return;
    lines[i] = `${indent}(call ${called}`;
    gone.add(last);
  });
  // What is left is in pages, or in chunks that come with them.
  if (left < pages.length || gone.size === 0) throw new Error(`pack: ${gone.size} direct calls, ${left} to pages`);
  return lines.filter((_, i) => !gone.has(i)).join('\n');
}

/** Puts functions that look alike beside each other, so that they compress better: those of one type, by their length. */
function sorted(text) {
  // Each part of a module begins a line with one space.
  const parts = text.slice(0, text.lastIndexOf(')')).split(/\n(?= \()/);
  const type = (part) => part.slice(0, part.indexOf('\n')).replace(/\$\S+/g, '');
  const functions = parts.filter((part) => part.startsWith(' (func ')).map((part) => [type(part), part.length, part])
    .sort((x, y) => (x[0] < y[0] ? -1 : x[0] > y[0] ? 1 : x[1] - y[1]));
  if (functions.length === 0) throw new Error('pack: no functions to sort');
  const others = parts.filter((part) => !part.startsWith(' (func '));
  return `${[...others, ...functions.map(([, , part]) => part)].join('\n')}\n)`;
}

function finish(wasm) {
  const merged = optimised(wasm, (module) => dead(wasm).forEach((name) => module.removeExport(name)));
  return rewritten(optimised(rewritten(merged, direct)), sorted);
}

// The loader. Of cargo-leptos's own one, only the names count; the rest must be what ours was written for.
const link = fs.readFileSync(at(linker), 'utf8');
expect('fetch of a module', link, /const src = fetch\(srcUrl\);/g);
expect('import of the exports of the core', link, /Object\.assign\(sharedImports\.__wasm_split, \{[\w, ]+\}\);/g);
expect('callback', link, /__indirect_function_table\.get\(callbackIndex\)\(callbackData, success\)/g);
// split___api_keys_page_view_13891970685639581365 → split_api_keys
const short = (file) => expect('name of a page', file, /^split___(\w+?)(?:_page)?_view_\d+$/g)[0].slice(1).map((name) => `split_${name}`)[0];
const table = expect('loader of a page', link,
  /^export const (__wasm_split_load_\w+) = wrapAsyncCb\(makeLoad\(new URL\("\.\/(split_\w+)\.wasm", import\.meta\.url\), \[[\w, ]*\]\)\);$/gm,
  pages.length).map(([, name, file]) => `${name}:wasmPage('${short(file)}')`).join(',');
const loader = fs.readFileSync(new URL('pack-loader.js', import.meta.url), 'utf8')
  .replace(/^\s*(\/\/.*)?\n|^\s+/gm, '').replace('__PAGES__', () => table);

// In gatehouse.js, so that nothing waits for one more file.
let js = fs.readFileSync(at('gatehouse.js'), 'utf8');
if (js.includes('wasmPage')) throw new Error('pack: the names of the loader are taken');
function patch(what, pattern, by) {
  expect(what, js, pattern);
  js = js.replace(pattern, by);
}
const quoted = `"\\./${linker.replaceAll('.', '\\.')}"`;
patch('import of the loaders', new RegExp(`(?:import\\*as [\\w$]+ from${quoted};)+`, 'g'), '');
patch('use of the loaders', new RegExp(`${quoted}:[\\w$]+(?:,${quoted}:[\\w$]+)*`, 'g'), `"./${linker}":wasmPages`);
patch('start of the core', /(function [\w$]+\(([\w$]+),([\w$]+)\)\{return )([\w$]+=\2\.exports,)/g, '$1wasmCore=$2.exports,$4');
js += loader;

// What the core imports and exports is named by hashes, which no compression makes smaller: here by numbers, on both sides.
function renamed(wasm) {
  const [module, known] = [new WebAssembly.Module(wasm), new Map()];
  const names = [...WebAssembly.Module.imports(module), ...WebAssembly.Module.exports(module)].map(({ name }) => name);
  for (const name of new Set(names)) {
    if (!/[0-9a-f]{16}|_split_load_/.test(name)) continue;
    const uses = new RegExp(`(?<![\\w$])${name}(?![\\w$])`, 'g');
    expect(`use of ${name}`, js, uses, 1);
    const number = `$${known.size.toString(36)}`;
    js = js.replace(uses, () => number);
    known.set(name, number);
  }
  return rename(wasm, (name) => known.get(name) ?? name);
}

const core = renamed(finish(merge('gatehouse', [...best.common])));

// All is known to fit: now write.
for (const file of [...chunks, ...pages.map((p) => p.file)]) fs.rmSync(at(`${file}.wasm`));
for (const [file, content] of best.files) if (file !== 'gatehouse') fs.writeFileSync(at(`${short(file)}.wasm`), content);
fs.writeFileSync(at('gatehouse.wasm'), core);
fs.writeFileSync(at('gatehouse.js'), js);
fs.rmSync(at(linker));
fs.rmSync(at('__wasm_split_manifest.json'));
console.log(`pack: ${chunks.length} chunks into ${pages.length + 1} files; ${best.common.size} of them go with the core`);
