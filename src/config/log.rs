use serde::{Deserialize, Deserializer, Serialize};

use super::Problem;
use super::value::text_list;

/// The log on standard error: `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Minimum level of the lines that are written.
    pub level: LogLevel,
    /// Format of a line.
    pub format: LogFormat,
    /// The clients whose details `debug` and `trace` write: patterns of Client Identifiers with `*` and `?`; none: all clients.
    #[serde(deserialize_with = "patterns")]
    pub clients: Vec<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            // Connects, disconnects and refusals; the volume does not grow with the messages.
            level: LogLevel::Info,
            // Text is easier to read on a terminal.
            format: LogFormat::Text,
            // Who asks for details and names no client wants them all.
            clients: Vec::new(),
        }
    }
}

/// Level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A failure that should not happen.
    Error,
    /// A condition that needs an operator's attention.
    Warn,
    /// Events of connections.
    Info,
    /// Publishes, subscriptions, and the life of sessions and Wills: a line for each message.
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

impl Log {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.clients.len() > PATTERNS_MAX {
            problems.push(Problem::new("log.clients", &format!("must be at most {PATTERNS_MAX} patterns")));
        }
        if self.clients.iter().any(|pattern| pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX) {
            let text = format!("must be patterns of 1 to {PATTERN_BYTES_MAX} bytes");
            problems.push(Problem::new("log.clients", &text));
        }
        problems
    }
}

impl LogLevel {
    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Each detail is compared with every pattern.
const PATTERNS_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 256;

/// A list of patterns, or a text with commas between them, as flags and environment variables need it.
fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    text_list(deserializer, "a list of patterns such as [\"sensor-*\"]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(clients: &str) -> Result<Log, toml::de::Error> {
        toml::from_str(&format!("clients = {clients}"))
    }

    #[test]
    fn patterns_are_a_list_or_a_text_with_commas() {
        assert_eq!(log(r#"["a*", "b,c"]"#).unwrap().clients, ["a*", "b,c"]);
        assert_eq!(log(r#""a*, b""#).unwrap().clients, ["a*", "b"]);
        assert_eq!(log(r#""""#).unwrap().clients, [""; 0]);
        let error = log("7").unwrap_err().to_string();
        assert!(error.contains("a list of patterns such as"), "{error}");
    }

    #[test]
    fn the_number_and_the_length_of_patterns_are_bounded() {
        let problems = |clients: Vec<String>| Log { clients, ..Log::default() }.problems().len();
        assert_eq!(problems(vec!["a".to_owned(); PATTERNS_MAX]), 0);
        assert_eq!(problems(vec!["a".to_owned(); PATTERNS_MAX + 1]), 1);
        assert_eq!(problems(vec![String::new()]), 1);
        assert_eq!(problems(vec!["a".repeat(PATTERN_BYTES_MAX + 1)]), 1);
    }
}
