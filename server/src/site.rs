//! The static files that pages load: wasm, scripts, styles, fonts, icons.
//!
//! With the feature `embed-site` they are in the binary, compressed beforehand (`build.rs`). Without it they are read
//! from `target/site`, so that a view or a style can change without building the server again.
//!
//! The content hash is in the path, so that every file may be kept for ever, and a page never meets the wasm of
//! another build: the chunks are loaded relative to the script that asks for them.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// For the hash of this build; anything else must be asked for again.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";
/// `/favicon.ico` has no hash in its path.
const ONE_DAY: &str = "public, max-age=86400";

/// Serves `/assets/{hash}/{path}` and `/favicon.ico`. Responses are compressed already: keep this router out of any
/// compression layer.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/assets/{hash}/{*path}", get(asset)).route("/favicon.ico", get(favicon))
}

/// The content hash of the site in this binary; `dev` when it is read from disk.
pub fn hash() -> &'static str {
    files::HASH
}

/// What the addresses of all static files begin with, without a slash at the end.
pub fn asset_base() -> String {
    format!("/assets/{}", hash())
}

async fn asset(Path((hash, path)): Path<(String, String)>, headers: HeaderMap) -> Response {
    // An older page may still ask for a file of its own build: it gets ours, but must not keep it under that name.
    let cache = if files::EMBEDDED && hash == files::HASH { IMMUTABLE } else { REVALIDATE };
    serve(&path, cache, &headers).await
}

async fn favicon(headers: HeaderMap) -> Response {
    serve("favicon.ico", ONE_DAY, &headers).await
}

async fn serve(path: &str, cache: &'static str, headers: &HeaderMap) -> Response {
    let Some(content) = files::find(path, Encoding::wanted(headers)).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::new(Body::from(content.bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(mime(path)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = content.encoding.name() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

struct Content {
    bytes: Bytes,
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    /// The smallest that the client takes.
    fn wanted(headers: &HeaderMap) -> Self {
        let takes = |name: &str| {
            headers
                .get_all(ACCEPT_ENCODING)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .any(|item| {
                    let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
                    let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
                    coding.trim().eq_ignore_ascii_case(name) && weight.parse::<f32>().is_ok_and(|q| q > 0.0)
                })
        };
        if takes("br") {
            Self::Brotli
        } else if takes("gzip") {
            Self::Gzip
        } else {
            Self::Identity
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }
}

fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, end)| end) {
        "css" => "text/css; charset=utf-8",
        "ico" => "image/x-icon",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webmanifest" => "application/manifest+json",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(feature = "embed-site")]
mod files {
    use super::{Bytes, Content, Encoding};

    struct File {
        path: &'static str,
        raw: &'static [u8],
        br: Option<&'static [u8]>,
        gz: Option<&'static [u8]>,
    }

    // HASH and FILES, made by build.rs.
    include!(concat!(env!("OUT_DIR"), "/site.rs"));

    pub(super) const EMBEDDED: bool = true;

    #[expect(clippy::unused_async, reason = "the other one reads from disk")]
    pub(super) async fn find(path: &str, wanted: Encoding) -> Option<Content> {
        let at = FILES.binary_search_by(|file| file.path.cmp(path)).ok()?;
        let file = &FILES[at];
        let packed = match wanted {
            Encoding::Brotli => file.br,
            Encoding::Gzip => file.gz,
            Encoding::Identity => None,
        };
        let (bytes, encoding) = packed.map_or((file.raw, Encoding::Identity), |bytes| (bytes, wanted));
        Some(Content { bytes: Bytes::from_static(bytes), encoding })
    }
}

#[cfg(not(feature = "embed-site"))]
mod files {
    use std::path::{Component, Path};

    use super::{Content, Encoding};

    pub(super) const HASH: &str = "dev";
    pub(super) const EMBEDDED: bool = false;

    pub(super) async fn find(path: &str, _wanted: Encoding) -> Option<Content> {
        // Nothing outside the folder, however it is written.
        let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return None;
        }
        let file = Path::new(env!("GATEHOUSE_SITE_DIR")).join(path);
        let bytes = tokio::fs::read(file).await.ok()?;
        Some(Content { bytes: bytes.into(), encoding: Encoding::Identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> Encoding {
        Encoding::wanted(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn the_smallest_accepted_encoding_is_chosen() {
        assert_eq!(wanted("gzip, deflate, br, zstd"), Encoding::Brotli);
        assert_eq!(wanted("GZIP"), Encoding::Gzip);
        assert_eq!(wanted("br;q=0, gzip;q=0.5"), Encoding::Gzip);
        assert_eq!(wanted("br; q=0.1"), Encoding::Brotli);
        assert_eq!(wanted("identity"), Encoding::Identity);
        assert_eq!(Encoding::wanted(&HeaderMap::new()), Encoding::Identity);
    }

    #[tokio::test]
    async fn nothing_outside_the_site_is_served() {
        for path in ["../../Cargo.toml", "pkg/../../../Cargo.toml", "/etc/passwd", "", "no-such-file.css"] {
            let response = serve(path, REVALIDATE, &HeaderMap::new()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn wasm_has_the_type_that_streaming_compilation_asks_for() {
        assert_eq!(mime("pkg/gatehouse.wasm"), "application/wasm");
    }
}
