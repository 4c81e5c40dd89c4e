//! The document around the app. Only the server makes it; the browser hydrates what is in `<body>`.

use leptos::{nonce::use_nonce, prelude::*};
use leptos_meta::MetaTags;

use crate::{App, SiteAssets, ssr::cookie, state::Theme};

/// The whole document.
pub fn shell() -> impl IntoView {
    let base = use_context::<SiteAssets>().unwrap_or_default().base;
    let nonce = use_nonce();
    let theme = cookie(Theme::COOKIE).and_then(|value| Theme::parse(&value)).map(Theme::as_str);
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=theme>
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link
                    rel="preload"
                    href=format!("{base}/fonts/geist-sans.woff2")
                    r#as="font"
                    r#type="font/woff2"
                    crossorigin="anonymous"
                />
                <link rel="stylesheet" href=format!("{base}/main.css") />
                <link rel="icon" href=format!("{base}/favicon.svg") r#type="image/svg+xml" />
                <script defer nonce=nonce.clone() src=format!("{base}/boot.js")></script>
                <script type="module" nonce=nonce>
                    {loader(&base)}
                </script>
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

/// Hydrates when the page has been painted and the browser is idle, or at the first touch. Until then forms and links
/// work as they are, so nothing is preloaded for it. Starting the wasm and hydrating are two tasks, so that the browser can
/// answer a touch in between.
fn loader(base: &str) -> String {
    format!(
        "let begun;\
         const go=()=>{{if(begun)return;begun=1;\
         import('{base}/pkg/gatehouse.js')\
         .then(m=>m.default({{module_or_path:'{base}/pkg/gatehouse.wasm'}}).then(()=>setTimeout(m.hydrate)))}};\
         for(const t of ['pointerdown','keydown','focusin'])\
         addEventListener(t,go,{{once:true,passive:true,capture:true}});\
         const idle=()=>window.requestIdleCallback?requestIdleCallback(go,{{timeout:1500}}):setTimeout(go,200);\
         document.readyState==='complete'?idle():addEventListener('load',idle,{{once:true}});"
    )
}
