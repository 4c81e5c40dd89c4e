// Prints what a visitor downloads, in brotli, beside the budgets, and fails above the ceilings. 1 KB is 1000 bytes.
import fs from 'node:fs';
import path from 'node:path';
import { budgets, ceilings } from './budgets.mjs';

const site = process.argv[2] ?? 'target/site';
const files = fs.readdirSync(site, { recursive: true })
  .filter((f) => !/\.(br|gz)$/.test(f) && fs.statSync(path.join(site, f)).isFile());
const size = (file) => {
  const packed = path.join(site, `${file}.br`);
  return fs.statSync(fs.existsSync(packed) ? packed : path.join(site, file)).size;
};
const ending = (end) => files.filter((f) => f.endsWith(end));
const total = (list) => list.reduce((sum, file) => sum + size(file), 0);
const kb = (bytes) => (bytes / 1000).toFixed(1).padStart(7);

const core = size('pkg/gatehouse.wasm');
const pages = files.filter((f) => /^pkg\/split_.*\.wasm$/.test(f)).sort((a, b) => size(b) - size(a));
if (!pages.length) throw new Error(`no page has a file of its own in ${site}/pkg: is it packed?`);
console.log(`wasm core            ${kb(core)} KB`);
for (const page of pages) console.log(`  ${kb(size(page))} KB  ${path.basename(page)}`);

let over = 0;
function check(name, measured, unit, show, what = '') {
  const [budget, ceiling] = [budgets[name], ceilings[name]];
  const state = measured > ceiling * unit ? 'OVER' : measured > budget * unit ? `above budget, held at ${ceiling}` : 'ok';
  if (state === 'OVER') over += 1;
  console.log(`${name.padEnd(20)} ${show(measured)} of ${String(budget).padStart(3)}  ${state}  ${what}`);
}
const bytes = (name, list, what) => check(name, total(list), 1000, (n) => `${kb(n)} KB`, what);
bytes('css', ending('.css'));
bytes('js', ending('.js'), ending('.js').map((f) => path.basename(f)).join(', '));
bytes('first', ['pkg/gatehouse.wasm', pages[0]], 'wasm of a first page, the largest');
bytes('further', [pages[0]], 'wasm of a further page, the largest');
bytes('fonts', ending('.woff2'));
// The document, its style, the icons, one font, every script, and of wasm the core and the page. The favicon comes on top,
// and where something is set in it, the second font.
// What is loaded at the press of a button is none of a first page.
const atFirst = ending('.js').filter((file) => !file.endsWith('passkey.js'));
check('requests', 4 + atFirst.length + 2, 1, (n) => String(n).padStart(10), 'of a first page');
if (over) {
  console.error(`${over} above the ceiling`);
  process.exit(1);
}
