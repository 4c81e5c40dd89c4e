// Makes target/assets: everything of the site but the wasm. With `--watch`, for `make dev`, writes again at each change.
//   main.css    style/main.css with its @import partials, one minified file
//   icons.svg   the sprite: <use href="…/icons.svg#key-round">
//   fonts/      with their licences
//   and whatever is in style/assets (favicon, boot.js), as it is
import { bundle } from '../frontend/node_modules/lightningcss/node/index.mjs';
import fs from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..');
const style = path.join(root, 'style');

function css() {
  // No `targets`: what we write (nesting, light-dark(), layers) goes out as written. Urls are relative to main.css
  // in the site, not to the partial.
  const { code, warnings } = bundle({ filename: path.join(style, 'main.css'), minify: true });
  for (const w of warnings) console.warn(`css: ${w.message} (${w.loc?.filename}:${w.loc?.line})`);
  return code;
}

function sprite() {
  const dir = path.join(style, 'icons');
  const symbols = fs.readdirSync(dir).filter((f) => f.endsWith('.svg')).sort().map((file) => {
    const shapes = fs.readFileSync(path.join(dir, file), 'utf8').match(/<svg[^>]*>([\s\S]*)<\/svg>/)?.[1];
    if (!shapes) throw new Error(`style/icons/${file} is not an SVG`);
    // Size and stroke width come from the CSS of the <svg> that uses the symbol.
    return `<symbol id="${path.basename(file, '.svg')}" viewBox="0 0 24 24" fill="none" stroke="currentColor" `
      + `stroke-linecap="round" stroke-linejoin="round">${shapes.replace(/\s+/g, ' ').replace(/> </g, '><').trim()}</symbol>`;
  });
  return `<!-- Lucide, ISC licence: licences/lucide.txt --><svg xmlns="http://www.w3.org/2000/svg">${symbols.join('')}</svg>\n`;
}

/** Every file, by its path in the site. */
function* files() {
  yield ['main.css', css()];
  yield ['icons.svg', sprite()];
  for (const file of fs.readdirSync(path.join(style, 'fonts'))) {
    const licence = file.match(/^LICENSE-(.*)$/)?.[1];
    yield [licence ? `licences/${licence}` : `fonts/${file}`, fs.readFileSync(path.join(style, 'fonts', file))];
  }
  yield ['licences/lucide.txt', fs.readFileSync(path.join(style, 'icons/LICENSE.txt'))];
  const assets = path.join(style, 'assets');
  for (const entry of fs.readdirSync(assets, { recursive: true })) {
    const file = path.join(assets, entry);
    if (fs.statSync(file).isFile()) yield [entry, fs.readFileSync(file)];
  }
}

function write(folder) {
  for (const [name, content] of files()) {
    const file = path.join(folder, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, content);
  }
}

if (process.argv.includes('--watch')) {
  // Straight into the site: cargo-leptos does not look at folders that git ignores.
  const again = () => {
    try {
      write(path.join(root, 'target/site'));
      console.log('assets: rebuilt');
    } catch (e) {
      console.error(`assets: ${e.message}`);
    }
  };
  // Editors write a file in several steps: wait until it is quiet.
  let timer;
  fs.watch(style, { recursive: true }, () => {
    clearTimeout(timer);
    timer = setTimeout(again, 100);
  });
} else {
  const out = path.join(root, 'target/assets');
  fs.rmSync(out, { recursive: true, force: true });
  write(out);
}
