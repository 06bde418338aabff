use serde::{Deserialize, Serialize};

/// What is written to standard error while running: `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important lines that are written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            // Connects, disconnects and refusals; nothing that grows with the messages.
            level: LogLevel::Info,
            // A person reads it first.
            format: LogFormat::Text,
        }
    }
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something failed that shouldn't.
    Error,
    /// Something an operator should look at.
    Warn,
    /// What happens to connections.
    Info,
    /// What happens to sessions.
    Debug,
    /// Every packet.
    Trace,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object, for machines.
    Json,
}
