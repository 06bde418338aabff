use std::fs;
use std::path::{Path, PathBuf};

use bytestring::ByteString;
use oncemq::auth::{Account, Authenticator, Expectation};
use oncemq::codec::ClientId;
use oncemq::config::{Config, Listener, Security, load_file};
use oncemq::server::check_certificates;
use oncemq::topic::{Filter, TopicFilter, TopicName};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a directory for temporary files");
}

/// Calls `test` with the path of a file that has these bytes.
fn with_file<T>(name: &str, bytes: &[u8], test: impl FnOnce(&Path) -> T) -> T {
    DIRECTORY.with(|directory| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("write a temporary file");
        test(&path)
    })
}

/// A configuration file is understood, or refused with a text. What is understood is understood in the same way when it is written again.
pub(crate) fn config(input: &[u8]) {
    match with_file("oncemq.toml", input, load_file) {
        Ok(loaded) => {
            let Config { listeners, limits, .. } = &loaded.config;
            assert!(limits.maximum_packet_size > 0);
            assert!(listeners.iter().all(|listener| !listener.label().is_empty()));
            let text = toml::to_string(&loaded.config).expect("plain data");
            let again = with_file("again.toml", text.as_bytes(), load_file).expect("what was written by the broker");
            assert_eq!(again.config, loaded.config);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// An ACL file is understood as a whole or refused with its line. A topic that a client may receive is covered by a filter to which it may
/// subscribe: the topic itself.
pub(crate) fn acl(input: &[u8]) {
    let security = |path: &Path| Security { acl_file: Some(path.to_owned()), ..Security::default() };
    let read = with_file("acl", input, |path| Authenticator::new(&security(path), &[], &[]));
    if let Ok(text) = str::from_utf8(input) {
        // The same bytes as expected decisions: each of them has a line of its own.
        let lines = Expectation::parse(text).map(|found| found.len()).unwrap_or(0);
        assert!(lines <= text.lines().count());
    }
    let authenticator = match read {
        Ok(authenticator) => authenticator,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // The users of groups in the seeds, and a group of the same name.
    for (client_id, user) in [
        ("c", None),
        ("c", Some("u")),
        ("a/b", Some("+")),
        ("#", Some("a")),
        ("c", Some("bob builder")),
        ("c", Some("g")),
    ] {
        let user = user.map(|name| Account { name, provider: None });
        let access = authenticator.access(&ClientId::from(client_id), user);
        assert!(access.has_rules() != access.is_superuser());
        assert!(user.is_some() || !access.is_superuser(), "an anonymous client is no superuser");
        for topic in ["a", "a/b", "u", "c", "$SYS/a", "a//b", "a/b/c/d/e"] {
            let name = TopicName::new(ByteString::from_static(topic)).expect("a legal topic");
            let filter = TopicFilter::new(ByteString::from_static(topic)).expect("a legal filter");
            let filter = Filter::from(filter);
            assert_eq!(access.receive(&name), access.subscribe(&filter).is_ok(), "{topic}");
            let may_publish = access.publish(&name).is_ok();
            assert!(!access.is_superuser() || (may_publish && access.receive(&name)), "{topic}");
        }
        for filter in ["#", "+/+", "a/#", "$SYS/#", "+"] {
            let _ = access.subscribe(&Filter::new(ByteString::from_static(filter)).expect("a legal filter"));
        }
    }
}

/// A password file is understood as a whole or refused with its line.
pub(crate) fn passwords(input: &[u8]) {
    let security = |path: &Path| Security { password_file: Some(path.to_owned()), ..Security::default() };
    match with_file("users", input, |path| Authenticator::new(&security(path), &[], &[])) {
        Ok(authenticator) => drop(authenticator.notes()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Certificate, key, authority or revocation list: any bytes in one of the files are understood, or refused with a text.
pub(crate) fn tls(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else { return };
    let names = ["server.pem", "server.key", "ca.pem", "crl.pem"];
    DIRECTORY.with(|directory| {
        let path = |name: &str| directory.path().join(name);
        for (name, seed) in names.iter().zip([SEED_CERTIFICATE, SEED_KEY, SEED_CERTIFICATE, b""]) {
            fs::write(path(name), seed).expect("write a temporary file");
        }
        fs::write(path(names[usize::from(*which) % names.len()]), bytes).expect("write a temporary file");
        let config = tls_config(&path, usize::from(*which) % names.len() == 3);
        if let Err(error) = check_certificates(&config) {
            assert!(!error.to_string().is_empty());
        }
    });
}

fn tls_config(path: &dyn Fn(&str) -> PathBuf, has_crl: bool) -> Config {
    let name = |name: &str| format!("{:?}", path(name).display().to_string());
    let crl = if has_crl { format!("crl = {}\n", name("crl.pem")) } else { String::new() };
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:8883\"\ntransport = \"tls\"\n[listeners.tls]\ncertificate = {}\nkey = {}\n\
         client_certificate = \"required\"\nclient_ca = {}\n{crl}",
        name("server.pem"),
        name("server.key"),
        name("ca.pem"),
    );
    let file = path("tls.toml");
    fs::write(&file, text).expect("write a temporary file");
    let config = load_file(&file).expect("a legal configuration").config;
    assert!(config.listeners.iter().all(|listener: &Listener| listener.tls.is_some()));
    config
}

/// A certificate that signs itself, and its key.
const SEED_CERTIFICATE: &[u8] = include_bytes!("../seeds/certificate.pem");
const SEED_KEY: &[u8] = include_bytes!("../seeds/key.pem");
