use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::duration;

/// The process itself: `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Directory of everything that outlives the process. It is made if it doesn't exist.
    pub data: PathBuf,
    /// What an acknowledged message survives, if no rule speaks of its topic.
    pub durability: Durability,
    /// Whether to refuse to start when a part of the store can't be read, instead of setting it aside.
    pub strict_recovery: bool,
    /// Threads that serve clients. 0: one for each core.
    pub shards: u16,
    /// How long a stop may take to say goodbye to clients and write what is open.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            // Below the directory it was started in: it needs no rights, and is found again.
            data: PathBuf::from("./oncemq-data"),
            // An acknowledgement should mean it.
            durability: Durability::PowerLoss,
            // Clients need the rest more than nothing; what is damaged is kept and reported.
            strict_recovery: false,
            // A shard is busy on one core at most; more shards than cores only take turns.
            shards: 0,
            // Container engines kill ten seconds after they ask.
            drain_timeout: Duration::from_secs(8),
        }
    }
}

/// What an acknowledged message survives, the strongest level first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Power loss: it is on the disk.
    PowerLoss,
    /// The end of the process: it is with the operating system.
    Crash,
    /// Nothing: it is in memory.
    None,
}
