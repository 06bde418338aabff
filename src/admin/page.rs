//! The page at `/`: static files of the binary, with which a browser shows what the API says.
//!
//! The files hold no data, so they need no token; everything that the page shows comes from `/api/v1` and `/metrics`. The policy lets a browser
//! run and show these files alone, and connect to this listener and to WebSockets of the same host alone. It makes the browser refuse every
//! assignment of text to markup, too (`require-trusted-types-for`), so that what clients choose can't become elements or scripts.

use std::hash::{DefaultHasher, Hasher as _};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::server::host::Authority;

/// A file of the page.
#[derive(Debug, Clone, Copy)]
struct File {
    /// The path of its URL.
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

impl File {
    const fn html(path: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, content_type: "text/html; charset=utf-8", bytes }
    }

    const fn css(path: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, content_type: "text/css; charset=utf-8", bytes }
    }

    const fn script(path: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, content_type: "text/javascript; charset=utf-8", bytes }
    }

    const fn text(path: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, content_type: "text/plain; charset=utf-8", bytes }
    }

    const fn svg(path: &'static str, bytes: &'static [u8]) -> Self {
        Self { path, content_type: "image/svg+xml", bytes }
    }

    /// Differs if the bytes do.
    fn entity_tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        format!("\"{:016x}\"", hasher.finish())
    }

    fn response(&self, tag: &str, request: &HeaderMap) -> Response {
        let known = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let is_known = known.flat_map(|list| list.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag);
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.bytes.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        // The browser asks each time whether it has the file of this broker.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        let computed = [(ETAG, tag.to_owned()), (CONTENT_SECURITY_POLICY, policy(request))];
        for (name, value) in computed {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// The routes of the files.
pub(super) fn routes() -> Router {
    FILES.iter().fold(Router::new(), |router, file| {
        let tag = file.entity_tag();
        let answer = move |headers: HeaderMap| {
            let response = file.response(&tag, &headers);
            async move { response }
        };
        router.route(file.path, get(answer))
    })
}

/// The Content-Security-Policy. A browser may open WebSockets to the host that it has the page from, at any port, as the default of
/// `websocket_origins` lets it.
fn policy(request: &HeaderMap) -> String {
    let host = request.get(HOST).and_then(|host| host.to_str().ok()).and_then(Authority::parse);
    let sockets = match host {
        // A policy can't name an IPv6 address.
        Some(host) if host.host.contains(':') => " ws: wss:".to_owned(),
        Some(Authority { host, .. }) => format!(" ws://{host}:* wss://{host}:*"),
        None => String::new(),
    };
    format!("{POLICY}; connect-src 'self'{sockets}")
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// All files.
const FILES: [File; 34] = [
    File::html("/", include_bytes!("page/index.html")),
    File::css("/page/style.css", include_bytes!("page/style.css")),
    File::svg("/page/icon.svg", include_bytes!("page/icon.svg")),
    File::script("/page/api.js", include_bytes!("page/api.js")),
    File::script("/page/charts.js", include_bytes!("page/charts.js")),
    File::script("/page/collector.js", include_bytes!("page/collector.js")),
    File::script("/page/dom.js", include_bytes!("page/dom.js")),
    File::script("/page/format.js", include_bytes!("page/format.js")),
    File::script("/page/main.js", include_bytes!("page/main.js")),
    File::script("/page/metrics.js", include_bytes!("page/metrics.js")),
    File::script("/page/pages.js", include_bytes!("page/pages.js")),
    File::script("/page/views/bans.js", include_bytes!("page/views/bans.js")),
    File::script("/page/views/bridges.js", include_bytes!("page/views/bridges.js")),
    File::script("/page/views/client.js", include_bytes!("page/views/client.js")),
    File::script("/page/views/clients.js", include_bytes!("page/views/clients.js")),
    File::script("/page/views/cluster.js", include_bytes!("page/views/cluster.js")),
    File::script("/page/views/configuration.js", include_bytes!("page/views/configuration.js")),
    File::script("/page/views/drops.js", include_bytes!("page/views/drops.js")),
    File::script("/page/views/explain.js", include_bytes!("page/views/explain.js")),
    File::script("/page/views/message.js", include_bytes!("page/views/message.js")),
    File::script("/page/views/mqtt.js", include_bytes!("page/views/mqtt.js")),
    File::script("/page/views/overview.js", include_bytes!("page/views/overview.js")),
    File::script("/page/views/refusals.js", include_bytes!("page/views/refusals.js")),
    File::script("/page/views/retained.js", include_bytes!("page/views/retained.js")),
    File::script("/page/views/routes.js", include_bytes!("page/views/routes.js")),
    File::script("/page/views/store.js", include_bytes!("page/views/store.js")),
    File::script("/page/views/streams.js", include_bytes!("page/views/streams.js")),
    File::script("/page/views/subscriptions.js", include_bytes!("page/views/subscriptions.js")),
    File::script("/page/views/trace.js", include_bytes!("page/views/trace.js")),
    File::script("/page/vendored/mqtt.esm.js", include_bytes!("page/vendored/mqtt.esm.js")),
    File::text("/page/vendored/mqtt-licences.txt", include_bytes!("page/vendored/mqtt-licences.txt")),
    File::css("/page/vendored/uPlot.css", include_bytes!("page/vendored/uPlot.css")),
    File::script("/page/vendored/uPlot.esm.js", include_bytes!("page/vendored/uPlot.esm.js")),
    File::text("/page/vendored/uPlot-licences.txt", include_bytes!("page/vendored/uPlot-licences.txt")),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::admin::api::tests::Api;

    /// The files below a folder.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_file_of_the_folder_is_served_as_it_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let mut served = 0;
        for path in files(&folder) {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            if name.ends_with(".md") || name.ends_with(".json") {
                continue;
            }
            let url = if name == "index.html" { "/".to_owned() } else { format!("/page/{name}") };
            let file = FILES.iter().find(|file| file.path == url).unwrap_or_else(|| panic!("{url} is not in FILES"));
            assert!(file.bytes == fs::read(&path).unwrap(), "{url}");
            served += 1;
        }
        assert_eq!(served, FILES.len());
    }

    #[test]
    fn the_libraries_of_others_are_unchanged_and_come_with_their_licences() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page/vendored");
        let libraries: Value =
            serde_json::from_str(&fs::read_to_string(folder.join("libraries.json")).unwrap()).unwrap();
        let mut listed = vec!["libraries.json".to_owned(), "README.md".to_owned()];
        for library in libraries.as_array().unwrap() {
            for file in library["files"].as_array().unwrap() {
                let name = file["name"].as_str().unwrap();
                let sum = Sha256::digest(fs::read(folder.join(name)).unwrap());
                let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(file["sha256"], digits, "{name}");
                listed.push(name.to_owned());
            }
            let licences = library["licences"].as_str().unwrap();
            let text = fs::read_to_string(folder.join(licences)).unwrap();
            let package = format!("{} {}", library["name"].as_str().unwrap(), library["version"].as_str().unwrap());
            assert!(text.contains(&package) && text.contains("Permission is hereby granted"), "{licences}");
            listed.push(licences.to_owned());
        }
        for path in files(&folder) {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
            assert!(listed.iter().any(|listed| listed == name), "{name}");
        }
    }

    #[test]
    fn a_file_needs_no_token_and_has_a_policy_and_a_tag() {
        let api = Api::start();
        let page = api.remote("GET /", "", "");
        assert_eq!(page.code, 200);
        assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
        for header in [
            "content-type: text/html; charset=utf-8",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
            "connect-src 'self' ws://localhost:* wss://localhost:*\r\n",
            "default-src 'none'; script-src 'self'; style-src 'self';",
            "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        ] {
            assert!(page.head.contains(header), "{header}: {}", page.head);
        }
        let tag = page.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        for (tags, code) in [(tag.to_owned(), 304), (format!("\"a\", W/{tag}"), 304), ("\"a\"".to_owned(), 200)] {
            assert_eq!(api.remote("GET /", &format!("If-None-Match: {tags}\r\n"), "").code, code, "{tags}");
        }
        assert_eq!(api.remote("POST /", "", "").code, 405);
        assert_eq!(api.remote("GET /", "Host: evil.example\r\n", "").code, 421);
    }

    #[test]
    fn the_policy_names_the_host_of_the_request() {
        let of = |host: &str| {
            let policy = policy(&HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]));
            policy.split_once("connect-src ").unwrap().1.to_owned()
        };
        assert_eq!(of("192.0.2.1:9883"), "'self' ws://192.0.2.1:* wss://192.0.2.1:*");
        assert_eq!(of("broker"), "'self' ws://broker:* wss://broker:*");
        assert_eq!(of("[2001:db8::1]:9883"), "'self' ws: wss:");
        assert_eq!(of("a; script-src *"), "'self'");
    }
}
