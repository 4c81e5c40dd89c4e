// What wasm-opt -Oz does, and other names for what a module imports and exports.
// It warns of names in each file, and drops them.
const { warn, error } = console;
console.warn = console.error = () => {};
const { default: binaryen } = await import('../frontend/node_modules/binaryen/index.js');
Object.assign(console, { warn, error });

const { BulkMemory, BulkMemoryOpt, MutableGlobals, Multivalue, NontrappingFPToInt, ReferenceTypes, SignExt } = binaryen.Features;
// What rustc emits for wasm32 and wasm-bindgen adds; anything more would have to be in every browser we support.
const features = BulkMemory | BulkMemoryOpt | MutableGlobals | Multivalue | NontrappingFPToInt | ReferenceTypes | SignExt;
/** The same for Binaryen's commands. */
export const flags = ['bulk-memory', 'bulk-memory-opt', 'mutable-globals', 'multivalue', 'nontrapping-float-to-int', 'reference-types', 'sign-ext']
  .map((name) => `--enable-${name}`);
binaryen.setOptimizeLevel(2);
binaryen.setShrinkLevel(2);
// The command does this by itself at -Oz, the library only when told.
binaryen.setGenerateStackIR(true);
binaryen.setOptimizeStackIR(true);
binaryen.setDebugInfo(false);

/** The module as small as wasm-opt makes it. `before` may change it first. */
export function optimised(wasm, before = () => {}) {
  const module = binaryen.readBinary(wasm, features);
  before(module);
  module.optimize();
  // Who made it, once in each of some five hundred files.
  module.runPasses(['strip-producers', 'strip-target-features']);
  const small = Buffer.from(module.emitBinary());
  module.dispose();
  return small;
}

/** The module with its text changed. */
export function rewritten(wasm, change) {
  const module = binaryen.readBinary(wasm, features);
  const changed = binaryen.parseText(change(module.emitText()));
  changed.setFeatures(features);
  if (!changed.validate()) throw new Error('the changed module is not valid');
  const binary = Buffer.from(changed.emitBinary());
  module.dispose();
  changed.dispose();
  return binary;
}

/** A number as wasm writes it. */
export function leb(n) {
  const out = [];
  for (; n > 127; n >>>= 7) out.push((n & 127) | 128);
  return Buffer.from([...out, n]);
}

/** The same module with other names for what it imports and exports. */
export function rename(wasm, name) {
  const out = [wasm.subarray(0, 8)];
  let at = 8;
  function number() {
    let value = 0;
    for (let shift = 0, byte = 128; byte > 127; shift += 7) value += ((byte = wasm[at++]) & 127) * 2 ** shift;
    return value;
  }
  const text = () => {
    const length = number();
    return wasm.subarray(at, at += length).toString();
  };
  const named = (name) => Buffer.concat([leb(Buffer.byteLength(name)), Buffer.from(name)]);
  // What follows a name, as it is.
  const rest = (read) => {
    const start = at;
    read();
    return wasm.subarray(start, at);
  };
  const limits = () => {
    const flags = number();
    number();
    if (flags & 1) number();
  };
  const kinds = [() => number(), () => { number(); limits(); }, limits, () => { at += 2; }, () => { at += 1; number(); }];
  while (at < wasm.length) {
    const start = at;
    const [id, length] = [wasm[at++], number()];
    const end = at + length;
    if (id === 2 || id === 7) {
      const count = number();
      const rows = Array.from({ length: count }, () => {
        const module = id === 2 ? named(text()) : Buffer.alloc(0);
        return Buffer.concat([module, named(name(text())), rest(() => {
          const kind = wasm[at++];
          if (id === 2) kinds[kind]();
          else number();
        })]);
      });
      const body = Buffer.concat([leb(count), ...rows]);
      out.push(Buffer.from([id]), leb(body.length), body);
    } else {
      out.push(wasm.subarray(start, end));
    }
    at = end;
  }
  return Buffer.concat(out);
}
