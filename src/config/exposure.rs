//! What is open by mistake, perhaps: settings and files that can be used, and give others more than the operator may know.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::postgresql::Database;
use super::security::AllowAnonymous;
use super::service_url::ServiceUrl;
use super::{CertificateDates, ClientCertificate, Config, ListenAddress, Listener, Problem, Tls};

impl Config {
    /// What others can reach or read; empty if there is nothing to say. Reads the permissions of the files that the configuration names.
    pub fn exposures(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for (index, listener) in self.listeners.iter().enumerate() {
            found.extend(self.anonymous_from_elsewhere(index, listener));
            found.extend(self.anonymous_from_websites(index, listener));
            if let Some(tls) = &listener.tls {
                found.extend(dates_ignored(&format!("listeners[{index}].tls"), tls));
                found.extend(open_to_others(&format!("listeners[{index}].tls.key"), &tls.key, READ | WRITE));
                for (further, files) in tls.certificates.iter().enumerate() {
                    let key = format!("listeners[{index}].tls.certificates[{further}].key");
                    found.extend(open_to_others(&key, &files.key, READ | WRITE));
                }
            }
            for (setting, path, permissions) in
                [("password_file", &listener.password_file, READ | WRITE), ("acl_file", &listener.acl_file, WRITE)]
            {
                let key = format!("listeners[{index}].{setting}");
                found.extend(path.as_deref().and_then(|path| open_to_others(&key, path, permissions)));
            }
        }
        let Config { security, admin, server, telemetry, .. } = self;
        let password_file = security.password_file.as_deref();
        found.extend(password_file.and_then(|path| open_to_others("security.password_file", path, READ | WRITE)));
        let acl_file = security.acl_file.as_deref();
        found.extend(acl_file.and_then(|path| open_to_others("security.acl_file", path, WRITE)));
        let headers_file = telemetry.headers_file.as_deref();
        found.extend(headers_file.and_then(|path| open_to_others("telemetry.headers_file", path, READ | WRITE)));
        let ca = telemetry.ca.as_deref();
        found.extend(ca.and_then(|path| open_to_others("telemetry.ca", path, WRITE)));
        for (index, provider) in self.auth.iter().enumerate() {
            for (setting, path, permissions) in [
                ("file", &provider.file, READ | WRITE),
                ("secret_file", &provider.secret_file, READ | WRITE),
                ("public_key_file", &provider.public_key_file, WRITE),
                ("headers_file", &provider.headers_file, READ | WRITE),
                ("password_file", &provider.password_file, READ | WRITE),
                ("ca", &provider.ca, WRITE),
            ] {
                let key = format!("auth[{index}].{setting}");
                found.extend(path.as_deref().and_then(|path| open_to_others(&key, path, permissions)));
            }
            for (setting, url) in [("url", &provider.url), ("authorize_url", &provider.authorize_url)] {
                let url = url.as_deref().and_then(|url| ServiceUrl::of(url).ok());
                if url.is_some_and(|url| !url.is_encrypted && !url.is_local) {
                    let text = "is http: passwords cross the network in plain text, for everybody on the way to read";
                    found.push(Problem::new(&format!("auth[{index}].{setting}"), text));
                }
            }
            let database = provider.url.as_deref().and_then(|url| Database::parse(url).ok());
            if database.is_some_and(|database| provider.tls == Some(false) && !database.is_local()) {
                let text = "is false: everybody on the way to the database can read hashes of passwords, and say who is accepted";
                found.push(Problem::new(&format!("auth[{index}].tls"), text));
            }
        }
        found.extend(self.files_of_sinks());
        found.extend(self.bridge_exposures());
        found.extend(self.cluster_exposures());
        found.extend(wide_directory("server.data", &server.data));
        if admin.enabled && !admin.address.ip().to_canonical().is_loopback() {
            if admin.metrics_open {
                let text = "is true: other machines can read the metrics without a token";
                found.push(Problem::new("admin.metrics_open", text));
            }
            if admin.allow_plain && admin.tls().is_none() {
                let text = "is true: tokens cross the network in plain text, for everybody on the way to read";
                found.push(Problem::new("admin.allow_plain", text));
            }
        }
        found.extend(admin.key.as_deref().and_then(|path| open_to_others("admin.key", path, READ | WRITE)));
        found
    }

    fn files_of_sinks(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        for (index, sink) in self.sinks.iter().enumerate() {
            for (setting, path, permissions) in [
                ("url_file", &sink.url_file, READ | WRITE),
                ("headers_file", &sink.headers_file, READ | WRITE),
                ("secret_file", &sink.secret_file, READ | WRITE),
                ("key", &sink.key, READ | WRITE),
                ("ca", &sink.ca, WRITE),
            ] {
                let key = format!("sinks[{index}].{setting}");
                found.extend(path.as_deref().and_then(|path| open_to_others(&key, path, permissions)));
            }
        }
        found
    }

    /// Clients of other machines that need no authentication.
    fn anonymous_from_elsewhere(&self, index: usize, listener: &Listener) -> Option<Problem> {
        let (key, allowed) = self.allow_anonymous(index, listener);
        let is_open = allowed == AllowAnonymous::Always && is_reachable(&listener.address) && !verifies(listener);
        let name = listener.label();
        let text = format!(
            "is true: everybody who reaches the listener {name} from another machine can connect without a password"
        );
        is_open.then(|| Problem::new(&key, &text))
    }

    /// A web page in a browser that can reach the listener: it may connect without authentication.
    fn anonymous_from_websites(&self, index: usize, listener: &Listener) -> Option<Problem> {
        let (allow_anonymous, allowed) = self.allow_anonymous(index, listener);
        let any = listener.websocket_origins.iter().flatten().any(|origin| origin == "*");
        let is_open = any && allowed == AllowAnonymous::Always && !verifies(listener);
        let text = format!(
            "is \"*\", and {allow_anonymous} is true: every website that somebody looks at can connect without a password"
        );
        is_open.then(|| Problem::new(&format!("listeners[{index}].websocket_origins"), &text))
    }

    /// Which clients of a listener need no authentication, and the setting that says so.
    fn allow_anonymous(&self, index: usize, listener: &Listener) -> (String, AllowAnonymous) {
        match listener.allow_anonymous {
            Some(allowed) => (format!("listeners[{index}].allow_anonymous"), allowed),
            None => ("security.allow_anonymous".to_owned(), self.security.allow_anonymous),
        }
    }
}

/// Certificates that outlast their end.
fn dates_ignored(key: &str, tls: &Tls) -> Option<Problem> {
    let rest = match tls.crl {
        Some(_) => "only the lists in crl, or another client_ca, end the access of a key that was stolen or given away",
        None => "without crl, only another client_ca ends the access of a key that was stolen or given away",
    };
    let text = format!("is \"ignored\": certificates of clients are accepted for ever after they have expired; {rest}");
    let is_ignored = tls.client_certificate_dates == CertificateDates::Ignored;
    is_ignored.then(|| Problem::new(&format!("{key}.client_certificate_dates"), &text))
}

/// Whether the listener asks every client for a certificate.
fn verifies(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required)
        || listener.proxy_tls.as_ref().is_some_and(|tls| tls.client_certificate == ClientCertificate::Required)
}

/// Whether other machines can connect, as far as the address says.
fn is_reachable(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Ip(address) => !address.ip().to_canonical().is_loopback(),
        ListenAddress::Name { name, .. } => name != "localhost",
        ListenAddress::Port(_) => true,
        ListenAddress::Unix(_) => false,
    }
}

/// A problem if everybody on this machine has one of these permissions.
pub(super) fn open_to_others(key: &str, path: &Path, permissions: u32) -> Option<Problem> {
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    let verb = match (mode & permissions & READ != 0, mode & permissions & WRITE != 0) {
        (_, true) => "changed",
        (true, false) => "read",
        (false, false) => return None,
    };
    let place = path.display();
    let text = format!(
        "can be {verb} by everybody on this machine: {place} has the mode {mode:04o} (use `chmod o-rwx {place}`)"
    );
    Some(Problem::new(key, &text))
}

/// A problem if others than the owner can enter the data directory. One that doesn't exist is created for the owner only.
fn wide_directory(key: &str, path: &Path) -> Option<Problem> {
    let mode = path.metadata().ok()?.permissions().mode() & 0o777;
    let place = path.display();
    let text =
        format!("can be entered by others than its owner: {place} has the mode {mode:04o} (use `chmod 700 {place}`)");
    (mode & 0o077 != 0).then(|| Problem::new(key, &text))
}

/// The permissions of others, in the mode of a file.
pub(super) const READ: u32 = 0o004;
pub(super) const WRITE: u32 = 0o002;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;
    use crate::config::Transport;

    fn keys(config: &Config) -> Vec<String> {
        config.exposures().into_iter().map(|problem| problem.key).collect()
    }

    fn with_listener(address: &str, change: impl FnOnce(&mut Listener)) -> Config {
        let mut listener = Listener::new(address.parse().unwrap());
        change(&mut listener);
        let mut config = Config { listeners: vec![listener], ..Config::default() };
        config.server.data = "/does/not/exist".into();
        config
    }

    #[test]
    fn the_default_is_open_to_nobody_else() {
        let mut config = Config::default();
        config.server.data = "/does/not/exist".into();
        assert_eq!(config.exposures(), []);
    }

    #[test]
    fn anonymous_clients_from_other_machines_are_an_exposure() {
        let own = ["listeners[0].allow_anonymous"].as_slice();
        for (address, expected) in [
            ("0.0.0.0:1", own),
            (":1", own),
            ("[::]:1", own),
            ("192.0.2.1:1", own),
            ("mqtt.example.com:1", own),
            ("127.0.0.1:1", &[]),
            ("127.9.9.9:1", &[]),
            ("[::1]:1", &[]),
            ("[::ffff:127.0.0.1]:1", &[]),
            ("localhost:1", &[]),
            ("unix:/a", &[]),
        ] {
            let config = with_listener(address, |listener| listener.allow_anonymous = Some(AllowAnonymous::Always));
            assert_eq!(keys(&config), expected, "{address}");
        }
        let mut config = with_listener(":1", |_| ());
        assert_eq!(config.exposures(), []);
        config.security.allow_anonymous = AllowAnonymous::Always;
        assert_eq!(keys(&config), ["security.allow_anonymous"]);
        config.listeners[0].allow_anonymous = Some(AllowAnonymous::Loopback);
        assert_eq!(config.exposures(), []);
    }

    #[test]
    fn anonymous_pages_of_all_websites_are_an_exposure() {
        let mut config = with_listener("127.0.0.1:1", |listener| {
            listener.transport = Transport::Ws;
            listener.websocket_origins = Some(vec!["*".to_owned()]);
        });
        assert_eq!(config.exposures(), []);
        config.security.allow_anonymous = AllowAnonymous::Always;
        assert_eq!(keys(&config), ["listeners[0].websocket_origins"]);
        config.listeners[0].websocket_origins = Some(vec!["https://app.example.com".to_owned()]);
        assert_eq!(config.exposures(), []);
    }

    #[test]
    fn an_admin_listener_for_other_machines_is_an_exposure_if_it_is_open() {
        let mut config = with_listener("127.0.0.1:1", |_| ());
        (config.admin.metrics_open, config.admin.allow_plain) = (true, true);
        assert_eq!(config.exposures(), []);
        config.admin.address = "0.0.0.0:9883".parse().unwrap();
        assert_eq!(keys(&config), ["admin.metrics_open", "admin.allow_plain"]);
        (config.admin.metrics_open, config.admin.allow_plain) = (false, false);
        assert_eq!(config.exposures(), []);
        (config.admin.metrics_open, config.admin.enabled) = (true, false);
        assert_eq!(config.exposures(), []);
    }

    #[test]
    fn a_database_on_another_machine_without_encryption_is_an_exposure() {
        let with = |host: &str, tls| {
            let url = Some(format!("postgresql://mqtt@{host}/iot"));
            let provider = crate::config::Provider {
                url,
                tls,
                ..crate::config::Provider::new(crate::config::ProviderKind::PostgreSql)
            };
            keys(&Config { auth: vec![provider], ..Config::default() })
        };
        assert_eq!(with("db.example.com", Some(false)), ["auth[0].tls"]);
        assert_eq!(with("db.example.com", None), [""; 0]);
        assert_eq!(with("127.0.0.1", Some(false)), [""; 0]);
    }

    #[test]
    fn client_certificates_that_never_end_are_an_exposure() {
        let missing = std::path::PathBuf::from("/does/not/exist");
        let with = |client_certificate_dates, crl| {
            with_listener("127.0.0.1:1", |listener| {
                listener.tls =
                    Some(Tls { client_certificate_dates, crl, ..Tls::new(missing.clone(), missing.clone()) });
            })
        };
        assert_eq!(with(CertificateDates::Checked, None).exposures(), []);
        let list = Some(missing.clone());
        for (crl, words) in [(None, "without crl, only another client_ca"), (list, "only the lists in crl")] {
            let config = with(CertificateDates::Ignored, crl);
            assert_eq!(keys(&config), ["listeners[0].tls.client_certificate_dates"]);
            assert!(config.exposures()[0].text.contains(words), "{:?}", config.exposures());
        }
    }

    #[test]
    fn files_and_directories_that_others_can_open_are_exposures() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        };
        let tls = |key, client_certificate| Tls { client_certificate, ..Tls::new(file("certificate", 0o644), key) };
        for (mode, keys_expected) in [(0o600, [].as_slice()), (0o640, &[]), (0o644, &["listeners[0].tls.key"])] {
            let mut config = with_listener(":1", |listener| {
                listener.transport = Transport::Tls;
                listener.allow_anonymous = Some(AllowAnonymous::Always);
                listener.tls = Some(tls(file("key", mode), ClientCertificate::Required));
            });
            assert_eq!(keys(&config), keys_expected, "{mode:o}");
            config.listeners[0].tls = Some(tls(file("key", 0o600), ClientCertificate::Optional));
            assert_eq!(keys(&config), ["listeners[0].allow_anonymous"]);
        }
        let mut config = with_listener("127.0.0.1:1", |_| ());
        config.security.password_file = Some(file("passwords", 0o640));
        config.security.acl_file = Some(file("acl", 0o644));
        config.server.data = directory.path().join("data");
        assert_eq!(config.exposures(), []);
        fs::create_dir(&config.server.data).unwrap();
        for (mode, expected) in [(0o700, [].as_slice()), (0o750, &["server.data"]), (0o701, &["server.data"])] {
            fs::set_permissions(&config.server.data, Permissions::from_mode(mode)).unwrap();
            assert_eq!(keys(&config), expected, "{mode:o}");
        }
        fs::set_permissions(&config.server.data, Permissions::from_mode(0o700)).unwrap();
        config.security.password_file = Some(file("passwords", 0o644));
        config.security.acl_file = Some(file("acl", 0o646));
        assert_eq!(keys(&config), ["security.password_file", "security.acl_file"]);
    }
}
