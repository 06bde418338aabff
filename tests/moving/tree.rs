//! The copy of a machine's files for one run: published ports and paths are replaced by free and temporary ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use wire::free_port;

/// The files of one machine.
pub(crate) struct Tree {
    root: PathBuf,
    /// The main configuration file.
    pub(crate) config: PathBuf,
    /// Published ports, and those that stand for them.
    pub(crate) ports: BTreeMap<u16, u16>,
    /// Unix sockets of listeners.
    pub(crate) sockets: Vec<PathBuf>,
    /// Whether no file has a listener: mosquitto listens on loopback at port 1883 then.
    pub(crate) is_local_only: bool,
}

impl Tree {
    /// Copies `from` to `root`; `remote` are the ports of the broker behind bridges.
    pub(crate) fn copy(from: &Path, root: &Path, remote: &BTreeMap<u16, u16>) -> Self {
        let (root, config, ports, sockets) = (root.to_owned(), PathBuf::new(), BTreeMap::new(), Vec::new());
        let mut tree = Self { root: root.clone(), config, ports, sockets, is_local_only: true };
        tree.copy_directory(from, &root, remote);
        assert!(tree.config.exists(), "no mosquitto.conf in {}", from.display());
        if tree.is_local_only {
            tree.ports.insert(1883, free_port());
        }
        if rustix::process::geteuid().is_root() {
            let text = fs::read_to_string(&tree.config).unwrap();
            let others =
                text.lines().filter(|line| !line.starts_with("user ")).fold(String::new(), |mut text, line| {
                    writeln!(text, "{line}").unwrap();
                    text
                });
            // Otherwise mosquitto becomes a user that cannot read the copy.
            fs::write(&tree.config, format!("user root\n{others}")).unwrap();
        }
        tree
    }

    /// Where a published path is.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn copy_directory(&mut self, from: &Path, to: &Path, remote: &BTreeMap<u16, u16>) {
        fs::create_dir_all(to).unwrap();
        let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for from in entries {
            let to = to.join(from.file_name().unwrap());
            if from.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&from).unwrap(), to).unwrap();
            } else if from.is_dir() {
                self.copy_directory(&from, &to, remote);
            } else if from.extension().is_some_and(|extension| extension == "conf") {
                let text = fs::read_to_string(&from).unwrap();
                let lines = text.lines().map(|line| self.rewrite(line, remote)).collect::<Vec<_>>();
                // Files of Windows keep their line ends.
                let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
                fs::write(&to, lines.join(end) + end).unwrap();
                if to.file_name().unwrap() == "mosquitto.conf" {
                    self.config = to;
                }
            } else {
                fs::copy(&from, &to).unwrap();
                // As for passwords and keys, which others must not read.
                fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }

    fn rewrite(&mut self, line: &str, remote: &BTreeMap<u16, u16>) -> String {
        let mut words = line.split_whitespace();
        let (option, values) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
        match (option, &values[..]) {
            ("listener" | "port", [port, rest @ ..]) => {
                self.is_local_only = false;
                let port: u16 = port.parse().unwrap();
                let stands_for = match rest.first().filter(|_| port == 0) {
                    Some(path) => {
                        self.sockets.push(self.place(path));
                        0
                    }
                    None => *self.ports.entry(port).or_insert_with(free_port),
                };
                let rest: String = rest.iter().map(|word| format!(" {}", self.placed(word))).collect();
                format!("{option} {stands_for}{rest}")
            }
            ("address" | "addresses", values) => {
                let places = values.iter().map(|value| {
                    let port = value.rsplit_once(':').map_or(1883, |(_, port)| port.parse().unwrap());
                    format!(" localhost:{}", remote.get(&port).unwrap_or_else(|| panic!("no remote port {port}")))
                });
                option.to_owned() + &places.collect::<String>()
            }
            ("plugin" | "auth_plugin", [path]) if path.ends_with("mosquitto_dynamic_security.so") => {
                format!("{option} {}", dynamic_security().display())
            }
            ("topic" | "mount_point", _) => line.to_owned(),
            ("log_dest", ["file", path]) => format!("{option} file {}", self.placed(path)),
            (_, [path]) if path.starts_with('/') => {
                let directory = option == "persistence_location" || option == "include_dir";
                let placed = self.placed(path);
                if directory {
                    fs::create_dir_all(&placed).unwrap();
                }
                format!("{option} {placed}")
            }
            _ => line.to_owned(),
        }
    }

    /// Replaces a published path, whose directory exists then; other words are returned as they are.
    fn placed(&self, word: &str) -> String {
        if !word.starts_with('/') {
            return word.to_owned();
        }
        let place = self.place(word);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let slash = if word.ends_with('/') { "/" } else { "" };
        format!("{}{slash}", place.display().to_string().trim_end_matches('/'))
    }
}

/// The plugin of the installed mosquitto, or that of `ONCEMQ_TEST_MOSQUITTO_PLUGINS`.
#[expect(clippy::disallowed_methods, reason = "the choice is made on the command line that runs the tests")]
fn dynamic_security() -> PathBuf {
    if let Ok(directory) = std::env::var("ONCEMQ_TEST_MOSQUITTO_PLUGINS") {
        return Path::new(&directory).join("mosquitto_dynamic_security.so");
    }
    let libraries = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found = libraries
        .chain([PathBuf::from("/usr/lib"), PathBuf::from("/usr/local/lib")])
        .map(|library| library.join("mosquitto_dynamic_security.so"));
    found
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("mosquitto_dynamic_security.so: `bash tests/run` installs it"))
}
