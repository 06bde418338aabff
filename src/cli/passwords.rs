//! `passwd`, and the passwords that commands ask for.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, bail};
use oncemq::auth::{Existing, remove_user, set_password};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq passwd --create users alice    create the file users with the user alice
  oncemq passwd users bob               add bob, or change the password of bob
  oncemq passwd -D users bob            remove bob")]
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
    /// The password file
    file: PathBuf,
    /// The user
    user: String,
}

/// Edits the password file. A running broker reads it again on SIGHUP.
pub(crate) fn change(passwd: &Passwd) -> anyhow::Result<()> {
    if passwd.delete {
        return Ok(remove_user(&passwd.file, &passwd.user)?);
    }
    let password = read(&passwd.user, passwd.password_stdin)?;
    let existing = if passwd.create { Existing::Forbidden } else { Existing::Required };
    Ok(set_password(&passwd.file, existing, &passwd.user, password.as_bytes())?)
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
