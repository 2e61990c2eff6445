//! The dashboard at `/ui`: the files of `dashboard/`, which are part of the program.
//!
//! `/ui/` is the page. It names everything else below `/ui/v/BUILD/`, where `BUILD` is a hash of all files, so that
//! browsers keep them for good and never mix two builds. The dashboard is a client of the API like any other.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION,
    REFERRER_POLICY, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use moka::sync::Cache;
use rust_embed::RustEmbed;

use crate::api::problem::{Code, Problem};
use crate::api::{App, etag};

/// The page.
const PAGE: &str = "index.html";
/// What stands in the page for the build.
const BUILD: &str = "BUILD";
/// How long a debug build may not notice that a file has changed.
const CHANGES_SEEN: Duration = Duration::from_secs(1);
/// Files that are kept compressed: more than there are.
const KEPT_MAX: u64 = 1_000;
/// What the page may do: nothing but what is served here. Text never becomes HTML by accident: the browser refuses.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);

/// What is served. A debug build reads the files as they are on disk, so that a change needs no build.
#[derive(RustEmbed)]
#[folder = "../dashboard"]
#[exclude = "vendor/build/*"]
#[include = "index.html"]
#[include = "src/*"]
#[include = "style/*"]
#[include = "vendor/*.js"]
#[include = "vendor/*.css"]
#[include = "vendor/*.woff2"]
struct Files;

/// The endpoints.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/ui", get(async || (StatusCode::PERMANENT_REDIRECT, [(LOCATION, "ui/")])))
        .route("/ui/", get(page))
        .route("/ui/v/{build}/{*path}", get(file))
}

/// A file as it is sent.
#[derive(Clone)]
struct Sent {
    /// Names the content.
    hash: String,
    plain: Bytes,
    /// Missing where it would not be smaller.
    gzip: Option<Bytes>,
}

impl Sent {
    fn new(plain: Bytes, is_text: bool) -> Self {
        let gzip = is_text.then(|| gzip(&plain)).flatten();
        Self { hash: blake3::hash(&plain).to_hex().as_str().chars().take(32).collect(), plain, gzip }
    }

    /// The answer; nothing but its tag if the caller has it.
    fn answer(
        &self,
        headers: &HeaderMap,
        kind: &'static str,
        cache: &'static str,
    ) -> Result<Response, Problem> {
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(headers));
        // A strong tag is that of the bytes as they are sent.
        let hash = if gzip.is_some() { format!("{}-gz", self.hash) } else { self.hash.clone() };
        let about = [
            (ETAG, etag::tag(&hash)),
            (CACHE_CONTROL, HeaderValue::from_static(cache)),
            (VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if etag::is_known(headers, &hash)? {
            return Ok((StatusCode::NOT_MODIFIED, about).into_response());
        }
        let body = gzip.unwrap_or(&self.plain).clone();
        let mut response = (about, [(CONTENT_TYPE, kind)], body).into_response();
        if gzip.is_some() {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }
}

/// The page, with what names its build filled in.
async fn page(headers: HeaderMap) -> Result<Response, Problem> {
    let page = Files::get(PAGE).ok_or_else(|| Problem::internal("the dashboard has no page"))?;
    let text = String::from_utf8_lossy(&page.data).replace(BUILD, &build());
    let sent = Sent::new(text.into(), true);
    let mut response = sent.answer(&headers, "text/html; charset=utf-8", "no-cache")?;
    let guards = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    response.headers_mut().extend(guards);
    Ok(response)
}

/// Any other file. Of another build there is none: a page that asks for it is to be loaded again.
async fn file(Path((asked, path)): Path<(String, String)>, headers: HeaderMap) -> Result<Response, Problem> {
    let none =
        || Problem::new(Code::NotFound, format!("the dashboard has no file `{path}` in build `{asked}`"));
    if asked != build() || path == PAGE {
        return Err(none().hint("load the page again"));
    }
    let (kind, is_text) = kind(&path);
    let sent = kept(&path, is_text).ok_or_else(none)?;
    sent.answer(&headers, kind, "public, max-age=31536000, immutable")
}

/// A file, compressed once for each content that it has.
fn kept(path: &str, is_text: bool) -> Option<Arc<Sent>> {
    type Kept = Cache<(String, [u8; 32]), Arc<Sent>>;
    static KEPT: LazyLock<Kept> = LazyLock::new(|| Cache::new(KEPT_MAX));
    let file = Files::get(path)?;
    let name = (path.to_owned(), file.metadata.sha256_hash());
    Some(KEPT.get_with(name, || Arc::new(Sent::new(Bytes::from(file.data.into_owned()), is_text))))
}

/// Names what is served: a hash of all files.
fn build() -> String {
    static BUILD: LazyLock<Cache<(), String>> = LazyLock::new(|| {
        let kept = Cache::builder().max_capacity(1);
        // Files of a debug build change under it.
        if cfg!(debug_assertions) { kept.time_to_live(CHANGES_SEEN).build() } else { kept.build() }
    });
    BUILD.get_with((), || {
        let mut hasher = blake3::Hasher::new();
        let mut paths: Vec<_> = Files::iter().collect();
        paths.sort_unstable();
        for path in paths {
            hasher.update(path.as_bytes());
            hasher.update(&Files::get(&path).map(|file| file.metadata.sha256_hash()).unwrap_or_default());
        }
        hasher.finalize().to_hex().as_str().chars().take(16).collect()
    })
}

/// The media type of a file, and whether it is worth being compressed.
fn kind(path: &str) -> (&'static str, bool) {
    match path.rsplit('.').next().unwrap_or_default() {
        "js" => ("text/javascript; charset=utf-8", true),
        "css" => ("text/css; charset=utf-8", true),
        "svg" => ("image/svg+xml", true),
        "woff2" => ("font/woff2", false),
        _ => ("application/octet-stream", false),
    }
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::best());
    encoder.write_all(plain).ok()?;
    let packed = encoder.finish().ok()?;
    (packed.len() < plain.len()).then(|| packed.into())
}

/// Whether the caller takes gzip, by name or as one of all.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let listed = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut codings = listed.flat_map(|value| value.split(',')).map(|coding| {
        let (name, weight) = coding.split_once(";q=").unwrap_or((coding, "1"));
        (name.trim(), weight.trim().parse::<f32>().unwrap_or(1.0) > 0.0)
    });
    codings.any(|(name, is_taken)| is_taken && (name.eq_ignore_ascii_case("gzip") || name == "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (value, takes) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&accepting(value)), takes, "{value}");
        }
    }

    #[test]
    fn a_tag_names_the_bytes_as_they_are_sent() {
        let sent = Sent::new(Bytes::from("a".repeat(1_000)), true);
        let of = |headers: &HeaderMap| {
            let response = sent.answer(headers, "text/css", "no-cache").unwrap();
            (response.status(), response.headers().get(ETAG).cloned().unwrap())
        };
        let (plain, packed) = (of(&HeaderMap::new()), of(&accepting("gzip")));
        assert_ne!(plain.1, packed.1);
        let mut again = accepting("gzip");
        again.insert(axum::http::header::IF_NONE_MATCH, packed.1.clone());
        assert_eq!(of(&again), (StatusCode::NOT_MODIFIED, packed.1));
        again.insert(axum::http::header::IF_NONE_MATCH, plain.1);
        assert_eq!(of(&again).0, StatusCode::OK);
    }

    #[test]
    fn what_would_not_be_smaller_is_sent_as_it_is() {
        assert!(Sent::new(Bytes::from_static(b"a"), true).gzip.is_none());
    }

    #[test]
    fn only_what_the_page_needs_is_part_of_the_program() {
        let paths: Vec<_> = Files::iter().collect();
        assert!(paths.iter().any(|path| path == PAGE) && paths.iter().any(|path| path == "src/main.js"));
        assert!(!paths.iter().any(|path| path.contains("build/") || path.contains("licences")), "{paths:?}");
    }
}
