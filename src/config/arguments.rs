use std::path::PathBuf;

use super::ConfigError;
use super::origin::{Change, Origin, Override};

/// The flags of the command line that set something.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Arguments {
    /// Read the configuration from this TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen for MQTT over TCP here, instead of all other listeners; can be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<String>,
    /// Keep everything that outlives the process in this directory
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Let everyone in without a user name
    #[arg(long)]
    allow_anonymous: bool,
    /// What an acknowledged message survives: power-loss, crash or none
    #[arg(long, value_name = "LEVEL")]
    durability: Option<String>,
    /// Another level for the topics of a filter, instead of all rules of the file: telemetry/#=none; can be repeated, and the
    /// first that matches counts
    #[arg(long, value_name = "FILTER=LEVEL")]
    durability_rule: Vec<String>,
    /// Refuse to start when a part of the store is damaged, instead of setting it aside
    #[arg(long)]
    strict_recovery: bool,
    /// Threads that serve clients; 0: one for each core
    #[arg(long, value_name = "NUMBER")]
    shards: Option<String>,
    /// Users and the hashes of their passwords (see oncemq passwd)
    #[arg(long, value_name = "FILE")]
    password_file: Option<String>,
    /// Who may publish and subscribe to what, in mosquitto's syntax
    #[arg(long, value_name = "FILE")]
    acl_file: Option<String>,
    /// Offer metrics and health over HTTP here, or "off"
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
    /// The least important log lines that are written: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How a log line looks: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Set any other setting: --set limits.connections_max=500; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// The flags that say where a broker keeps its data, for commands about that.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DataArguments {
    /// Read the configuration from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker's data directory
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where the running broker offers metrics and health
    #[arg(long, value_name = "ADDR:PORT")]
    admin: Option<String>,
}

impl From<DataArguments> for Arguments {
    fn from(DataArguments { config, data, admin }: DataArguments) -> Self {
        Self { config, data, admin, ..Self::default() }
    }
}

impl Arguments {
    /// What the flags change, in an order of their own: a flag with a name beats `--set`.
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
