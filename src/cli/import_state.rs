//! `oncemq import mosquitto-db`: the state of mosquitto, made into a data directory of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ValueEnum;
use oncemq::import::SavedState;
use oncemq::import::state::{self, Options, Users};
use oncemq::timestamp::WallTime;

use super::error::CliError;
use crate::output::print;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq import mosquitto-db /var/lib/mosquitto/mosquitto.db --dry-run
  oncemq import mosquitto-db /var/lib/mosquitto/mosquitto.db --data /var/lib/oncemq
  oncemq import mosquitto-db mosquitto.db --data data --users ignored --leave-out local.gateway.cloud")]
pub(crate) struct MosquittoDb {
    /// The file that mosquitto has saved: mosquitto.db in its persistence_location
    file: PathBuf,
    /// The new data directory: it must not exist or be empty
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    data: Option<PathBuf>,
    /// Read the whole file, say what would be taken over and what not, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Who gets the sessions
    #[arg(long, value_enum, default_value_t = UsersArgument::Stored)]
    users: UsersArgument,
    /// The client identifier of a session that is not taken over, such as that of a bridge; repeatable
    #[arg(long, value_name = "CLIENT_ID")]
    leave_out: Vec<String>,
    /// The value of persistent_client_expiration in seconds, if mosquitto.conf has one
    #[arg(long, value_name = "SECONDS")]
    persistent_client_expiration: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UsersArgument {
    /// A session with a user name belongs to that user: right if mosquitto verified its users
    Stored,
    /// Each session belongs to the first client that comes: right if mosquitto did not verify user names
    Ignored,
}

pub(super) fn run(command: MosquittoDb) -> Result<(), CliError> {
    let MosquittoDb { file, data, dry_run, users, leave_out, persistent_client_expiration } = command;
    let users = match users {
        UsersArgument::Stored => Users::Stored,
        UsersArgument::Ignored => Users::Ignored,
    };
    let left_out = leave_out.into_iter().collect();
    let options = Options { now: now(), saved_at: None, users, left_out, persistent_client_expiration };
    let Some(data) = data.filter(|_| !dry_run) else {
        let report = state::examine_mosquitto_db(&file, &options)?;
        let _printed = print(report.to_string().trim_end());
        return Ok(());
    };
    take_over(&file, &data, &options)
}

/// Takes over the state that a mosquitto with a known configuration has saved.
pub(super) fn of_configuration(saved: &SavedState, data: &Path) -> Result<(), CliError> {
    let users = if saved.verifies_users { Users::Stored } else { Users::Ignored };
    let left_out = saved.bridges.clone();
    let persistent_client_expiration = saved.persistent_client_expiration;
    let options = Options { now: now(), saved_at: None, users, left_out, persistent_client_expiration };
    take_over(&saved.file, data, &options)
}

fn take_over(file: &Path, data: &Path, options: &Options) -> Result<(), CliError> {
    let report = state::mosquitto_db(file, data, options)?;
    let data = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    // Standard output may be closed: the state is taken over without it.
    let _printed = print(&format!("{report}The data directory {} is complete and synced.", data.display()));
    Ok(())
}

fn now() -> WallTime {
    #[expect(clippy::disallowed_methods, reason = "the broker's clock runs in the broker only")]
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
