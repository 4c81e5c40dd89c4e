// Writes .br and .gz beside every file of the site that gains from it, at the best quality: it is done once, here,
// and never while answering.
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';

const site = process.argv[2];
const gains = /\.(css|html|ico|js|json|svg|txt|wasm)$/;

for (const entry of fs.readdirSync(site, { recursive: true })) {
  const file = path.join(site, entry);
  if (!gains.test(file) || !fs.statSync(file).isFile()) continue;
  const raw = fs.readFileSync(file);
  const br = zlib.brotliCompressSync(raw, {
    params: {
      [zlib.constants.BROTLI_PARAM_QUALITY]: 11,
      [zlib.constants.BROTLI_PARAM_LGWIN]: 24,
      [zlib.constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
    },
  });
  const gz = zlib.gzipSync(raw, { level: 9 });
  for (const [end, packed] of [['br', br], ['gz', gz]]) {
    fs.rmSync(`${file}.${end}`, { force: true });
    if (packed.length < raw.length) fs.writeFileSync(`${file}.${end}`, packed);
  }
}
