// Does what `wasm-opt -Oz` does, to every wasm file of a folder. cargo-leptos starts wasm-opt anew for each of some 200
// files, one after the other, which takes longer than compiling.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Worker, isMainThread, parentPort } from 'node:worker_threads';

if (isMainThread) {
  const folder = process.argv[2];
  // The largest first: it takes as long as all others together.
  const files = fs.readdirSync(folder).filter((f) => f.endsWith('.wasm')).map((f) => path.join(folder, f))
    .sort((a, b) => fs.statSync(b).size - fs.statSync(a).size);
  const total = () => `${(files.reduce((sum, f) => sum + fs.statSync(f).size, 0) / 1000).toFixed(0)} KB`;
  const [before, start] = [total(), Date.now()];

  const queue = [...files];
  await Promise.all(Array.from({ length: Math.min(os.availableParallelism(), 4) }, () => new Promise((done, failed) => {
    const worker = new Worker(new URL(import.meta.url));
    const next = () => worker.postMessage(queue.shift() ?? null);
    worker.on('message', next).on('error', failed).on('exit', done);
    next();
  })));
  console.log(`wasm-opt: ${files.length} files, ${before} to ${total()}, ${((Date.now() - start) / 1000).toFixed(0)} s`);
} else {
  const { optimised } = await import('./wasm.mjs');
  parentPort.on('message', (file) => {
    if (file === null) return parentPort.close();
    fs.writeFileSync(file, optimised(fs.readFileSync(file)));
    parentPort.postMessage(file);
  });
}
