//! `completion` and `man`: files that follow from the definition of the command line.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use clap_complete::shells::{Bash, Fish, Zsh};

use super::error::CliError;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq completion bash > /etc/bash_completion.d/oncemq
  oncemq completion zsh > /usr/local/share/zsh/site-functions/_oncemq
  oncemq completion fish > ~/.config/fish/completions/oncemq.fish")]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq man /usr/local/share/man/man1  a page for each command: oncemq.1, oncemq-clients.1 and so on")]
pub(crate) struct Man {
    /// An existing directory, or one to create
    directory: PathBuf,
}

pub(super) fn completion(Completion { shell }: Completion, definition: &mut clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(Bash, definition, NAME, &mut script),
        Shell::Zsh => clap_complete::generate(Zsh, definition, NAME, &mut script),
        Shell::Fish => clap_complete::generate(Fish, definition, NAME, &mut script),
    }
    Ok(io::stdout().write_all(&script)?)
}

pub(super) fn man(Man { directory }: Man, definition: clap::Command) -> Result<(), CliError> {
    let made = fs::create_dir_all(&directory).and_then(|()| clap_mangen::generate_to(definition, &directory));
    made.map_err(|source| CliError::File { path: directory, source })
}

/// The name of the program.
const NAME: &str = "oncemq";
