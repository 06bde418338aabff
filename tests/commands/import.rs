//! `oncemq import mosquitto` and `oncemq --mosquitto-conf`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use wire::free_address;

use crate::process::{Broker, Done, oncemq, run, wait_for};

/// A directory with files of mosquitto.
struct Files(TempDir);

impl Files {
    fn new(conf: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("mosquitto.conf", conf);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn import(&self, arguments: &[&str]) -> Done {
        let (conf, out) = (self.path("mosquitto.conf"), self.path("oncemq.toml"));
        let fixed = ["import", "mosquitto", conf.to_str().unwrap(), "--out", out.to_str().unwrap()];
        run([&fixed, arguments].concat())
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn an_import_writes_what_the_broker_accepts_and_the_same_again() {
    let conf = "listener 1883\nallow_anonymous true\nmax_keepalive 60\nlog_dest syslog\nconnection c\naddress a\ntopic #\nremote_username u\nremote_password secret\n";
    let files = Files::new(conf);
    let report = files.import(&[]).succeeded();
    assert!(report.contains("mosquitto.conf:4: log_dest: the log goes to standard error"), "{report}");
    assert!(!report.contains("secret"));
    let text = files.read("oncemq.toml");
    assert!(text.contains("keep_alive_max = \"60s\"") && text.contains("mosquitto.conf:3"), "{text}");
    for name in ["oncemq.toml", "oncemq.toml.report", "oncemq.toml.d/bridge-c.password"] {
        assert_eq!(mode(&files.path(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&files.path("oncemq.toml.d")), 0o700);
    assert_eq!(files.read("oncemq.toml.d/bridge-c.password"), "secret\n");
    assert_eq!((files.import(&[]).succeeded(), files.read("oncemq.toml")), (report, text));

    files.write("mosquitto.conf", "listener 1884\n");
    files.import(&[]).failed(2, "it exists and has other contents");
    files.import(&["--force", "--data", "/var/lib/oncemq"]).succeeded();
    assert!(files.read("oncemq.toml").contains("data = \"/var/lib/oncemq\""));
    let checked = run(["config", "check", files.path("oncemq.toml").to_str().unwrap()]);
    checked.succeeded();
}

#[test]
fn with_a_data_directory_the_state_that_mosquitto_has_saved_is_taken_over() {
    let files = Files::new("");
    let location = files.path("p");
    let bridge = "connection c\naddress 127.0.0.1\ntopic # out\n";
    files.write("mosquitto.conf", &format!("persistence true\npersistence_location {}/\n{bridge}", location.display()));
    let data = files.path("data");
    let arguments = ["--data", data.to_str().unwrap()];
    assert!(files.import(&arguments).succeeded().contains("No state is taken over: there is no "));
    assert!(!data.exists());

    fs::create_dir(&location).unwrap();
    let saved = include_bytes!("../../src/import/state/tests/mosquitto-2.0.11.db");
    fs::write(location.join("mosquitto.db"), saved).unwrap();
    assert!(files.import(&["--force"]).succeeded().contains("mosquitto.db is not taken over: --data DIR"));
    let report = files.import(&["--force", arguments[0], arguments[1]]).succeeded();
    assert!(report.contains("10 queued messages") && report.contains("0   of these, of a user"), "{report}");
    assert!(data.join("log").is_dir());
    files.import(&arguments).failed(2, "exists and is not an empty directory");
}

#[test]
fn what_is_no_configuration_of_mosquitto_is_refused_and_nothing_is_written() {
    for (text, expected) in [
        ("# nothing\n", "there is no option of mosquitto in it"),
        ("[server]\ndata = \"a\"\n", "mosquitto.conf:1: mosquitto has no option \"[server]\""),
        (
            "listener 1883\nallow_anonymous maybe\n",
            "mosquitto.conf:2: allow_anonymous: \"maybe\" is neither true nor false",
        ),
    ] {
        let files = Files::new(text);
        files.import(&[]).failed(2, expected);
        assert!(!files.path("oncemq.toml").exists());
    }
}

#[test]
fn a_guard_that_is_not_there_locks_the_listener_and_stops_the_start() {
    let files = Files::new("listener 1883\nallow_anonymous true\nplugin /usr/lib/guard.so\n");
    files.import(&[]).failed(1, "an option that keeps clients out is not carried over");
    let text = files.read("oncemq.toml");
    assert!(text.contains("auth = []") && !text.contains("[[listeners]]\nallow_anonymous = true"), "{text}");
    let conf = files.path("mosquitto.conf");
    let data = files.path("data");
    let started = run(["--mosquitto-conf", conf.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    started.failed(2, "mosquitto.conf:3: plugin: guard.so may decide who connects");
    assert!(!data.exists());
}

#[test]
fn a_broker_starts_from_mosquittos_configuration_and_reloads_it() {
    let mqtt = free_address();
    let conf = format!("listener {} 127.0.0.1\nallow_anonymous true\nqueue_qos0_messages true\n", mqtt.port());
    let files = Files::new(&conf);
    let mut command = oncemq();
    command
        .arg("--mosquitto-conf")
        .arg(files.path("mosquitto.conf"))
        .args(["--admin", "off", "--data"])
        .arg(files.path("data"));
    let broker = Broker::spawn(command, tempfile::tempdir().unwrap(), mqtt);
    let log = || fs::read_to_string(broker.directory.path().join("output")).unwrap();
    let count = |text: &str| log().matches(text).count();
    wait_for("the option", || count("queue_qos0_messages: QoS 0 messages are not queued") == 1);
    files.write("mosquitto.conf", &format!("{conf}upgrade_outgoing_qos true\nmax_keepalive 60\n"));
    reload(&broker);
    wait_for("the new option", || count("upgrade_outgoing_qos: ") == 1);
    assert_eq!(count("queue_qos0_messages: "), 1, "{}", log());
    files.write("mosquitto.conf", &format!("{conf}clientid_prefixes a\n"));
    reload(&broker);
    wait_for("the refusal", || count("kept the previous configuration: ") == 1);
    assert!(log().contains("clientid_prefixes: "), "{}", log());
}

#[test]
fn a_refused_reload_leaves_the_files_of_the_configuration_in_force() {
    let mqtt = free_address();
    let head = format!("listener {} 127.0.0.1\nallow_anonymous true\n", mqtt.port());
    let bridge = "connection c\naddress 127.0.0.1:1\ntopic #\nremote_username u\nremote_password secret\n";
    let files = Files::new(&format!("{head}{bridge}"));
    let mut command = oncemq();
    let (conf, data) = (files.path("mosquitto.conf"), files.path("data"));
    command.arg("--mosquitto-conf").arg(&conf).args(["--admin", "off", "--data"]).arg(&data);
    let broker = Broker::spawn(command, tempfile::tempdir().unwrap(), mqtt);
    let generated = || {
        let entries = fs::read_dir(data.join("mosquitto")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let before = generated();
    assert_eq!(before.len(), 1, "{before:?}");
    run(["config", "show", "--mosquitto-conf", conf.to_str().unwrap(), "--data", data.to_str().unwrap()]).succeeded();
    files.write("mosquitto.conf", &format!("{head}certfile {0}/none\nkeyfile {0}/none\n", data.display()));
    reload(&broker);
    let log = || fs::read_to_string(broker.directory.path().join("output")).unwrap();
    wait_for("the refusal", || log().contains("kept the previous configuration: "));
    assert_eq!(generated(), before);
}

fn reload(broker: &Broker) {
    assert!(Command::new("kill").args(["-HUP", &broker.id().to_string()]).status().unwrap().success());
}
