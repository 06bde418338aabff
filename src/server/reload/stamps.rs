//! Which files have changed since they were read.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Config, Listener, Provider, Security, Sink};

/// Files that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name in the [`ReloadReport`](super::ReloadReport).
    pub(super) name: String,
    files: Vec<PathBuf>,
}

/// The name of the part with the password file and the ACL file.
pub(super) const ACCESS: &str = "access";
/// That with the files of all sinks.
pub(super) const SINKS: &str = "sinks";

impl Part {
    /// The password files, the ACL files, and those of the providers.
    pub(super) fn access(security: &Security, auth: &[Provider], listeners: &[Listener]) -> Self {
        let of_provider = |provider: &'_ Provider| {
            [&provider.file, &provider.secret_file, &provider.public_key_file].map(Option::clone)
        };
        let own = auth.iter().flat_map(of_provider).flatten();
        let of_listeners =
            listeners.iter().flat_map(|listener| listener.password_file.iter().chain(&listener.acl_file));
        let shared = security.password_file.iter().chain(&security.acl_file);
        let files = shared.chain(of_listeners).cloned().chain(own).collect();
        Self { name: ACCESS.to_owned(), files }
    }

    /// The files of a listener with TLS.
    pub(super) fn certificates(listener: &Listener) -> Option<Self> {
        let tls = listener.tls.as_ref()?;
        let own = tls.certificate_files().flat_map(|(certificate, key)| [certificate, key]);
        let of_clients = tls.client_ca.iter().chain(&tls.crl).map(PathBuf::as_path);
        let files = own.chain(of_clients).map(Path::to_path_buf).collect();
        Some(Self { name: format!("certificates of {}", listener.label()), files })
    }

    fn sinks(sinks: &[Sink]) -> Self {
        let of = |sink: &'_ Sink| {
            [&sink.url_file, &sink.headers_file, &sink.secret_file, &sink.ca, &sink.certificate, &sink.key]
                .map(Option::clone)
        };
        Self { name: SINKS.to_owned(), files: sinks.iter().flat_map(of).flatten().collect() }
    }
}

/// What the system says about a file: device, inode, size, and the time of its last change in nanoseconds; `None`: it isn't there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The stamps of the files of each part.
#[derive(Debug, Default)]
pub(in crate::server) struct Stamps {
    /// Before they were read.
    read: HashMap<String, Vec<Stamp>>,
    /// At the last look, of the parts that have changed since.
    changing: HashMap<String, Vec<Stamp>>,
}

impl Stamps {
    /// The stamps of all files that `config` names, which the caller reads next.
    pub(in crate::server) fn of(config: &Config) -> Self {
        let mut stamps = Self::default();
        for part in parts(config) {
            stamps.take(&part);
        }
        stamps
    }

    /// Notes that the caller reads the files of a part next. Returns whether they have changed.
    pub(super) fn take(&mut self, part: &Part) -> bool {
        self.changing.remove(&part.name);
        let stamps = stamps(&part.files);
        self.read.insert(part.name.clone(), stamps.clone()) != Some(stamps)
    }

    /// Notes that the caller reads the files of these sinks next.
    pub(in crate::server) fn take_sinks(&mut self, sinks: &[Sink]) {
        self.take(&Part::sinks(sinks));
    }

    /// The names of the parts whose files differ from those that were read, and not from those at the last call.
    pub(super) fn changed(&mut self, parts: Vec<Part>) -> Vec<String> {
        // What is not there any more, such as a removed listener, is forgotten.
        self.read.retain(|name, _| parts.iter().any(|part| part.name == *name));
        self.changing.retain(|name, _| parts.iter().any(|part| part.name == *name));
        let mut changed = Vec::new();
        for Part { name, files } in parts {
            let now = stamps(&files);
            if self.read.get(&name) == Some(&now) {
                self.changing.remove(&name);
            } else if self.changing.insert(name.clone(), now.clone()) == Some(now) {
                changed.push(name);
            }
        }
        changed
    }
}

/// The parts with files.
pub(super) fn parts(config: &Config) -> Vec<Part> {
    let access = Part::access(&config.security, &config.auth, &config.listeners);
    let sinks = Part::sinks(&config.sinks);
    config.listeners.iter().filter_map(Part::certificates).chain([access, sinks]).collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    files.iter().map(|path| stamp(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_due_when_it_has_stayed_the_same_for_one_look() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acl");
        fs::write(&path, "1").unwrap();
        let security = Security { acl_file: Some(path.clone()), ..Security::default() };
        let part = || Part::access(&security, &[], &[]);
        let mut stamps = Stamps::default();
        assert!(stamps.take(&part()));
        assert!(!stamps.take(&part()));
        let due = |stamps: &mut Stamps| !stamps.changed(vec![part()]).is_empty();
        assert!(!due(&mut stamps) && !due(&mut stamps));
        fs::write(&path, "22").unwrap();
        assert!(!due(&mut stamps));
        fs::write(&path, "333").unwrap();
        assert!(!due(&mut stamps), "it is being written");
        assert!(due(&mut stamps) && due(&mut stamps));
        assert!(stamps.take(&part()));
        assert!(!due(&mut stamps));
        // A replaced file has another inode, whatever its time.
        let other = directory.path().join("other");
        fs::copy(&path, &other).unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!due(&mut stamps) && due(&mut stamps));
        // What is back as it was is not read.
        stamps.take(&part());
        fs::rename(&path, &other).unwrap();
        assert!(!due(&mut stamps));
        fs::rename(&other, &path).unwrap();
        assert!(!due(&mut stamps) && !due(&mut stamps));
    }
}
