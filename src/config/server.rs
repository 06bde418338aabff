use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::value::{duration, optional_size};

/// The process: `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Data directory. The broker creates it if it does not exist.
    pub data: PathBuf,
    /// What an acknowledged message survives, if no durability rule matches its topic.
    pub durability: Durability,
    /// Whether the broker refuses to start if a part of the store is damaged, instead of setting it aside.
    pub strict_recovery: bool,
    /// Size of a segment of the store and of its reserve for a full disk, in bytes; `None`: it follows the size of the disk.
    #[serde(with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub segment_size: Option<u32>,
    /// Number of threads that serve clients. 0 means one for each core.
    pub shards: u16,
    /// What becomes of a stream that is not in the configuration any more.
    pub streams_unlisted: UnlistedStreams,
    /// Whether certificates, revocation lists, password file and ACL file are read again when they change, without a reload.
    pub watch_files: bool,
    /// Time limit for a shutdown: disconnecting clients and writing all pending data.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            // A directory below the working directory needs no privileges.
            data: PathBuf::from("./oncemq-data"),
            // A client that receives an acknowledgement deletes its own copy.
            durability: Durability::PowerLoss,
            // Clients can use the intact part, and the damaged part is kept and reported.
            strict_recovery: false,
            // Devices with a small partition for data and servers need different sizes.
            segment_size: None,
            // A shard uses at most one core, so more shards than cores only compete for them.
            shards: 0,
            // A mistake in a file must not cost messages.
            streams_unlisted: UnlistedStreams::Keep,
            // A file is in force when its operator says so, as with other servers: half an edit never is. Programs that renew certificates
            // have a hook for the reload.
            watch_files: false,
            // Container engines kill a process ten seconds after they ask it to stop.
            drain_timeout: Duration::from_secs(8),
        }
    }
}

impl Server {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.data.as_os_str().is_empty() {
            problems.push(Problem::new("server.data", "must name a directory"));
        }
        if self.segment_size.is_some_and(|size| !(SEGMENT_SIZE_MIN..=SEGMENT_SIZE_MAX).contains(&size)) {
            problems.push(Problem::new("server.segment_size", "must be from 64KiB to 1GiB"));
        }
        problems
    }
}

/// Half of it is the largest packet.
const SEGMENT_SIZE_MIN: u32 = 64 << 10;
/// Offsets in a segment have 32 bits.
const SEGMENT_SIZE_MAX: u32 = 1 << 30;

/// What becomes of a stream that is not in the configuration any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnlistedStreams {
    /// It takes no new messages, and keeps those that it has.
    Keep,
    /// It is removed for ever, with its messages.
    Remove,
}

/// What an acknowledged message survives, ordered from the strongest level to the weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Power loss: it is synced to the disk.
    PowerLoss,
    /// A crash of the broker: it is written to the operating system.
    Crash,
    /// Nothing: it is kept in memory only.
    None,
}
