//! A PostgreSQL server of its own for a test, with Debian's binaries.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;
use wire::free_port;

use crate::certificates;
use crate::deadline::{wait_for, wait_for_end};

/// A server with the database `iot`, and the role `mqtt`, whose password over TCP is [`PASSWORD`].
pub(crate) struct Database {
    directory: TempDir,
    binaries: PathBuf,
    child: Option<Child>,
    port: u16,
}

impl Database {
    /// Starts a server, and runs this SQL as its administrator.
    #[track_caller]
    pub(crate) fn start(sql: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        let mut database = Self { binaries: binaries(), child: None, port: free_port(), directory };
        let home = database.path("home");
        fs::create_dir(&home).unwrap();
        own(&home);
        let data = database.path("home/data");
        let mut initdb = as_server_user(&database.binaries.join("initdb"));
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--username=postgres"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", "-D"]).arg(&data);
        let output = initdb.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        certificates::write(database.directory.path());
        for name in ["server.pem", "server.key"] {
            let copy = data.join(name);
            fs::copy(database.path(name), &copy).unwrap();
            fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
            own(&copy);
        }
        fs::write(database.path("password"), format!("{PASSWORD}\n")).unwrap();
        database.start_again();
        database.run_in("postgres", &format!("CREATE ROLE mqtt LOGIN PASSWORD '{PASSWORD}'"));
        database.run_in("postgres", "CREATE DATABASE iot OWNER postgres");
        database.run(sql);
        database
    }

    /// Starts the server, which was stopped.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let mut command = as_server_user(&self.binaries.join("postgres"));
        command.arg("-D").arg(self.path("home/data")).arg("-k").arg(self.path("home"));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_for("the database server", || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(self.path("log")).unwrap());
            self.psql("postgres").args(["-c", "SELECT 1"]).output().unwrap().status.success().then_some(())
        });
    }

    /// Stops the server at once, with the connections of its clients.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // `postgres` is the process itself: `setpriv` has replaced itself by it.
            let kill = Command::new("sh").arg("-c").arg(format!("kill -QUIT {}", child.id())).status().unwrap();
            assert!(kill.success());
            wait_for_end("the database server", &mut child);
        }
    }

    /// Runs SQL in the database `iot` as its administrator, and returns what it prints.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) -> String {
        self.run_in("iot", sql)
    }

    #[track_caller]
    fn run_in(&self, database: &str, sql: &str) -> String {
        let mut command = self.psql(database);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.binaries.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-h"]);
        command.arg(self.path("home")).args(["-p", &self.port.to_string()]);
        command
    }

    /// Its URL over TCP.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://mqtt@127.0.0.1:{}/iot", self.port)
    }

    /// Its URL by the Unix socket, which needs no password.
    pub(crate) fn socket_url(&self) -> String {
        let folder = self.path("home").display().to_string().replace('/', "%2F");
        format!("postgresql://mqtt@{folder}:{}/iot", self.port)
    }

    /// A file: `password` has the password of the role, and `ca.pem` and `stranger-ca.pem` are authorities.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(Command::new("sh").arg("-c").arg(format!("kill -QUIT {}", child.id())).status());
            drop(child.wait());
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!(
                "the end of the log of the database server:\n{}",
                lines[lines.len().saturating_sub(40)..].join("\n")
            );
        }
    }
}

/// The folder of the newest version.
fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("the package postgresql is installed: see tests/run");
    let versions = versions.filter_map(|version| version.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("a version of PostgreSQL");
    Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin")
}

/// PostgreSQL refuses to run as root.
fn as_server_user(program: &Path) -> Command {
    if id(&["-u"]) != 0 {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program).current_dir("/");
    command
}

fn own(path: &Path) {
    if id(&["-u"]) == 0 {
        chown(path, Some(id(&["-u", "postgres"])), Some(id(&["-g", "postgres"]))).unwrap();
    }
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// The password of the role `mqtt`.
pub(crate) const PASSWORD: &str = "geheim des Brokers";
/// A small server that keeps nothing.
const SETTINGS: [&str; 7] = [
    "fsync=off",
    "log_connections=on",
    "max_connections=20",
    "shared_buffers=4MB",
    "ssl=on",
    "ssl_cert_file=server.pem",
    "ssl_key_file=server.key",
];
