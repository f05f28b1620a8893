//! The page for people: files that are built from `console/` and compiled in, or read from a directory while somebody works
//! on them.
//!
//! Nothing comes from elsewhere, and the policy that goes with every file says so to the browser: no script and no style
//! within a page, no frame around it. The Client page speaks to other brokers too, so connections to any WebSocket are allowed.

use crate::config::Listen;
use crate::protocols::Speaker;
use althing_net::Address;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::GzEncoder;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where a browser on this machine finds the console: at an HTTP listener that lets administrators in.
pub fn address(listening: &[Listen]) -> Option<String> {
    let http = || listening.iter().filter(|listen| matches!(listen.protocol.speaker, Speaker::Visitor(_)));
    let is_here = |listen: &&Listen| listen.tls.is_none() && !listen.is_reachable();
    let place = |listen: &Listen| match &listen.address {
        Address::Tcp(address) if listen.tls.is_none() => Some(format!("http://{address}")),
        Address::Tcp(address) if address.ip().is_unspecified() => Some(format!("https://localhost:{}", address.port())),
        Address::Tcp(address) => Some(format!("https://{address}")),
        Address::Unix(_) => None,
    };
    let inside_tls = http().filter(|listen| listen.tls.is_some());
    http().filter(is_here).chain(inside_tls).find_map(place)
}

/// An address that lets a browser in once. What is behind `#` is not sent and not logged.
pub fn with_code(place: &str, code: &str) -> String {
    format!("{place}/#code={code}")
}

/// What a browser may do with the page.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; object-src 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The file that stands for every path of the page.
const INDEX: &str = "index.html";

/// The built files by name.
const BUILT: &[(&str, &[u8])] = &[
    (INDEX, include_bytes!("../../console/dist/index.html")),
    ("console.js", include_bytes!("../../console/dist/console.js")),
    ("console.css", include_bytes!("../../console/dist/console.css")),
    ("icon.svg", include_bytes!("../../console/dist/icon.svg")),
];

/// The files, ready to be sent.
#[derive(Debug)]
pub struct Console {
    built: Vec<File>,
    /// Read at each request instead, for those who work on the page.
    directory: Option<PathBuf>,
}

/// One file.
#[derive(Clone, Debug)]
struct File {
    name: Cow<'static, str>,
    plain: Bytes,
    /// The same in gzip.
    compressed: Option<Bytes>,
    etag: HeaderValue,
}

impl Console {
    /// The built files, or those of a directory.
    pub fn new(directory: Option<PathBuf>) -> Self {
        let built = BUILT.iter().map(|(name, bytes)| File::new(Cow::Borrowed(name), Bytes::from_static(bytes)));
        Self { built: built.collect(), directory }
    }

    /// What a GET or HEAD of `path` gets; `None` when there is no such file and no page of that name.
    pub fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let name = path.strip_prefix('/').unwrap_or(path);
        // A path of the page has no ending; what has one is a file or nothing.
        let is_page = name.is_empty() || harmless(name).is_some() && !name.contains('.');
        Some(self.find(if is_page { INDEX } else { name })?.response(headers))
    }

    fn find(&self, name: &str) -> Option<File> {
        let Some(directory) = &self.directory else {
            return self.built.iter().find(|file| file.name == name).cloned();
        };
        let bytes = std::fs::read(directory.join(harmless(name)?)).ok()?;
        Some(File::new(name.to_owned().into(), bytes.into()))
    }
}

/// A name that leads nowhere but into the directory.
fn harmless(name: &str) -> Option<&Path> {
    let is_harmless = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split('/').all(is_harmless).then(|| Path::new(name))
}

impl File {
    fn new(name: Cow<'static, str>, plain: Bytes) -> Self {
        let mut compressed = Vec::new();
        let mut encoder = GzEncoder::new(&plain[..], Compression::best());
        // Nothing fails when memory is read into memory; if it did, nothing compressed would be offered.
        let compressed = encoder.read_to_end(&mut compressed).ok().map(|_| compressed.into());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&plain)[..12]));
        // Letters and digits in quotes are a header's value.
        let etag = HeaderValue::try_from(etag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { name, plain, compressed, etag }
    }

    fn response(self, asked: &HeaderMap) -> Response {
        let contains = |name: HeaderName, word: &[u8]| {
            let mut values = asked.get_all(name).iter();
            values.any(|value| value.as_bytes().windows(word.len()).any(|part| part == word))
        };
        let is_known = contains(header::IF_NONE_MATCH, self.etag.as_bytes());
        let compressed = self.compressed.filter(|_| !is_known && contains(header::ACCEPT_ENCODING, b"gzip"));
        let is_compressed = compressed.is_some();
        let content_type = HeaderValue::from_static(content_type(&self.name));
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => compressed.unwrap_or(self.plain).into_response(),
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            // Asked for each time, and not sent again while it is the same.
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "Accept-Encoding"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::ETAG, self.etag);
        if is_compressed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "map" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(console: &Console, path: &str, headers: &HeaderMap) -> Option<(StatusCode, HeaderMap)> {
        let response = console.answer(&Method::GET, path, headers)?;
        Some((response.status(), response.headers().clone()))
    }

    #[test]
    fn paths_of_the_page_are_the_page_and_files_are_files() {
        let (console, none) = (Console::new(None), HeaderMap::new());
        for (path, content_type) in [
            ("/", "text/html; charset=utf-8"),
            ("/clients/x", "text/html; charset=utf-8"),
            ("/console.js", "text/javascript; charset=utf-8"),
            ("/console.css", "text/css; charset=utf-8"),
            ("/icon.svg", "image/svg+xml"),
        ] {
            let (status, headers) = get(&console, path, &none).unwrap();
            assert_eq!(
                (status, &headers[header::CONTENT_TYPE]),
                (StatusCode::OK, &HeaderValue::from_static(content_type))
            );
            assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("frame-ancestors 'none'"));
        }
        for path in ["/other.js", "/a/../b", "/a//b", "/%2e%2e"] {
            assert!(get(&console, path, &none).is_none(), "{path}");
        }
        assert!(console.answer(&Method::POST, "/", &none).is_none());
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let (console, mut headers) = (Console::new(None), HeaderMap::new());
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
        let (status, first) = get(&console, "/", &headers).unwrap();
        assert_eq!((status, &first[header::CONTENT_ENCODING]), (StatusCode::OK, &HeaderValue::from_static("gzip")));
        headers.insert(header::IF_NONE_MATCH, first[header::ETAG].clone());
        assert_eq!(get(&console, "/", &headers).unwrap().0, StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("dist");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(directory.path().join("secret.js"), "secret").unwrap();
        std::fs::write(inner.join("more.js"), "more").unwrap();
        let (console, none) = (Console::new(Some(inner)), HeaderMap::new());
        assert!(get(&console, "/more.js", &none).is_some());
        assert!(get(&console, "/", &none).is_none(), "there is no page in it");
        for path in
            ["/../secret.js", "/./../secret.js", "//secret.js", "/%2e%2e/secret.js", "/..%2fsecret.js", "/.more.js"]
        {
            assert!(get(&console, path, &none).is_none(), "{path}");
        }
    }
}
