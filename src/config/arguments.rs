use std::path::PathBuf;

use super::ConfigError;
use super::origin::{Change, Origin, Override};

/// The command-line flags that change settings.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Arguments {
    /// Read the configuration from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Start from this configuration of mosquitto; `oncemq import mosquitto` shows what becomes of it
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub mosquitto_conf: Option<PathBuf>,
    /// Listen for MQTT over TCP here, replacing all other listeners; can be repeated. A port alone stands for all addresses of the machine
    #[arg(long, value_name = "[ADDR:]PORT")]
    listen: Vec<String>,
    /// Data directory
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Accept clients without authentication
    #[arg(long)]
    allow_anonymous: bool,
    /// What an acknowledged message survives: power-loss, crash or none
    #[arg(long, value_name = "LEVEL")]
    durability: Option<String>,
    /// Durability of the topics that match a filter, replacing all rules of the file: telemetry/#=none; can be
    /// repeated, the first rule that matches applies
    #[arg(long, value_name = "FILTER=LEVEL")]
    durability_rule: Vec<String>,
    /// Refuse to start if a part of the store is damaged, instead of setting it aside
    #[arg(long)]
    strict_recovery: bool,
    /// Number of threads that serve clients; 0 means one for each core
    #[arg(long, value_name = "NUMBER")]
    shards: Option<String>,
    /// File with user names and password hashes (see oncemq passwd)
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// File with access rules, in mosquitto's ACL syntax
    #[arg(long, value_name = "FILE")]
    acl_file: Option<String>,
    /// Serve metrics and health over HTTP at this address, or "off"
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// Minimum level of the log lines: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Format of a log line: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set any other setting: --set limits.connections_max=500; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// The flags that locate a broker's data and its admin listener, for commands that work on them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DataArguments {
    /// Read the configuration from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker's data directory
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Address of the running broker's admin listener
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
}

/// The flags that locate a broker's data, for commands that ask the running broker through the socket there.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LocationArguments {
    /// Read the configuration, which names the data directory, from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker's data directory
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

impl From<LocationArguments> for Arguments {
    fn from(LocationArguments { config, data }: LocationArguments) -> Self {
        Self { config, data, ..Self::default() }
    }
}

impl From<DataArguments> for Arguments {
    fn from(DataArguments { config, data, admin }: DataArguments) -> Self {
        Self { config, data, admin, ..Self::default() }
    }
}

impl Arguments {
    /// The settings that the flags change. A flag of its own comes after `--set`, and so takes precedence.
    pub(super) fn overrides(&self) -> Result<Vec<Override>, ConfigError> {
        let mut overrides = Vec::new();
        for setting in &self.set {
            let origin = Origin::Flag("--set".to_owned());
            let Some((key, value)) = setting.split_once('=') else {
                let text = format!("`{setting}` must be KEY=VALUE, such as limits.connections_max=500");
                return Err(ConfigError::Override { origin, text });
            };
            let change = Change::Setting(key.trim().to_owned(), value.trim().to_owned());
            overrides.push(Override { origin, change });
        }
        let allow_anonymous = self.allow_anonymous.then(|| "true".to_owned());
        let strict_recovery = self.strict_recovery.then(|| "true".to_owned());
        let (admin_enabled, admin_address) = match self.admin.as_deref() {
            Some("off") => (Some("false".to_owned()), None),
            Some(address) => (Some("true".to_owned()), Some(address.to_owned())),
            None => (None, None),
        };
        let named = [
            ("--data", "server.data", &self.data),
            ("--allow-anonymous", "security.allow_anonymous", &allow_anonymous),
            ("--durability", "server.durability", &self.durability),
            ("--strict-recovery", "server.strict_recovery", &strict_recovery),
            ("--shards", "server.shards", &self.shards),
            ("--password-file", "security.password_file", &self.password_file),
            ("--acl-file", "security.acl_file", &self.acl_file),
            ("--admin", "admin.enabled", &admin_enabled),
            ("--admin", "admin.address", &admin_address),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        for (flag, key, value) in named {
            let Some(value) = value.clone() else { continue };
            let change = Change::Setting(key.to_owned(), value);
            overrides.push(Override { origin: Origin::Flag(flag.to_owned()), change });
        }
        if !self.listen.is_empty() {
            let change = Change::Listeners(self.listen.clone());
            overrides.push(Override { origin: Origin::Flag("--listen".to_owned()), change });
        }
        if !self.durability_rule.is_empty() {
            let change = Change::DurabilityRules(self.durability_rule.clone());
            overrides.push(Override { origin: Origin::Flag("--durability-rule".to_owned()), change });
        }
        Ok(overrides)
    }
}
