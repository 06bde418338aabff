//! What a machine has of its own: networks and mounts. They end with the process that holds them, and with all that use them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces of the operating system for networks and mounts.
#[derive(Debug)]
pub(crate) struct Namespaces {
    holder: Child,
}

impl Namespaces {
    /// Makes new ones.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(crate) fn new() -> Result<Self, String> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", "echo made && exec cat"]);
        let holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let mut namespaces = Self { holder };
        let mut line = String::new();
        let read = namespaces.holder.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        match read {
            Some(Ok(_)) if line == "made\n" => Ok(namespaces),
            _ => Err("namespaces cannot be made".to_owned()),
        }
    }

    /// The words with which a command begins that runs there.
    pub(crate) fn command(&self) -> Vec<String> {
        ["nsenter", "--net", "--mount", "--target", &self.id(), "--"].map(str::to_owned).into()
    }

    /// Where others see a file of its mounts.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.id()).join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What the calling thread connects from now on comes from there.
    ///
    /// # Errors
    /// The system does not permit it.
    pub(crate) fn enter_network(&self) -> Result<(), String> {
        let file = File::open(format!("/proc/{}/ns/net", self.id())).map_err(|error| error.to_string())?;
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(file.as_fd(), network).map_err(|error| error.to_string())
    }

    /// The process that holds them.
    pub(crate) fn id(&self) -> String {
        self.holder.id().to_string()
    }

    /// Runs a command there.
    ///
    /// # Errors
    /// It fails, with what it says.
    pub(crate) fn run(&self, words: &[&str]) -> Result<(), String> {
        self.run_with(words, "")
    }

    /// Runs a command there that reads this.
    ///
    /// # Errors
    /// It fails, with what it says.
    pub(crate) fn run_with(&self, words: &[&str], input: &str) -> Result<(), String> {
        let own = self.command();
        let mut all = own.iter().map(String::as_str).chain(words.iter().copied());
        let mut command = Command::new(all.next().unwrap_or_default());
        command.args(all).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |error: std::io::Error| format!("{words:?}: {error}");
        let mut child = command.spawn().map_err(failed)?;
        // One that does not read it says why.
        drop(child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().map_err(failed)?;
        let reason = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("{words:?} {input}{reason}")) }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
