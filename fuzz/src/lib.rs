//! The fuzz targets. Each takes arbitrary bytes, and panics if the broker does what it must not do.
//!
//! libFuzzer calls them from `fuzz_targets/`, and `tests/fuzz.rs` from the tests of the broker, without libFuzzer.

mod admin;
mod batch;
mod choices;
mod decode;
mod encode;
mod files;
mod import;
mod listener;
mod mosquitto_db;
mod recovery;
mod scram;
mod shadow;
mod shard;
mod sink;
mod store_fetch;
mod stream;
mod tokens;
mod tunnel;
mod user_properties;

/// Every target: its name, its function, and how often the tests call it with mutated seeds.
pub const TARGETS: [Target; 23] = [
    Target { name: "acl", run: files::acl, runs: 400 },
    Target { name: "admin", run: admin::admin, runs: 150 },
    Target { name: "batch", run: batch::batch, runs: 3_000 },
    Target { name: "config", run: files::config, runs: 400 },
    Target { name: "decode", run: decode::decode, runs: 3_000 },
    Target { name: "dynsec", run: import::dynsec, runs: 300 },
    Target { name: "encode", run: encode::encode, runs: 3_000 },
    Target { name: "mosquitto_conf", run: import::conf, runs: 300 },
    Target { name: "mosquitto_db", run: mosquitto_db::mosquitto_db, runs: 3_000 },
    Target { name: "opening", run: listener::opening, runs: 2_000 },
    Target { name: "passwords", run: files::passwords, runs: 400 },
    Target { name: "proxy", run: listener::proxy, runs: 5_000 },
    Target { name: "recovery", run: recovery::recovery, runs: 1_000 },
    Target { name: "scram", run: scram::scram, runs: 2_000 },
    Target { name: "shard", run: shard::shard, runs: 1_000 },
    Target { name: "sink", run: sink::sink, runs: 2_000 },
    Target { name: "store_fetch", run: store_fetch::store_fetch, runs: 1_000 },
    Target { name: "stream", run: stream::stream, runs: 1_000 },
    Target { name: "tls_files", run: files::tls, runs: 400 },
    Target { name: "tokens", run: tokens::tokens, runs: 2_000 },
    Target { name: "tunnel", run: tunnel::tunnel, runs: 3_000 },
    Target { name: "user_properties", run: user_properties::user_properties, runs: 3_000 },
    Target { name: "websocket", run: listener::websocket, runs: 2_000 },
];

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its file in `fuzz_targets/` and of its folder in `seeds/`.
    pub name: &'static str,
    /// Panics if the broker does what it must not do with these bytes.
    pub run: fn(&[u8]),
    /// How often the tests call it.
    pub runs: u32,
}

/// Calls the target with this name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a name of the table").run)(input);
}
