//! Files of mosquitto that are imported.

use std::fs;

use oncemq::config::load_file;
use oncemq::import::{self, FileNames, Outcome, Terms};
use tempfile::TempDir;

thread_local! {
    static DIRECTORY: TempDir = tempfile::tempdir().expect("a directory for temporary files");
}

/// mosquitto.conf: it is understood, with something said about each of its lines, or refused with a text. What is made of it is the same again, and
/// legal TOML that names no password. The paths in it may lead nowhere.
pub(crate) fn conf(input: &[u8]) {
    // Files outside of the directory are none of this target's.
    let Ok(text) = str::from_utf8(input) else { return import_of(input, "") };
    let kept = text.lines().filter(|line| !line.contains('/') || line.contains("topic") || line.contains("listener 0"));
    import_of(kept.collect::<Vec<_>>().join("\n").as_bytes(), "");
}

/// The file of dynamic security: if nothing of it is understood, the listeners refuse all clients. The ACL file that is made of it is valid.
pub(crate) fn dynsec(input: &[u8]) {
    let conf = "listener 1883\nplugin mosquitto_dynamic_security.so\nplugin_opt_config_file DIRECTORY/dynsec.json\n";
    DIRECTORY.with(|directory| {
        fs::write(directory.path().join("dynsec.json"), input).expect("write a temporary file");
        let path = directory.path().display().to_string();
        import_of(conf.replace("DIRECTORY", &path).as_bytes(), "dynamic-security.acl");
    });
}

/// Imports this text; the rules in the generated file `rules` must be legal.
fn import_of(text: &[u8], rules: &str) {
    DIRECTORY.with(|directory| {
        let path = |name: &str| directory.path().join(name);
        fs::write(path("mosquitto.conf"), text).expect("write a temporary file");
        let terms = Terms { files: path("files"), names: FileNames::Plain, data: None, title: "Fuzzed.".to_owned() };
        let converted = match import::mosquitto(&path("mosquitto.conf"), &terms) {
            Ok(converted) => converted,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        assert_eq!(
            import::mosquitto(&path("mosquitto.conf"), &terms).ok(),
            Some(converted.clone()),
            "it is the same again"
        );
        assert!(!converted.report.findings().is_empty());
        let table: toml::Table = converted.toml().parse().expect("legal TOML");
        let has_listeners = table.contains_key("listeners");
        let guards = converted.report.of(Outcome::Guards).count();
        assert!(guards == 0 || has_listeners || table.contains_key("bridges"), "what guards the door locks a listener");
        fs::create_dir_all(path("files")).expect("create a directory");
        for file in &converted.files {
            fs::write(path("files").join(&file.name), &file.contents).expect("write a temporary file");
        }
        if converted.files.iter().any(|file| file.name == rules) {
            fs::write(path("oncemq.toml"), converted.toml()).expect("write a temporary file");
            let config = load_file(&path("oncemq.toml")).expect("a legal configuration").config;
            let made = oncemq::auth::Authenticator::new(&config.security, &config.auth, &config.listeners);
            // The only objection to rules that were made: there are too many for one client.
            let objection = made.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(objection.is_empty() || objection.contains("rules") || objection.contains("groups"), "{objection}");
        }
    });
}
