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
  // It warns of names in each file, and drops them.
  console.warn = console.error = () => {};
  const { default: binaryen } = await import('../frontend/node_modules/binaryen/index.js');
  const { BulkMemory, BulkMemoryOpt, MutableGlobals, Multivalue, NontrappingFPToInt, ReferenceTypes, SignExt } = binaryen.Features;
  // What rustc emits for wasm32 and wasm-bindgen adds; anything more would have to be in every browser we support.
  const features = BulkMemory | BulkMemoryOpt | MutableGlobals | Multivalue | NontrappingFPToInt | ReferenceTypes | SignExt;
  binaryen.setOptimizeLevel(2);
  binaryen.setShrinkLevel(2);
  // The command does this by itself at -Oz, the library only when told.
  binaryen.setGenerateStackIR(true);
  binaryen.setOptimizeStackIR(true);
  binaryen.setDebugInfo(false);

  parentPort.on('message', (file) => {
    if (file === null) return parentPort.close();
    const module = binaryen.readBinary(fs.readFileSync(file), features);
    module.optimize();
    fs.writeFileSync(file, module.emitBinary());
    module.dispose();
    parentPort.postMessage(file);
  });
}
