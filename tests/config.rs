//! The command line of the real binary: `config check`, `config show` and `passwd`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::fs::{self, DirEntry, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// The binary with an empty environment.
fn oncemq(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.env_clear().current_dir(directory).args(arguments).stdin(Stdio::null());
    command
}

fn run(directory: &TempDir, arguments: &[&str]) -> Output {
    oncemq(directory, arguments).output().unwrap()
}

fn directory(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("oncemq.toml"), config).unwrap();
    directory
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The line of `config show` for this setting, with single spaces.
fn shown(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_reference_file_is_valid() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/oncemq.toml");
    let output = run(&directory(""), &["config", "check", file.to_str().unwrap()]);
    assert!(stdout(&output).contains("is valid"));
}

#[test]
fn check_names_file_line_column_key_and_the_nearest_valid_key() {
    let directory = directory("[limits]\nconections_max = 5\n");
    assert_eq!(
        stderr(&run(&directory, &["config", "check", "oncemq.toml"])),
        "oncemq: oncemq.toml:2:1: unknown key `limits.conections_max`; did you mean `connections_max`?\n"
    );
}

#[test]
fn check_names_a_bad_value_and_what_was_expected() {
    let directory = directory("[limits]\nconnect_timeout = \"soon\"\n");
    let error = stderr(&run(&directory, &["config", "check", "oncemq.toml"]));
    assert!(error.starts_with("oncemq: oncemq.toml:2:19: `limits.connect_timeout`: "), "{error}");
    assert!(error.contains("expected a duration such as"), "{error}");
}

#[test]
fn check_refuses_invalid_durability_rules() {
    let check = |rules: &str| {
        let directory = directory(rules);
        stderr(&run(&directory, &["config", "check", "oncemq.toml"]))
    };
    let rule = |topic: &str, level: &str| format!("[[durability_rules]]\ntopic = \"{topic}\"\nlevel = \"{level}\"\n");
    assert_eq!(
        check(&rule("$share/g/a", "none")),
        "oncemq: oncemq.toml:2: `durability_rules[0].topic` is not a valid topic filter for a rule: a plain topic filter must not \
         begin with `$share/`\n"
    );
    assert!(
        check(&rule("a/#/b", "none"))
            .starts_with("oncemq: oncemq.toml:2: `durability_rules[0].topic` is not a valid topic")
    );
    assert!(
        check(&rule("a", "disk")).starts_with("oncemq: oncemq.toml:3:9: `durability_rules[0].level`: unknown variant")
    );
    assert!(check("[[durability_rules]]\ntopic = \"a\"\n").contains("missing field `level`"));
    let twice = check(&(rule("a", "none") + &rule("a", "crash")));
    assert!(
        twice.contains("`durability_rules[1].topic` is a, which durability_rules[0].topic already uses"),
        "{twice}"
    );
}

#[test]
fn show_prints_the_durability_rules_in_order() {
    let directory = directory("[[durability_rules]]\ntopic = \"telemetry/#\"\nlevel = \"none\"\n");
    let text = stdout(&run(&directory, &["config", "show", "--config", "oncemq.toml"]));
    assert_eq!(shown(&text, "topic"), "topic = \"telemetry/#\" # oncemq.toml:2");
    let flags = ["config", "show", "--durability-rule", "b=power-loss", "--durability-rule", "#=crash"];
    let text = stdout(&run(&directory, &flags));
    let topics: Vec<_> = text.lines().filter(|line| line.starts_with("topic = ")).collect();
    assert!(topics.len() == 2 && topics[0].starts_with("topic = \"b\""), "{text}");
    assert_eq!(shown(&text, "level"), "level = \"power-loss\" # flag --durability-rule");
}

#[test]
fn check_reads_the_referenced_files() {
    let directory = directory("[security]\npassword_file = \"passwords\"\n");
    let check = ["config", "check", "oncemq.toml"];
    let error = stderr(&run(&directory, &check));
    assert!(
        error.starts_with("oncemq: oncemq.toml:2: `security.password_file` cannot be read: passwords: "),
        "{error}"
    );
    fs::write(directory.path().join("passwords"), "# users\nalice:plain\n").unwrap();
    let error = stderr(&run(&directory, &check));
    assert!(error.starts_with("oncemq: passwords:2: the password must be hashed"), "{error}");
}

#[test]
fn check_warns_of_what_is_open_to_others() {
    let directory = directory(
        "[server]\ndata = \"data\"\n[security]\nallow_anonymous = true\npassword_file = \"passwords\"\n\
         [[listeners]]\naddress = \"0.0.0.0:1883\"\n[admin]\naddress = \"0.0.0.0:9883\"\nmetrics_open = true\n",
    );
    let wide = |path: &str| fs::set_permissions(directory.path().join(path), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("passwords"), "").unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    wide("passwords");
    wide("data");
    let text = stdout(&run(&directory, &["config", "check", "oncemq.toml"]));
    for line in [
        "oncemq.toml:4: `security.allow_anonymous` is true: everybody who reaches the listener 0.0.0.0:1883 from another machine",
        "oncemq.toml:5: `security.password_file` can be read by everybody on this machine: passwords has the mode 0755",
        "oncemq.toml:2: `server.data` can be entered by others than its owner: data has the mode 0755",
        "oncemq.toml:10: `admin.metrics_open` is true: other machines can read the metrics without a token",
    ] {
        assert!(text.lines().any(|other| other.starts_with(line)), "{line}\n{text}");
    }
    assert!(text.ends_with("is valid\n"), "{text}");
}

#[test]
fn check_ignores_the_environment() {
    let directory = directory("[limits]\nsessions_max = 5\n");
    let output = oncemq(&directory, &["config", "check", "oncemq.toml"]).env("ONCEMQ_LOG_LEVEL", "loud").output();
    assert!(output.unwrap().status.success());
}

#[test]
fn show_prints_the_origin_of_each_value() {
    let directory = directory("[limits]\nsessions_max = 5\nconnections_max = 5\n[log]\nformat = \"json\"\n");
    let arguments = ["config", "show", "--config", "oncemq.toml", "--durability", "crash", "--log-format", "text"];
    let output = oncemq(&directory, &arguments).env("ONCEMQ_LIMITS_CONNECTIONS_MAX", "7").output().unwrap();
    let text = stdout(&output);
    assert_eq!(shown(&text, "sessions_max"), "sessions_max = 5 # oncemq.toml:2");
    assert_eq!(shown(&text, "connections_max"), "connections_max = 7 # env ONCEMQ_LIMITS_CONNECTIONS_MAX");
    assert_eq!(shown(&text, "durability"), "durability = \"crash\" # flag --durability");
    assert_eq!(shown(&text, "format"), "format = \"text\" # flag --log-format");
    assert_eq!(shown(&text, "drain_timeout"), "drain_timeout = \"8s\" # default");
    assert!(text.contains("# acl_file is not set"), "{text}");
}

#[test]
fn show_accepts_flags() {
    let flags = ["--listen", "127.0.0.1:1", "--listen", "[::1]:2", "--data", "elsewhere", "--allow-anonymous"];
    let text = stdout(&run(&directory(""), &[&["config", "show"], flags.as_slice()].concat()));
    assert_eq!(text.matches("[[listeners]]").count(), 2);
    assert_eq!(shown(&text, "address"), "address = \"127.0.0.1:1\" # flag --listen");
    assert!(text.contains("address = \"[::1]:2\""), "{text}");
    assert_eq!(shown(&text, "transport"), "transport = \"tcp\" # default");
    assert_eq!(shown(&text, "data"), "data = \"elsewhere\" # flag --data");
    assert_eq!(shown(&text, "allow_anonymous"), "allow_anonymous = true # flag --allow-anonymous");
}

#[test]
fn the_output_of_show_is_a_configuration_file() {
    let directory = directory("");
    let text = stdout(&run(&directory, &["config", "show", "--set", "limits.sessions_max=5", "--admin", "off"]));
    fs::write(directory.path().join("shown.toml"), &text).unwrap();
    let again = stdout(&run(&directory, &["config", "show", "--config", "shown.toml"]));
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned()).collect()
    };
    assert_eq!(values(&again), values(&text));
}

#[test]
fn the_environment_names_the_file_and_the_listeners() {
    let directory = directory("[limits]\nsessions_max = 5\n");
    let mut command = oncemq(&directory, &["config", "show"]);
    command.env("ONCEMQ_CONFIG", "oncemq.toml").env("ONCEMQ_LISTEN", "127.0.0.1:1");
    let text = stdout(&command.output().unwrap());
    assert_eq!(shown(&text, "sessions_max"), "sessions_max = 5 # oncemq.toml:2");
    assert_eq!(shown(&text, "address"), "address = \"127.0.0.1:1\" # env ONCEMQ_LISTEN");
}

#[test]
fn the_broker_refuses_to_start_with_a_wrong_flag_or_variable() {
    let directory = directory("");
    let error = stderr(&run(&directory, &["--durability", "maybe"]));
    assert!(error.starts_with("oncemq: flag --durability: `server.durability`: "), "{error}");
    let output = oncemq(&directory, &[]).env("ONCEMQ_LIMITS_SESSION_MAX", "1").output().unwrap();
    let error = stderr(&output);
    assert!(error.contains("did you mean ONCEMQ_LIMITS_SESSIONS_MAX?"), "{error}");
    let error = stderr(&run(&directory, &["--listen", "127.0.0.1"]));
    assert!(
        error.starts_with("oncemq: flag --listen: `127.0.0.1` is not a listener address: the port is missing"),
        "{error}"
    );
    for address in ["localhost:9883", "9883", "127.0.0.1"] {
        let error = stderr(&run(&directory, &["--admin", address]));
        assert!(
            error.starts_with("oncemq: flag --admin: `admin.address`: must be an IP address and a port"),
            "{error}"
        );
    }
}

#[test]
fn version_prints_the_version_of_the_package() {
    let text = stdout(&run(&directory(""), &["--version"]));
    assert_eq!(text, format!("oncemq {}\n", env!("CARGO_PKG_VERSION")));
}

fn passwd(directory: &TempDir, arguments: &[&str], password: &str) -> Output {
    let mut command = oncemq(directory, &[&["passwd"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no password may have closed its end already.
    let _written = child.stdin.take().unwrap().write_all(password.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn passwd_adds_changes_and_removes_users_of_a_file_that_check_accepts() {
    let directory = directory("[security]\npassword_file = \"passwords\"\n");
    let path = directory.path().join("passwords");
    stdout(&passwd(&directory, &["-c", "passwords", "alice", "--password-stdin"], "one\n"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    stdout(&passwd(&directory, &["passwords", "bob", "--password-stdin"], "two\n"));
    let first = fs::read_to_string(&path).unwrap();
    assert_eq!(first.lines().count(), 2);
    assert!(first.starts_with("alice:$argon2id$v=19$"), "{first}");
    stdout(&passwd(&directory, &["passwords", "alice", "--password-stdin"], "three\n"));
    let second = fs::read_to_string(&path).unwrap();
    assert_ne!(first.lines().next(), second.lines().next());
    assert_eq!(first.lines().nth(1), second.lines().nth(1));
    stdout(&run(&directory, &["config", "check", "oncemq.toml"]));
    stdout(&passwd(&directory, &["-D", "passwords", "alice"], ""));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().next(), first.lines().nth(1));
}

#[test]
fn passwd_writes_credentials_of_scram_that_check_accepts() {
    let directory = tempfile::tempdir().unwrap();
    let file = "[[auth]]\ntype = \"scram\"\nfile = \"scram\"\n";
    fs::write(directory.path().join("oncemq.toml"), file).unwrap();
    stdout(&passwd(&directory, &["--scram", "-c", "scram", "alice", "--password-stdin"], "one\n"));
    stdout(&passwd(
        &directory,
        &["--scram=sha-512", "--iterations", "5000", "scram", "bob", "--password-stdin"],
        "two\n",
    ));
    let lines = || fs::read_to_string(directory.path().join("scram")).unwrap();
    let prefixes = ["alice:SCRAM-SHA-256$4096:", "bob:SCRAM-SHA-512$5000:"];
    assert!(lines().lines().zip(prefixes).all(|(line, prefix)| line.starts_with(prefix)), "{}", lines());
    stdout(&oncemq(&directory, &["config", "check", "oncemq.toml"]).output().unwrap());
    let before = lines();
    for (arguments, password, expected) in [
        (&["scram", "alice", "--password-stdin"][..], "one\n", "SCRAM credentials"),
        (&["--scram", "scram", "a\u{7}", "--password-stdin"], "one\n", "SASLprep"),
        (&["--scram", "scram", "alice", "--password-stdin"], "a\u{7}\n", "SASLprep"),
        (&["--scram", "scram", "\u{FF1A}", "--password-stdin"], "one\n", "colon"),
        (&["--scram", "scram", "alice", "--password-stdin"], "\n", "empty"),
        (&["--scram", "--iterations", "4095", "scram", "alice", "--password-stdin"], "one\n", "4096"),
        (&["--scram=sha-1", "scram", "alice", "--password-stdin"], "one\n", "sha-256"),
        (&["--iterations", "5000", "scram", "alice", "--password-stdin"], "one\n", "--scram"),
    ] {
        let error = stderr(&passwd(&directory, arguments, password));
        assert!(error.contains(expected), "{arguments:?}: {error}");
        assert_eq!(lines(), before);
    }
    stdout(&passwd(&directory, &["-c", "passwords", "alice", "--password-stdin"], "one\n"));
    let error = stderr(&passwd(&directory, &["--scram", "passwords", "bob", "--password-stdin"], "one\n"));
    assert!(error.contains("hashes of passwords"), "{error}");
    fs::write(directory.path().join("scram"), before.replace("$5000:", "$5:")).unwrap();
    let error = stderr(&oncemq(&directory, &["config", "check", "oncemq.toml"]).output().unwrap());
    assert!(error.contains("scram:2: the iterations must be"), "{error}");
}

#[test]
fn passwd_reports_an_error_and_changes_nothing() {
    let directory = directory("");
    let error = stderr(&passwd(&directory, &["passwords", "alice", "--password-stdin"], "one\n"));
    assert!(error.contains("create it with -c"), "{error}");
    stdout(&passwd(&directory, &["-c", "passwords", "alice", "--password-stdin"], "one\n"));
    let before = fs::read(directory.path().join("passwords")).unwrap();
    for (arguments, password, expected) in [
        (&["-c", "passwords", "bob", "--password-stdin"][..], "two\n", "exists already"),
        (&["passwords", "bob", "--password-stdin"], "\n", "must not be empty"),
        (&["passwords", "b:b", "--password-stdin"], "two\n", "user name"),
        (&["-D", "passwords", "carol"], "", "there is no user carol"),
        (&["passwords", "bob"], "two\n", "use --password-stdin"),
    ] {
        let error = stderr(&passwd(&directory, arguments, password));
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(fs::read(directory.path().join("passwords")).unwrap(), before);
}

#[test]
fn a_mosquitto_configuration_is_recognized_and_says_how_to_use_it() {
    let directory = directory("");
    fs::write(directory.path().join("mosquitto.conf"), "# test\nlistener 1883\nallow_anonymous true\n").unwrap();
    let expected = "oncemq: mosquitto.conf: this is a configuration of mosquitto, not TOML: `oncemq import mosquitto FILE --out \
                    oncemq.toml` makes TOML of it, and `oncemq --mosquitto-conf FILE` starts from it as it is\n";
    for arguments in [&["config", "check", "mosquitto.conf"][..], &["--config", "mosquitto.conf"]] {
        assert_eq!(stderr(&run(&directory, arguments)), expected);
    }
}

#[test]
fn other_files_that_are_not_toml_are_named() {
    let directory = directory("");
    for (bytes, word) in [
        (&b"{\"listeners\": []}"[..], "this is JSON, not TOML"),
        (b"listeners:\n  - address: 1\n", "this is YAML, not TOML"),
        (b"\xFF\xFE[\0", "UTF-16"),
        (b"\xFF", "not UTF-8"),
    ] {
        fs::write(directory.path().join("oncemq.toml"), bytes).unwrap();
        let error = stderr(&run(&directory, &["config", "check", "oncemq.toml"]));
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn an_empty_file_and_one_with_a_byte_order_mark_are_valid() {
    for text in ["", "# nothing yet\n", "\u{FEFF}[limits]\nsessions_max = 5\n"] {
        let directory = directory(text);
        assert!(stdout(&run(&directory, &["config", "check", "oncemq.toml"])).contains("is valid"));
    }
}

#[test]
fn a_password_file_that_is_a_bind_mount_is_changed_in_place() {
    let directory = directory("");
    let passwd = |arguments: &[&str]| {
        let mut command = oncemq(&directory, &[&["passwd", "--password-stdin"], arguments].concat());
        let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(b"secret\n").unwrap();
        assert!(process.wait().unwrap().success());
    };
    passwd(&["--create", "real", "alice"]);
    fs::write(directory.path().join("mounted"), "").unwrap();
    // Some containers refuse a namespace for the mount: then only the unit tests cover this.
    let script = "mount --bind real mounted || exit 99; echo secret | \"$0\" passwd --password-stdin mounted bob";
    let mut command = Command::new("unshare");
    command.args(["-r", "-m", "sh", "-c", script, env!("CARGO_BIN_EXE_oncemq")]).current_dir(&directory);
    let output = command.output().unwrap();
    let is_refused = output.status.code() == Some(99) || output.stderr.starts_with(b"unshare: ");
    if !is_refused {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(directory.path().join("real")).unwrap();
        let users: Vec<_> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(users, ["alice", "bob"]);
    }
}

#[test]
fn a_machine_without_ipv6_gets_the_default_listener_of_ipv4_and_errors_for_what_was_asked_for() {
    // Some containers refuse a namespace for the network.
    let script = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 \
        && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6 || exit 99; timeout -s KILL 2 \"$0\" --data data $LISTEN";
    for (listen, at, error) in [
        ("", "mqtt://127.0.0.1:1883\nTry", None),
        ("--listen localhost:1883", "mqtt://127.0.0.1:1883\nTry", None),
        ("--listen 1883", "mqtt://[::]:1883\nTry", None),
        ("--listen [::1]:1883", "", Some("listener [::1]:1883: cannot listen at [::1]:1883")),
        ("--listen 127.0.0.1:1883 --listen [::1]:1884", "", Some("listener [::1]:1884: cannot listen at [::1]:1884")),
    ] {
        let directory = directory("");
        let mut command = Command::new("unshare");
        command.args(["-r", "-n", "sh", "-c", script, env!("CARGO_BIN_EXE_oncemq")]).env("LISTEN", listen);
        let output = command.current_dir(&directory).output().unwrap();
        if output.status.code() == Some(99) || output.stderr.starts_with(b"unshare: ") {
            return;
        }
        let [shown, log] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let shown = shown.split_inclusive("\n  ").map(str::trim).collect::<Vec<_>>().join("\n");
        assert!(shown.contains(at) && !shown.contains("[::1]"), "{listen}: {shown}{log}");
        match error {
            None if listen.ends_with('3') => {}
            None => assert!(log.contains("not listening at [::1]:1883"), "{log}"),
            Some(error) => assert!(output.status.code() == Some(3) && log.contains(error), "{listen}: {log}"),
        }
    }
}

#[test]
fn check_notes_a_password_file_without_users() {
    let directory = directory("[security]\npassword_file = \"users\"\n");
    fs::write(directory.path().join("users"), "").unwrap();
    fs::set_permissions(directory.path().join("users"), PermissionsExt::from_mode(0o600)).unwrap();
    let text = stdout(&run(&directory, &["config", "check", "oncemq.toml"]));
    assert_eq!(text, "users: has no users: no client can log in with a password\noncemq.toml is valid\n");
}

#[test]
fn check_reads_the_keys_of_providers_and_says_what_is_wrong() {
    let check = |text: &str| {
        let directory = directory(text);
        fs::write(directory.path().join("empty"), "\n").unwrap();
        fs::write(directory.path().join("secret"), "short").unwrap();
        run(&directory, &["config", "check", "oncemq.toml"])
    };
    let unknown = stderr(&check("[[auth]]\ntype = \"kerberos\"\n"));
    assert!(unknown.starts_with("oncemq: oncemq.toml:2:8: `auth[0].type`: unknown variant `kerberos`"), "{unknown}");
    assert!(unknown.contains("`jwt`"), "{unknown}");
    let misspelt = stderr(&check("[[auth]]\ntype = \"jwt\"\nsecret_fil = \"secret\"\n"));
    assert!(misspelt.contains("unknown key `auth[0].secret_fil`; did you mean `secret_file`?"), "{misspelt}");
    let missing = stderr(&check("[[auth]]\ntype = \"jwt\"\n"));
    assert!(missing.contains("oncemq.toml:1: `auth[0].secret_file` is missing"), "{missing}");
    let empty = stderr(&check("[[auth]]\ntype = \"jwt\"\nsecret_file = \"empty\"\n"));
    assert_eq!(empty, "oncemq: empty: the secret is empty\n");
    let no_key = stderr(&check("[[auth]]\ntype = \"jwt\"\npublic_key_file = \"secret\"\n"));
    assert!(no_key.starts_with("oncemq: secret: it has no public key in PEM"), "{no_key}");
    let elsewhere = stderr(&check(
        "[[auth]]\ntype = \"certificate\"\n[[listeners]]\naddress = \"127.0.0.1:1\"\nauth = [\"certificat\"]\n",
    ));
    assert!(elsewhere.contains("oncemq.toml:5: `listeners[0].auth` has \"certificat\""), "{elsewhere}");
    let weak =
        stdout(&check("[[auth]]\ntype = \"jwt\"\nsecret_file = \"secret\"\nrequired_claims = { iss = \"a\" }\n"));
    assert!(weak.contains("secret: the secret has 5 bytes") && weak.contains("is valid"), "{weak}");
    let directory = directory("[[auth]]\ntype = \"jwt\"\nsecret_file = \"a\"\nrequired_claims = { iss = \"a\" }\n");
    fs::write(directory.path().join("a"), "0123456789abcdef0123456789abcdef").unwrap();
    let shown = stdout(&run(&directory, &["config", "show", "--config", "oncemq.toml"]));
    assert!(shown.contains("[[auth]]\ntype = \"jwt\" "), "{shown}");
    assert!(shown.contains("required_claims = { iss = \"a\" }"), "{shown}");
}

/// A broker that is killed at the end of the test.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Who sends the signal cannot know how long a start takes.
#[test]
fn a_reload_during_the_start_is_carried_out_when_the_broker_serves() {
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:{}\"\n[admin]\nenabled = false\n[security]\nacl_file = \"acl\"\n",
        wire::free_port()
    );
    let directory = directory(&text);
    let path = |name: &str| directory.path().join(name);
    // The start waits for the access rules until something is written.
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path("acl")).status().unwrap().success());
    let mut pipe = OpenOptions::new().read(true).write(true).open(path("acl")).unwrap();
    let mut command = oncemq(&directory, &["--config", "oncemq.toml", "--data", "data"]);
    let log = fs::File::create(path("log")).unwrap();
    let broker = Broker(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    let id = broker.0.id().to_string();
    let is_rules = |fd: io::Result<DirEntry>| fs::read_link(fd.unwrap().path()).is_ok_and(|to| to.ends_with("acl"));
    wait_for("the start", || fs::read_dir(format!("/proc/{id}/fd")).unwrap().any(is_rules));
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    fs::write(path("oncemq.toml"), format!("{text}[limits]\nkeep_alive_max = 77\n")).unwrap();
    fs::write(path("rules"), "topic readwrite #\n").unwrap();
    fs::set_permissions(path("rules"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(path("rules"), path("acl")).unwrap();
    pipe.write_all(b"topic readwrite #\n").unwrap();
    drop(pipe);
    wait_for("the reload", || fs::read_to_string(path("log")).unwrap().contains("limits.keep_alive_max"));
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let is_in_time = (0..4_000).any(|_| {
        let is_so = is_so();
        if !is_so {
            sleep(Duration::from_millis(10));
        }
        is_so
    });
    assert!(is_in_time, "{what}: not within 40 seconds");
}

#[test]
fn a_node_of_a_cluster_makes_a_data_directory_that_only_its_user_may_read() {
    let directory = directory(
        "[server]\ndata = \"data\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[cluster]\nnode = \"a\"\nnats = [\"nats://127.0.0.1:9\"]\nadvertise = \"localhost:1883\"\n",
    );
    let command = "umask 022; exec \"$0\" --config oncemq.toml";
    let mut shell = Command::new("sh");
    shell.env_clear().current_dir(&directory).args(["-c", command, env!("CARGO_BIN_EXE_oncemq")]);
    let broker = Broker(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("the directory is there", || directory.path().join("data/log").exists());
    drop(broker);
    for path in ["data", "data/log"] {
        let mode = fs::metadata(directory.path().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
}
