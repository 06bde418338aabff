//! `passwd`, and the passwords that commands ask for.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, bail};
use oncemq::auth::{Existing, ScramHash, ScramTerms, remove_user, set_password, set_scram_password};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq passwd --create users alice    create the file users with the user alice
  oncemq passwd users bob               add bob, or change the password of bob
  oncemq passwd -D users bob            remove bob
  oncemq passwd --scram -c scram alice  create the file scram with credentials for SCRAM-SHA-256
  oncemq passwd --scram=sha-512 scram bob  add bob with credentials for SCRAM-SHA-512")]
pub(crate) struct Passwd {
    /// Create the password file, which must not exist
    #[arg(short, long, conflicts_with = "delete")]
    create: bool,
    /// Remove the user
    #[arg(short = 'D', long)]
    delete: bool,
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long, conflicts_with = "delete")]
    password_stdin: bool,
    /// Write credentials of SCRAM, for the file of a provider of the type scram
    #[arg(
        long,
        value_name = "HASH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "sha-256",
        conflicts_with = "delete"
    )]
    scram: Option<Hash>,
    /// How often a client of SCRAM hashes its password at each login
    #[arg(long, value_name = "N", requires = "scram", default_value = "4096",
        value_parser = clap::value_parser!(u32).range(4_096..=10_000_000))]
    iterations: u32,
    /// The password file
    file: PathBuf,
    /// The user
    user: String,
}

/// The hash function of SCRAM.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Hash {
    #[value(name = "sha-256")]
    Sha256,
    #[value(name = "sha-512")]
    Sha512,
}

/// Edits the password file. A running broker reads it again on SIGHUP.
pub(crate) fn change(passwd: &Passwd) -> anyhow::Result<()> {
    if passwd.delete {
        return Ok(remove_user(&passwd.file, &passwd.user)?);
    }
    let password = read(&passwd.user, passwd.password_stdin)?;
    let existing = if passwd.create { Existing::Forbidden } else { Existing::Required };
    let Some(hash) = passwd.scram else {
        return Ok(set_password(&passwd.file, existing, &passwd.user, password.as_bytes())?);
    };
    let hash = match hash {
        Hash::Sha256 => ScramHash::Sha256,
        Hash::Sha512 => ScramHash::Sha512,
    };
    let terms = ScramTerms { hash, iterations: passwd.iterations };
    Ok(set_scram_password(&passwd.file, existing, &passwd.user, &password, terms)?)
}

/// The password from standard input, or asked for twice.
pub(super) fn read(user: &str, is_in_input: bool) -> anyhow::Result<String> {
    if is_in_input { read_password() } else { ask_password(user) }
}

fn read_password() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn ask_password(user: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password: use --password-stdin");
    }
    let password =
        rpassword::prompt_password(format!("Password of {user}: ")).context("cannot ask for the password")?;
    if password != rpassword::prompt_password("Again: ").context("cannot ask for the password")? {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(password)
}
