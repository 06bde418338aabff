//! `oncemq import`: a configuration of another broker, made into one of ours.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use oncemq::import::{self, Existing, FileNames, Outcome, SavedState, Terms};

use super::error::CliError;
use super::import_state::{self, MosquittoDb};
use crate::output::print;

#[derive(Debug, Subcommand)]
pub(crate) enum Import {
    /// Make a configuration of mosquitto's: listeners, TLS, users, access rules, limits and bridges
    Mosquitto(Mosquitto),
    /// Make a data directory of the state that mosquitto has saved; mosquitto must be stopped
    MosquittoDb(MosquittoDb),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq import mosquitto /etc/mosquitto/mosquitto.conf --out oncemq.toml
  oncemq config check oncemq.toml
  oncemq import mosquitto /etc/mosquitto/mosquitto.conf --out oncemq.toml --data /var/lib/oncemq

It writes FILE, files that it names into FILE.d, and FILE.report, which it prints, too. All of them are readable by their owner only. Nothing of
mosquitto's is changed; the same files give the same result. The exit code is 1 if something that keeps clients out can't be carried over: the
listeners that it concerns accept nobody then.")]
pub(crate) struct Mosquitto {
    /// mosquitto's configuration
    conf: PathBuf,
    /// The configuration to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The data directory of the new broker: [server] data. It gets the state that mosquitto has saved, and must not exist or be empty then;
    /// mosquitto must be stopped
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Replace files that exist and have other contents
    #[arg(long)]
    force: bool,
}

pub(super) fn mosquitto(Mosquitto { conf, out, data, force }: &Mosquitto) -> Result<(), CliError> {
    let out = absolute(out)?;
    let data = data.as_deref().map(absolute).transpose()?;
    let title = format!("Made of {} by `oncemq import mosquitto`.", conf.display());
    let terms = Terms { files: import::beside(&out), names: FileNames::Plain, data: data.clone(), title };
    let converted = import::mosquitto(conf, &terms)?;
    import::write(&converted, &out, if *force { Existing::Replaced } else { Existing::Kept })?;
    let _printed = print(converted.report.to_string().trim_end());
    match &converted.state {
        Some(saved) => state(saved, data.as_deref())?,
        None if data.is_some() => {
            let text = "\nNo state is taken over: persistence is off. The database of the plugin persist-sqlite: oncemq import mosquitto-db.";
            let _printed = print(text);
        }
        None => {}
    }
    let guards = converted.report.of(Outcome::Guards).count();
    match guards {
        0 => Ok(()),
        1 => Err(CliError::NotDone("an option that keeps clients out is not carried over: see above".to_owned())),
        _ => Err(CliError::NotDone(format!("{guards} options that keep clients out are not carried over: see above"))),
    }
}

/// Takes over the state that mosquitto has saved, if there is a data directory for it.
fn state(saved: &SavedState, data: Option<&Path>) -> Result<(), CliError> {
    let file = saved.file.display();
    let said = match (saved.file.exists(), data) {
        (true, Some(_)) if saved.has_mount_points => {
            let text = "has no mount points, so the sessions of listeners with mount_point can't be told from others: the state is not taken over";
            return Err(CliError::NotDone(format!("{file} {text}")));
        }
        (true, Some(data)) => {
            let _printed = print("");
            return import_state::of_configuration(saved, data);
        }
        (true, None) => {
            format!("\nThe state in {file} is not taken over: --data DIR writes it to the data directory DIR.")
        }
        (false, _) => format!("\nNo state is taken over: there is no {file}."),
    };
    let _printed = print(&said);
    Ok(())
}

/// The path from the root, because the configuration names files beside it.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}
