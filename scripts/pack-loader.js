// Appended to gatehouse.js by pack.mjs, which writes the table in: what the wasm calls to load a page.
var wasmCore;
const wasmChunks = new Map();
// Chunks write their data where it belongs in memory when they start: each may start only once.
function wasmStart(module, imports) {
  return WebAssembly.Module.customSections(module, 'chunks').flatMap((section) => {
    const view = new DataView(section), all = [];
    for (let at = 0, length; at < view.byteLength; at += 8 + length) {
      const chunk = view.getUint32(at, true);
      length = view.getUint32(at + 4, true);
      if (!wasmChunks.has(chunk)) {
        wasmChunks.set(chunk, WebAssembly.instantiate(new Uint8Array(section, at + 8, length), imports));
        wasmChunks.get(chunk).catch(() => wasmChunks.delete(chunk));
      }
      all.push(wasmChunks.get(chunk));
    }
    return all;
  });
}
async function wasmLoad(file) {
  const imports = { __wasm_split: wasmCore };
  const page = await WebAssembly.compileStreaming(fetch(new URL(file, import.meta.url)));
  await Promise.all(wasmStart(page, imports));
  await WebAssembly.instantiate(page, imports);
}
function wasmPage(name) {
  let loading;
  return async (callback, data) => {
    const mine = (loading ??= wasmLoad(`${name}.wasm`));
    let success = true;
    try {
      await mine;
    } catch (e) {
      console.error(e);
      success = false;
      // So that it can be tried again.
      if (loading === mine) loading = undefined;
    }
    wasmCore.__indirect_function_table.get(callback)(data, success);
  };
}
const wasmPages = {__PAGES__};
