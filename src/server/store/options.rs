use std::path::{Path, PathBuf};

use crate::broker::Durability;
use crate::config::Config;
use crate::server::settings::durability;
use crate::store::{self, Level, Options};

/// The store's directory in this data directory.
pub fn store_directory(data: &Path) -> PathBuf {
    data.join("log")
}

pub(in crate::server) const fn level(durability: Durability) -> Level {
    match durability {
        Durability::PowerLoss => Level::PowerLoss,
        Durability::Crash => Level::Crash,
        Durability::None => Level::None,
    }
}

/// How the store of this configuration is opened.
pub fn store_options(config: &Config) -> Options {
    let (level, segment_bytes) = (level(durability(config.strongest_durability())), segment_bytes(config));
    Options { level, strict: config.server.strict_recovery, segment_bytes, ..Options::default() }
}

/// The size of the segments of the store, in bytes.
pub(in crate::server) fn segment_bytes(config: &Config) -> u64 {
    let fitting = || store::fitting_segment_bytes(&store_directory(&config.server.data));
    config.server.segment_size.map_or_else(fitting, u64::from)
}
