//! The real binary with limits and faults of the operating system, killed and started again with the same data.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;
use wire::free_port;

use crate::deadline::wait_for;

/// A broker with one shard, without admin listener.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    log: PathBuf,
    directory: TempDir,
    /// What precedes the broker in the script that starts it, such as `ulimit -n 100 &&`.
    before: &'static str,
    settings: &'static str,
}

impl Process {
    #[track_caller]
    pub(crate) fn start(before: &'static str, settings: &'static str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), before, settings)
    }

    #[track_caller]
    fn start_in(directory: TempDir, before: &'static str, settings: &'static str) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (log, config) = (directory.path().join("log"), directory.path().join("oncemq.toml"));
        fs::write(&config, settings).unwrap();
        let output = fs::File::create(&log).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_oncemq")]);
        command.args(["--listen", &address.to_string(), "--admin", "off", "--allow-anonymous"]);
        command.args(["--set", "server.shards=1", "--config"]).arg(config);
        command.arg("--data").arg(directory.path().join("data"));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let process = Self { child: command.spawn().unwrap(), address, log, directory, before, settings };
        process.wait_for_line(" is open");
        process
    }

    /// Kills it with SIGKILL, and starts it again without limits.
    #[track_caller]
    pub(crate) fn kill_and_restart(mut self) -> Self {
        self.kill();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let (before, settings) = (self.before, self.settings);
        drop(self);
        Self::start_in(directory, before, settings)
    }

    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    #[track_caller]
    pub(crate) fn wait_for_line(&self, line: &str) {
        wait_for(line, || self.log_text().contains(line).then_some(()));
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> String {
        self.directory.path().join("data").display().to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        run("kill", &["-s", name, &self.pid().to_string()]);
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        wait_for("the end of the process", || self.child.try_wait().unwrap())
    }

    /// Injects a fault into the calls of fdatasync, until the end of the tracer or the process.
    #[track_caller]
    pub(crate) fn inject(&self, fault: &str) -> Tracer {
        let injection = format!("inject=fdatasync:{fault}");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &self.pid().to_string()]);
        command.args(["-e", "trace=fdatasync", "-e", &injection]).stdin(Stdio::null());
        let tracer = Tracer(command.spawn().expect("faults of the disk need strace"));
        let tasks = format!("/proc/{}/task", self.pid());
        wait_for("the tracer", || {
            let is_traced = |task: fs::DirEntry| {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                !status.contains("TracerPid:\t0\n")
            };
            fs::read_dir(&tasks).unwrap().flatten().all(is_traced).then_some(())
        });
        tracer
    }

    /// Lets the process open no more files.
    pub(crate) fn take_descriptors(&self) {
        let used = |number: &usize| fs::symlink_metadata(format!("/proc/{}/fd/{number}", self.pid())).is_ok();
        let lowest_free = (0..).find(|number| !used(number)).unwrap();
        self.limit_descriptors(lowest_free);
    }

    pub(crate) fn limit_descriptors(&self, limit: usize) {
        run("prlimit", &["--pid", &self.pid().to_string(), &format!("--nofile={limit}:")]);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("the broker's log:\n{}", self.log_text());
        }
    }
}

/// strace. Dropping it ends the faults.
pub(crate) struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}
