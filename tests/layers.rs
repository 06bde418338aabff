//! Imports run downwards only: reads what every module under `src` names, and fails with file and line where it may not.

#![cfg(test)]

#[path = "layers/circles.rs"]
mod circles;
#[path = "layers/tokens.rs"]
mod tokens;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use tokens::{paths, tokens, without_tests};

/// What one module may name.
struct Layer {
    module: &'static str,
    /// Modules of ours beside itself.
    ours: Ours,
    /// Crates beside std.
    crates: Crates,
    /// Whether it may reach sockets, files, clocks, threads and the environment through std.
    outside_world: OutsideWorld,
}

enum Ours {
    Only(&'static [&'static str]),
    Any,
}

enum Crates {
    Only(&'static [&'static str]),
    AnyBut(&'static [&'static str]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OutsideWorld {
    Forbidden,
    Allowed,
}

/// The table. A module that isn't in it fails: it has to be given its place. A part of a module can have one of its own.
const LAYERS: [Layer; 45] = [
    Layer::pure("timestamp", &[], &[]),
    Layer::pure("histogram", &[], &[]),
    Layer::pure("dense_map", &[], &["hashbrown", "slab"]),
    Layer::pure("topic", &["timestamp"], PURE_CRATES),
    Layer::pure("rewrite", &["topic"], &["regex", "thiserror"]),
    Layer::pure("codec", &["topic", "timestamp"], CODEC_CRATES),
    Layer::pure("session", &["codec", "topic", "timestamp"], PURE_CRATES),
    Layer::pure("routing", &["codec", "dense_map", "topic", "timestamp"], ROUTING_CRATES),
    Layer::pure("batch", &["codec", "topic"], BATCH_CRATES),
    Layer::pure("cluster::entry", &[], CLUSTER_CRATES),
    Layer::pure("cluster::request", &[], CLUSTER_CRATES),
    Layer::pure("cluster::reader", CLUSTER_MACHINES, CLUSTER_CRATES),
    Layer::pure("cluster::replicator", CLUSTER_MACHINES, CLUSTER_CRATES),
    Layer::pure("cluster::takeover", CLUSTER_MACHINES, CLUSTER_CRATES),
    Layer::pure("cluster::assembly", &["cluster::entry"], CLUSTER_CRATES),
    Layer::pure("cluster::beat", &[], &["serde", "serde_json"]),
    Layer::pure("cluster::members", &["cluster::beat"], CLUSTER_CRATES),
    Layer::pure("cluster::tunnel", &[], CLUSTER_CRATES),
    Layer::pure("broker", BELOW_BROKER, SHARED_CRATES),
    Layer::pure("bridge", &["codec", "topic"], PURE_CRATES),
    Layer::shell("store", Ours::Only(&["dense_map", "histogram"]), &["tokio", "mqttbytes"]),
    Layer::pure("private_address", &[], &[]),
    Layer::shell("config", Ours::Only(BELOW_CONFIG), &["tokio", "mqttbytes"]),
    Layer::shell("server_trust", Ours::Only(&[]), &["tokio", "mqttbytes"]),
    Layer::shell("cluster", Ours::Only(&["config", "histogram", "server_trust", "store"]), &["mqttbytes"]),
    Layer::shell("http_client", Ours::Only(&["private_address", "server_trust"]), &["mqttbytes"]),
    Layer::pure("sink", &["codec", "topic", "timestamp"], SINK_CRATES),
    Layer::shell("auth", Ours::Only(BELOW_AUTH), &["mqttbytes"]),
    Layer::shell("import", Ours::Only(BELOW_IMPORT), &["tokio", "mqttbytes"]),
    Layer::shell("server", Ours::Only(BELOW_SERVER), &["mqttbytes"]),
    Layer::shell("admin", Ours::Only(BELOW_ADMIN), &["mqttbytes"]),
    Layer::shell("store_command", Ours::Any, &["mqttbytes"]),
    Layer::shell("session_command", Ours::Any, &["mqttbytes"]),
    Layer::shell("health_command", Ours::Any, &["mqttbytes"]),
    Layer::shell("token_command", Ours::Any, &["mqttbytes"]),
    Layer::shell("celled", Ours::Any, &["mqttbytes"]),
    Layer::shell("clustered", Ours::Any, &["mqttbytes"]),
    Layer::shell("serving", Ours::Any, &["mqttbytes"]),
    Layer::shell("cli", Ours::Only(&["admin_client", "tls_client", "output"]), &["mqttbytes"]),
    Layer::shell("verify", Ours::Only(&["disk", "output"]), &["mqttbytes"]),
    Layer::shell("doctor", Ours::Only(&["admin_client", "disk", "output"]), &["tokio", "mqttbytes"]),
    Layer::shell("admin_client", Ours::Only(&["tls_client"]), &["tokio", "mqttbytes"]),
    Layer::shell("tls_client", Ours::Only(&[]), &["tokio", "mqttbytes"]),
    Layer::shell("disk", Ours::Only(&[]), &["mqttbytes"]),
    Layer::shell("output", Ours::Only(&[]), &["tokio", "mqttbytes"]),
];

/// The machines of a cluster, beneath what carries out what they ask for.
const CLUSTER_MACHINES: &[&str] = &["cluster::entry", "cluster::request", "cluster::reader"];
/// Topics and their rules, and one client at a time.
const BELOW_BROKER: &[&str] = &["batch", "session", "routing", "rewrite", "codec", "dense_map", "topic", "timestamp"];
/// Plain data about what can be set.
const BELOW_CONFIG: &[&str] = &["codec", "private_address", "rewrite", "topic", "timestamp"];
/// Who a client is and what it may do is decided without a connection or a Session.
const BELOW_AUTH: &[&str] = &["config", "http_client", "routing", "codec", "topic", "timestamp"];
/// It makes a configuration, and the files of users and rules that go with it; state is written as the broker's own records.
const BELOW_IMPORT: &[&str] =
    &["auth", "broker", "store", "config", "session", "routing", "codec", "topic", "timestamp"];
/// A Session is reached through its shard alone.
const BELOW_SERVER: &[&str] = &[
    "import",
    "auth",
    "bridge",
    "broker",
    "store",
    "config",
    "http_client",
    "server_trust",
    "routing",
    "rewrite",
    "sink",
    "cluster",
    "codec",
    "histogram",
    "topic",
    "timestamp",
];
/// The administration reads what the server publishes about itself; the server doesn't know that anybody does.
const BELOW_ADMIN: &[&str] = &[
    "server",
    "bridge",
    "broker",
    "cluster",
    "store",
    "config",
    "routing",
    "codec",
    "histogram",
    "topic",
    "timestamp",
];

/// Plain data structures.
const PURE_CRATES: &[&str] = &["bytes", "bytestring", "foldhash", "slab", "smallvec", "thiserror"];
/// `mqttbytes` is named here and nowhere else.
const CODEC_CRATES: &[&str] = &["bytes", "bytestring", "foldhash", "mqttbytes", "slab", "smallvec", "thiserror"];
/// With the checksum of entries.
const CLUSTER_CRATES: &[&str] = &["bytes", "crc32c", "thiserror"];
/// With access rules that other threads replace.
const ROUTING_CRATES: &[&str] = &[
    "arc_swap",
    "bytes",
    "bytestring",
    "foldhash",
    "hashbrown",
    "siphasher",
    "slab",
    "smallvec",
    "smol_str",
    "thiserror",
];
/// The random number generator has no source of randomness: its seed is given.
const SHARED_CRATES: &[&str] =
    &["bytes", "bytestring", "foldhash", "hashbrown", "rand_chacha", "slab", "smallvec", "thiserror"];

/// With the form of a batch in JSON.
const BATCH_CRATES: &[&str] = &["base64", "bytes", "bytestring", "serde", "serde_json"];

/// With the form of a request's body, and the algorithm of its signature.
const SINK_CRATES: &[&str] = &["base64", "bytes", "bytestring", "pbkdf2", "rand_chacha", "serde", "serde_json", "sha2"];

/// Modules of std through which the world is reached.
const OUTSIDE_WORLD: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "thread", "time"];
/// What is plain data in them.
const PLAIN_DATA: [&[&str]; 6] = [
    &["std", "time", "Duration"],
    &["std", "net", "SocketAddr"],
    &["std", "net", "IpAddr"],
    &["std", "net", "Ipv4Addr"],
    &["std", "net", "Ipv6Addr"],
    &["std", "io", "IoSlice"],
];

/// The longest file, without its tests.
const LINES_MAX: usize = 400;

impl Layer {
    const fn pure(module: &'static str, ours: &'static [&'static str], crates: &'static [&'static str]) -> Self {
        let crates = Crates::Only(crates);
        Self { module, ours: Ours::Only(ours), crates, outside_world: OutsideWorld::Forbidden }
    }

    const fn shell(module: &'static str, ours: Ours, forbidden: &'static [&'static str]) -> Self {
        Self { module, ours, crates: Crates::AnyBut(forbidden), outside_world: OutsideWorld::Allowed }
    }

    /// Why it may not name this path, which begins with `crate`, `std` or a crate's name.
    fn objection(&self, path: &[String]) -> Option<&'static str> {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        match names[..] {
            ["crate"] => None,
            ["crate", ref path @ ..] if is_in(path, self.module) => None,
            ["crate", ref path @ ..] => match self.ours {
                Ours::Any => None,
                Ours::Only(ours) => {
                    (!ours.iter().any(|module| is_in(path, module))).then_some("that module is not below it")
                }
            },
            ["std" | "core" | "alloc", module, ..] => {
                let is_forbidden = self.outside_world == OutsideWorld::Forbidden
                    && OUTSIDE_WORLD.contains(&module)
                    && !PLAIN_DATA.iter().any(|data| names.starts_with(data));
                is_forbidden.then_some("it is pure: no socket, file, clock, thread or environment")
            }
            ["std" | "core" | "alloc"] => None,
            [name, ..] => {
                let is_allowed = match self.crates {
                    Crates::Only(crates) => crates.contains(&name),
                    Crates::AnyBut(crates) => !crates.contains(&name),
                };
                (!is_allowed).then_some("that crate is not for it")
            }
            [] => None,
        }
    }
}

/// A place where a module names what it may not.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    path: String,
    objection: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}: {}", self.file, self.line, self.path, self.objection)
    }
}

/// All violations of one file. `crates` are the names under which other crates can be reached.
fn violations(file: &str, source: &str, crates: &[String]) -> Vec<Violation> {
    let module = module_of(file);
    if module.is_empty() {
        return Vec::new();
    }
    let violation = |line: usize, path: &[String], objection: &'static str| Violation {
        file: file.to_owned(),
        line,
        path: path.join("::"),
        objection,
    };
    let names: Vec<&str> = module.iter().map(String::as_str).collect();
    let layers = LAYERS.iter().filter(|layer| is_in(&names, layer.module));
    let Some(layer) = layers.max_by_key(|layer| layer.module.len()) else {
        return vec![violation(1, &module, "tests/layers.rs has no place for this module")];
    };
    let tokens = without_tests(tokens(source));
    paths(&tokens)
        .into_iter()
        .map(|(line, path)| (line, resolved(&module, path)))
        .filter(|(_, path)| is_absolute(path, crates))
        .filter_map(|(line, path)| Some(violation(line, &path, layer.objection(&path)?)))
        .collect()
}

/// Whether a path from the root leads into a module: `cluster`, `cluster::entry`.
fn is_in(path: &[&str], module: &str) -> bool {
    let mut names = path.iter();
    module.split("::").all(|part| names.next() == Some(&part))
}

/// `src/codec/ack.rs` is `codec::ack`; `src/lib.rs` and `src/main.rs` are the root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|name| name == "mod") || path == "lib" || path == "main" {
        module.pop();
    }
    module
}

/// The path from the root on, if it began with `super` or `self`.
fn resolved(module: &[String], path: Vec<String>) -> Vec<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let is_relative = ups > 0 || path.first().is_some_and(|name| name == "self");
    if !is_relative {
        return path;
    }
    let stem = &module[..module.len().saturating_sub(ups)];
    let rest = path.iter().skip_while(|name| *name == "super" || *name == "self");
    ["crate".to_owned()].iter().chain(stem).chain(rest).cloned().collect()
}

fn is_absolute(path: &[String], crates: &[String]) -> bool {
    path.first().is_some_and(|name| ["crate", "std", "core", "alloc"].contains(&name.as_str()) || crates.contains(name))
}

/// The sources under a folder of the workspace, tests and crates of their own left out, with their paths from its root.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let is_tests = path.file_stem().is_some_and(|name| name == "tests");
            if path.is_dir() && !is_tests {
                if !path.join("Cargo.toml").exists() {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_tests {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort();
    sources
}

/// The crates that the manifest names, as they are written in code.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    tables.flat_map(|table| table.keys().map(|name| name.replace('-', "_"))).chain(["oncemq".to_owned()]).collect()
}

#[test]
fn imports_run_downwards_only() {
    let sources = sources("src");
    assert!(sources.len() > LAYERS.len(), "the sources are not where they were");
    let crates = dependencies();
    let violations: Vec<String> = sources
        .iter()
        .flat_map(|(file, source)| violations(file, source, &crates))
        .map(|violation| violation.to_string())
        .collect();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn the_tools_that_judge_the_broker_share_no_code_with_it() {
    for (file, source) in
        ["bench/src", "conformance/src", "tests/nats/src", "tests/wire/src"].into_iter().flat_map(sources)
    {
        for (line, path) in paths(&tokens(&source)) {
            assert_ne!(path.first().map(String::as_str), Some("oncemq"), "{file}:{line}");
        }
    }
}

/// The crates, by their roots.
const ROOTS: [&str; 8] = [
    "src/lib.rs",
    "src/main.rs",
    "src/allocator/lib.rs",
    "bench/src/main.rs",
    "conformance/src/lib.rs",
    "conformance/src/main.rs",
    "tests/nats/src/lib.rs",
    "tests/wire/src/lib.rs",
];

#[test]
fn files_name_each_other_without_circles() {
    let read = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).ok();
    let found: Vec<String> = ROOTS.iter().flat_map(|root| circles::circles(root, &read)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_are_short_enough_to_be_read() {
    let too_long: Vec<String> = sources("src")
        .into_iter()
        .map(|(file, source)| (source.lines().take_while(|line| *line != "mod tests {").count(), file))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, file)| format!("{file}: {lines} lines"))
        .collect();
    assert!(too_long.is_empty(), "more than {LINES_MAX} lines:\n{}", too_long.join("\n"));
}

/// The lines and paths to which the rules object.
fn objected(file: &str, source: &str) -> Vec<(usize, String)> {
    let crates = ["tokio", "serde", "bytes", "mqttbytes", "rand"].map(str::to_owned);
    violations(file, source, &crates).into_iter().map(|violation| (violation.line, violation.path)).collect()
}

#[test]
fn an_import_from_above_is_found() {
    let source = "use std::sync::Arc;\n\nuse bytes::Bytes;\nuse crate::broker::Shard;\n";
    assert_eq!(objected("src/session/machine.rs", source), [(4, "crate::broker::Shard".to_owned())]);
    assert_eq!(objected("src/server/mod.rs", source), []);
}

#[test]
fn neighbours_may_not_name_each_other() {
    let found = objected("src/routing/mod.rs", "use crate::{codec::Qos, session::{Event, Session}};");
    assert_eq!(found, [(1, "crate::session::Event".to_owned()), (1, "crate::session::Session".to_owned())]);
    assert_eq!(
        objected("src/session/mod.rs", "use super::routing::Access;"),
        [(1, "crate::routing::Access".to_owned())]
    );
    assert_eq!(objected("src/session/a/b.rs", "use super::super::super::routing::X;").len(), 1);
    assert_eq!(objected("src/session/a/b.rs", "use super::super::machine::X;"), []);
}

#[test]
fn the_world_is_out_of_reach_for_what_is_pure() {
    let source = "fn now() -> u64 {\n    std::time::SystemTime::now();\n    let x: std::net::TcpStream;\n    tokio::spawn(x)\n}\n";
    let found: Vec<usize> = objected("src/broker/shard.rs", source).into_iter().map(|(line, _)| line).collect();
    assert_eq!(found, [2, 3, 4]);
    assert_eq!(objected("src/broker/event.rs", "use std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;"), []);
    assert_eq!(objected("src/broker/event.rs", "use std::{fmt, fs::File};").len(), 1);
    assert_eq!(objected("src/broker/event.rs", "use std::net::*;").len(), 1);
    assert_eq!(objected("src/store/log.rs", "use std::fs::File;\nuse tokio::fs;"), [(2, "tokio::fs".to_owned())]);
}

#[test]
fn the_parts_of_the_shell_have_an_order() {
    for above in ["server", "admin", "broker", "session", "store"] {
        assert_eq!(objected("src/auth/mod.rs", &format!("use crate::{above}::X;")).len(), 1, "{above}");
    }
    for above in ["admin", "session"] {
        assert_eq!(objected("src/server/mod.rs", &format!("use crate::{above}::X;")).len(), 1, "{above}");
    }
    assert_eq!(objected("src/admin/mod.rs", "use crate::{auth::X, session::Y};").len(), 2);
    assert_eq!(objected("src/admin/mod.rs", "use crate::{broker::X, server::Status};"), []);
}

#[test]
fn a_part_of_a_module_can_be_pure() {
    assert_eq!(objected("src/cluster/reader.rs", "use super::entry::Entry;\nuse tokio::time;").len(), 1);
    assert_eq!(objected("src/cluster/reader.rs", "use super::engine::Engine;").len(), 1);
    assert_eq!(objected("src/cluster/reader.rs", "use crate::config::Cluster;").len(), 1);
    assert_eq!(objected("src/cluster/nats/mod.rs", "use super::reader::Reader;\nuse tokio::time;"), []);
    assert_eq!(objected("src/cluster/nats/mod.rs", "use crate::server::Server;").len(), 1);
}

#[test]
fn the_client_library_of_nats_is_named_in_one_folder() {
    for (file, source) in sources("src") {
        let is_its_place = file.starts_with("src/cluster/nats/");
        let tokens = tokens(&source);
        let is_named = paths(&tokens).iter().any(|(_, path)| path.first().is_some_and(|name| name == "async_nats"));
        assert!(is_its_place || !is_named, "{file}");
    }
}

#[test]
fn a_crate_has_its_place() {
    assert_eq!(objected("src/codec/v3.rs", "use mqttbytes::v4;"), []);
    for file in ["src/session/x.rs", "src/server/x.rs", "src/store/x.rs"] {
        assert_eq!(objected(file, "fn f() { mqttbytes::v4::read() }").len(), 1, "{file}");
    }
    assert_eq!(objected("src/codec/publish.rs", "#[derive(serde::Serialize)]\nstruct X;").len(), 1);
    assert_eq!(objected("src/codec/publish.rs", "use crate::config::Limits;").len(), 1);
    assert_eq!(objected("src/broker/shard.rs", "use crate::config::Limits;").len(), 1);
}

#[test]
fn comments_texts_and_tests_are_not_code() {
    let source = r####"
//! [`tokio::spawn`]
/* use tokio::net; /* nested */ use tokio::fs; */
const A: &str = "use tokio::net; \" tokio::fs";
const B: &str = r#"tokio::net " tokio::fs"#;
const C: char = '"';
fn f<'a>(tokio: &'a str) -> &'a str { tokio }
#[cfg(test)]
mod tests {
    use tokio::net;
    fn g() { {} }
}
"####;
    assert_eq!(objected("src/codec/frame.rs", source), []);
    let behind = format!("{source}\nuse tokio::io;\n");
    assert_eq!(objected("src/codec/frame.rs", &behind).len(), 1, "what follows the tests is code again");
}

#[test]
fn a_module_without_a_place_is_found() {
    assert_eq!(objected("src/utils.rs", "").len(), 1);
    assert_eq!(objected("src/lib.rs", "pub mod broker;"), []);
}
