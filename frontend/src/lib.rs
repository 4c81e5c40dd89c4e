//! The wasm entry point: hydrates the app in the page that the server sent. Knows nothing else.

use wasm_bindgen::prelude::wasm_bindgen;

/// Called by the page's loader once the module is there.
#[wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_lazy(app::App);
}

/// Room in memory that nobody uses. cargo-leptos puts the texts of a page into the page's own file, but only if the data
/// of all files, each rounded up, still fits where it lay in one. It leaves this out, and that is the room.
#[used]
static ROOM: [u8; 8192] = [1; 8192];
