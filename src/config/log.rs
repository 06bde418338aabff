use serde::{Deserialize, Serialize};

/// The log on standard error: `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Minimum level of the lines that are written.
    pub level: LogLevel,
    /// Format of a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            // Connects, disconnects and refusals; the volume does not grow with the messages.
            level: LogLevel::Info,
            // Text is easier to read on a terminal.
            format: LogFormat::Text,
        }
    }
}

/// Level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A failure that should not happen.
    Error,
    /// A condition that needs an operator's attention.
    Warn,
    /// Events of connections.
    Info,
    /// Events of sessions.
    Debug,
    /// Every packet.
    Trace,
}

/// Format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}
