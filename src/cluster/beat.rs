use serde::{Deserialize, Serialize};

/// What a node says of itself about once a second, in the table of nodes.
///
/// In JSON. Fields of later versions are passed over, so that nodes can be upgraded one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// The random number of the cluster, in hexadecimal.
    pub(super) cluster: String,
    /// A random number of the process.
    pub(super) process: u64,
    /// Rises by one each time.
    pub(super) number: u64,
    /// The epoch of which it is the owner; 0: it is not the owner.
    pub(super) epoch: u64,
    /// Where clients reach it: host and port.
    pub(super) advertise: String,
    /// The position in the stream up to which its copy is on its disk; 0: it has none.
    pub(super) position: u64,
    /// The log sequence behind its copy.
    pub(super) sequence: u64,
    /// Whether it can become the owner.
    pub(super) is_candidate: bool,
    /// The owner hands over: to the node with this name, or to the one with the furthest copy if the name is empty.
    #[serde(default)]
    pub(super) hands_over_to: Option<String>,
    /// The position below which the owner has removed all commits from the stream.
    #[serde(default)]
    pub(super) trimmed: u64,
    /// It has a log that is not a copy of this stream, whose own stream may be lost.
    #[serde(default)]
    pub(super) has_other_log: bool,
    /// The version of the broker.
    #[serde(default)]
    pub(super) version: String,
}

impl Beat {
    /// The bytes for the table.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes what a node has written. `None`: it is not a beat, or longer than 4 KiB.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}

const BYTES_MAX: usize = 4 << 10;
