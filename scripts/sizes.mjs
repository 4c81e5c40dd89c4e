// Prints what a visitor downloads, in brotli, and fails above the budgets. 1 KB is 1000 bytes.
import fs from 'node:fs';
import path from 'node:path';

const site = process.argv[2] ?? 'target/site';
const budgets = { css: 14, js: 12, first: 230, further: 25, fonts: 53 };

const files = fs.readdirSync(site, { recursive: true })
  .filter((f) => !/\.(br|gz)$/.test(f) && fs.statSync(path.join(site, f)).isFile());
const size = (file) => {
  const packed = path.join(site, `${file}.br`);
  return fs.statSync(fs.existsSync(packed) ? packed : path.join(site, file)).size;
};
const total = (list) => list.reduce((sum, file) => sum + size(file), 0);
const ending = (end) => files.filter((f) => f.endsWith(end));

// The manifest names, for each split point, the chunks it needs: shared ones, then its own.
const manifest = path.join(site, 'pkg/__wasm_split_manifest.json');
const pages = fs.existsSync(manifest)
  ? Object.entries(JSON.parse(fs.readFileSync(manifest, 'utf8')))
    .map(([name, chunks]) => ({ name, chunks: chunks.map((c) => `pkg/${c}.wasm`) }))
  : [];
const core = size('pkg/gatehouse.wasm');

const worst = (candidates) => candidates.reduce((a, b) => (b.bytes > a.bytes ? b : a), { bytes: 0, what: 'no pages' });
const first = worst([
  { bytes: core, what: 'core alone' },
  ...pages.map((p) => ({ bytes: core + total(p.chunks), what: p.name })),
]);
// What is still missing for one page after another was open: the dearest of all pairs.
const further = worst(pages.flatMap((from) => pages.filter((to) => to !== from).map((to) => ({
  bytes: total(to.chunks.filter((c) => !from.chunks.includes(c))),
  what: `${to.name} after ${from.name}`,
}))));

const kb = (bytes) => (bytes / 1000).toFixed(1).padStart(7);
console.log(`wasm core            ${kb(core)} KB`);
for (const chunk of ending('.wasm').filter((f) => f !== 'pkg/gatehouse.wasm').sort((a, b) => size(b) - size(a))) {
  console.log(`  ${kb(size(chunk))} KB  ${path.basename(chunk)}`);
}

let over = 0;
function check(name, bytes, budget, what = '') {
  const ok = bytes <= budget * 1000;
  if (!ok) over += 1;
  console.log(`${name.padEnd(20)} ${kb(bytes)} KB of ${String(budget).padStart(3)}  ${ok ? 'ok  ' : 'OVER'}  ${what}`);
}
check('css', total(ending('.css')), budgets.css);
check('js', total(ending('.js')), budgets.js, ending('.js').map((f) => path.basename(f)).join(', '));
check('wasm, first page', first.bytes, budgets.first, first.what);
check('wasm, further page', further.bytes, budgets.further, further.what);
check('fonts', total(ending('.woff2')), budgets.fonts);
if (over) {
  console.error(`${over} above budget`);
  process.exit(1);
}
