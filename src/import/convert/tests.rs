use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::super::conf;
use super::*;
use crate::config::{AllowAnonymous, Config, load_file};

/// A directory with these files; the first one is mosquitto.conf. `DIR` stands for the directory.
struct Files(TempDir);

impl Files {
    fn new(conf: &str, others: &[(&str, &str)]) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("mosquitto.conf", conf)].iter().chain(others) {
            fs::write(files.path(name), text.replace("DIR", &files.0.path().to_string_lossy())).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn converted(&self) -> Converted {
        let terms = Terms { files: self.path("files"), names: FileNames::Plain, data: None, title: "Made.".to_owned() };
        let model = conf::read(&self.path("mosquitto.conf")).unwrap();
        let converted = convert(&model, &terms);
        assert_eq!(convert(&model, &terms), converted, "it is the same again");
        for (at, option) in &model.lines {
            assert!(converted.report.places().contains(at), "{at}: {option}");
        }
        let idle = converted.report.findings().iter().find(|finding| finding.text == "it has no effect here");
        assert_eq!(idle, None);
        converted
    }

    /// The configuration, as the broker reads it.
    fn config(&self) -> Config {
        let converted = self.converted();
        fs::create_dir_all(self.path("files")).unwrap();
        for file in &converted.files {
            fs::write(self.path("files").join(&file.name), &file.contents).unwrap();
        }
        let path = self.path("oncemq.toml");
        fs::write(&path, converted.toml()).unwrap();
        load_file(&path).unwrap_or_else(|error| panic!("{error}\n{}", converted.toml())).config
    }

    fn of(&self, outcome: Outcome) -> Vec<String> {
        self.converted().report.of(outcome).map(|finding| format!("{} {}", finding.at.line(), finding.option)).collect()
    }
}

const PASSWORDS: &str = "alice:$7$101$Zm9vYmFyZm9vYg==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n";

#[test]
fn without_a_listener_it_is_loopback_with_anonymous_clients() {
    let files = Files::new("max_keepalive 100\nmax_connections 7\nallow_zero_length_clientid true\n", &[]);
    let config = files.config();
    assert!(config.has_default_listeners());
    assert_eq!(config.security.allow_anonymous, AllowAnonymous::Loopback);
    assert_eq!(files.of(Outcome::Missing), ["2 max_connections"]);
    let config = Files::new("allow_anonymous false\nallow_zero_length_clientid false", &[]).config();
    assert_eq!(config.security.allow_anonymous, AllowAnonymous::Never);
    assert!(config.listeners.len() == 2 && config.listeners.iter().all(|listener| !listener.allow_empty_client_id));
}

#[test]
fn with_a_listener_anonymous_clients_are_refused_unless_it_says_so() {
    let config = Files::new("listener 1883\n", &[]).config();
    assert_eq!(config.security.allow_anonymous, AllowAnonymous::Never);
    assert_eq!(config.listeners.iter().map(|listener| listener.label().into_owned()).collect::<Vec<_>>(), [":1883"]);
    let config =
        Files::new("listener 1883 127.0.0.1\nallow_anonymous true\nlistener 1884\nlistener_allow_anonymous false", &[])
            .config();
    assert_eq!(config.security.allow_anonymous, AllowAnonymous::Always);
    assert_eq!(config.listeners[1].allow_anonymous, Some(AllowAnonymous::Never));
}

#[test]
fn one_password_file_is_of_all_and_several_are_of_their_listeners() {
    let files = Files::new(
        "listener 1\nlistener 2\npassword_file DIR/users\nacl_file DIR/acl\n",
        &[("users", PASSWORDS), ("acl", "topic a\n")],
    );
    let config = files.config();
    assert_eq!(config.security.password_file, Some(files.path("users")));
    assert_eq!(config.security.acl_file, Some(files.path("acl")));

    let text = "per_listener_settings true\nlistener 1\npassword_file DIR/users\nlistener 2\nallow_anonymous true\nacl_file DIR/acl\n";
    let config = Files::new(text, &[("users", PASSWORDS), ("acl", "topic a\n")]).config();
    assert_eq!(config.listeners[0].name.as_deref(), Some("port-1"));
    assert!(config.listeners[0].password_file.is_some() && config.listeners[1].password_file.is_none());
    assert!(config.listeners[1].acl_file.is_some() && config.listeners[0].acl_file.is_none());
    assert_eq!(config.listeners[1].allow_anonymous, Some(AllowAnonymous::Always));

    let text = "per_listener_settings true\nlistener 1\npassword_file DIR/users\nlistener 2\npassword_file DIR/users\nlistener 3\nallow_anonymous true\n";
    let files = Files::new(text, &[("users", PASSWORDS)]);
    let config = files.config();
    assert_eq!(config.auth.len(), 2, "certificates, and the file");
    let auth: Vec<_> = config.listeners.iter().map(|listener| listener.auth.clone().unwrap()).collect();
    assert_eq!(auth, [vec!["passwords-1".to_owned()], vec!["passwords-1".to_owned()], Vec::new()]);
    assert_eq!(files.of(Outcome::Differs), ["6 listener"]);
}

#[test]
fn lines_of_a_password_file_that_mosquitto_skips_are_left_out_of_a_copy() {
    let files = Files::new("listener 1\npassword_file DIR/users", &[("users", &format!("{PASSWORDS}nobody\n"))]);
    let config = files.config();
    assert_eq!(config.security.password_file, Some(files.path("files").join("users")));
    assert_eq!(fs::read_to_string(files.path("files").join("users")).unwrap(), PASSWORDS);
}

#[test]
fn where_something_guards_the_door_nobody_gets_in() {
    for (text, guard) in [
        (
            "listener 1\nallow_anonymous true\nauth_plugin /usr/lib/mosquitto-go-auth.so\nauth_opt_backends files",
            "3 auth_plugin",
        ),
        ("listener 1\nallow_anonymous true\nclientid_prefixes a", "3 clientid_prefixes"),
        ("listener 1\nallow_anonymous true\nbind_interface eth0", "3 bind_interface"),
        ("listener 1\nallow_anonymous true\npsk_hint a", "3 psk_hint"),
        ("listener 1\nallow_anonymous true\nmount_point a", "3 mount_point"),
        (
            "listener 1\nallow_anonymous true\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true",
            "4 proxy_protocol_v2_require_tls",
        ),
        ("listener 1\nallow_anonymous true\nmax_connections 0", "3 max_connections"),
    ] {
        let files = Files::new(text, &[]);
        let config = files.config();
        assert_eq!(files.of(Outcome::Guards), [guard], "{text}");
        let listener = &config.listeners[0];
        assert_eq!(
            (listener.allow_anonymous, &listener.auth),
            (Some(AllowAnonymous::Never), &Some(Vec::new())),
            "{text}"
        );
    }
    let files = Files::new("plugin /usr/lib/guard.so\n", &[]);
    assert!(files.config().listeners.iter().all(|listener| listener.auth == Some(Vec::new())));
    // The other listener works.
    let config = Files::new("listener 1\nallow_anonymous true\nmount_point a\nlistener 2\n", &[]).config();
    assert_eq!(config.listeners[1].auth, None);
}

#[test]
fn listeners_have_their_addresses_and_transports() {
    let text = "listener 1883 ::1\nlistener 1884 localhost\nlistener 0 /run/m.sock\nlistener 9001\nprotocol websockets\n\
                websockets_origin https://a.example\nwebsockets_origin https://b.example\nlistener 9002\nprotocol http_api\n\
                listener 1885\nsocket_domain ipv4\naccept_protocol_versions 4, 5\nmax_qos 1\nuse_username_as_clientid true\nmount_point a/\n";
    let files = Files::new(text, &[]);
    let config = files.config();
    let addresses: Vec<_> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["[::1]:1883", "localhost:1884", "unix:/run/m.sock", ":9001", "0.0.0.0:1885"]);
    assert_eq!(config.listeners[3].websocket_origins.as_ref().unwrap().len(), 2);
    assert_eq!(config.listeners[4].protocol_versions.as_ref().unwrap().len(), 2);
    assert_eq!(config.listeners[4].mount_point.as_deref(), Some("a/"));
    assert_eq!(files.of(Outcome::Missing), ["8 listener", "9 protocol"]);
}

#[test]
fn limits_keep_their_meaning() {
    let text = "max_inflight_messages 0\nmax_queued_messages 500\nmax_queued_bytes 10\nmax_packet_size 1000\nmessage_size_limit 500\n\
                memory_limit 1000\npersistent_client_expiration 2w\nmax_keepalive 60\nglobal_max_connections -1\nsys_interval 0\n\
                queue_qos0_messages false\nupgrade_outgoing_qos true\npersistence false\npersistence_location DIR/\n";
    let files = Files::new(text, &[]);
    let config = files.config();
    let limits = &config.limits;
    assert_eq!(
        (limits.inflight_messages_max.get(), limits.queued_messages_max, limits.queued_bytes_max),
        (65_535, 500, 256)
    );
    assert_eq!((limits.maximum_packet_size, limits.memory_max), (1_000, Some(32 << 20)));
    assert_eq!(limits.session_expiry_max.unwrap().as_secs(), 14 * 86_400);
    assert_eq!(config.server.data, files.path("oncemq"));
    assert_eq!(files.of(Outcome::Missing), ["12 upgrade_outgoing_qos"]);
    assert_eq!(files.of(Outcome::Carried).iter().filter(|line| line.ends_with("qos0_messages")).count(), 1);
}

#[test]
fn every_line_has_its_origin() {
    let files = Files::new("# a\nlistener 1883\nmax_keepalive 60\n", &[]);
    let converted = files.converted();
    for (number, line) in (1..).zip(converted.toml().lines()) {
        let place = converted.text.place(number);
        let conf = files.path("mosquitto.conf");
        if line.starts_with("keep_alive_max") {
            assert_eq!(place.map(ToString::to_string), Some(format!("{}:3", conf.display())));
            assert!(line.ends_with(&format!("# {}:3", conf.display())), "{line}");
        }
        assert!(line.is_empty() || line.contains("# ") || line.starts_with(['[', '#']), "{line}");
    }
}

#[test]
fn a_bridge_is_written_with_the_names_of_its_settings() {
    let text = "connection my bridge\nbridge_alpn mqtt\nbridge_session_expiry_interval 60\nbridge_max_packet_size 99999999\naddresses a.example:8883 b.example:8883\nround_robin true\nbridge_cafile /ca.pem\nbridge_insecure true\n\
                bridge_protocol_version mqttv50\nremote_clientid me\nremote_username u\nremote_password secret\ncleansession false\n\
                restart_timeout 3 40\nstart_type lazy\nthreshold 3\nbridge_outgoing_retain false\nkeepalive_interval 30\ntopic a/# both 2 l/ r/\n";
    let files = Files::new(text, &[]);
    let converted = files.converted();
    let table: toml::Table = converted.toml().parse().unwrap();
    let bridge = table["bridges"][0].as_table().unwrap();
    for (key, expected) in [
        ("name", "\"my\""),
        ("addresses", "[\"mqtts://a.example:8883\", \"mqtts://b.example:8883\"]"),
        ("address_order", "\"round-robin\""),
        ("protocol_version", "\"5.0\""),
        ("client_id", "\"me\""),
        ("user_name", "\"u\""),
        ("alpn", "\"mqtt\""),
        ("session_expiry", "\"60s\""),
        ("maximum_packet_size", "16777216"),
        ("ca", "\"/ca.pem\""),
        ("insecure_no_hostname", "true"),
        ("keep_alive", "\"30s\""),
        ("clean_start", "false"),
        ("start", "\"lazy\""),
        ("lazy_threshold", "3"),
        ("backoff_min", "\"3s\""),
        ("backoff_max", "\"40s\""),
        ("user", "\"bridge:my\""),
        ("notification_topic", "\"$SYS/broker/connection/me/state\""),
    ] {
        assert_eq!(bridge[key].to_string(), expected, "{key}");
    }
    let topics: Vec<_> =
        bridge["topics"].as_array().unwrap().iter().map(|topic| topic["direction"].to_string()).collect();
    assert_eq!(topics, ["\"out\"", "\"in\""]);
    assert!(!converted.toml().contains("secret") && !converted.report.to_string().contains("secret"));
    assert_eq!(converted.files[0].contents, "secret\n");
    assert!(Path::new(bridge["password_file"].as_str().unwrap()).ends_with("files/bridge-my.password"));
}

#[test]
fn bridges_may_do_everything_although_there_are_rules() {
    let text = "listener 1\nacl_file DIR/acl\nconnection c\naddress a\ntopic #\n";
    let files = Files::new(text, &[("acl", "topic read a")]);
    let converted = files.converted();
    assert_eq!(converted.files[0].contents, "topic read a\nuser bridge:c\nsuperuser\n");
}

#[test]
fn rules_of_dynamic_security_are_those_of_now_with_a_bridge_too() {
    let json = |topic: &str| {
        format!(
            r#"{{"clients":[{{"username":"bob","roles":[{{"rolename":"r"}}]}}],"roles":[{{"rolename":"r","acls":[{{"acltype":"publishClientSend","topic":"{topic}","allow":true}}]}}],"groups":[],"defaultACLAccess":{{"publishClientSend":false}}}}"#
        )
    };
    let text = "listener 1\nplugin /usr/lib/mosquitto_dynamic_security.so\nplugin_opt_config_file DIR/dynsec.json\nconnection c\n\
                address a\ntopic #\n";
    let files = Files::new(text, &[("dynsec.json", &json("secret/#"))]);
    let rules = |files: &Files| {
        let acl = files.config().security.acl_file.unwrap();
        fs::read_to_string(acl).unwrap()
    };
    let before = rules(&files);
    assert!(before.contains("secret/#") && before.ends_with("user bridge:c\nsuperuser\n"), "{before}");
    fs::write(files.path("dynsec.json"), json("harmless/#")).unwrap();
    let after = rules(&files);
    assert!(!after.contains("secret/#") && after.contains("harmless/#") && after.contains("bridge:c"), "{after}");
}

#[test]
fn user_names_of_sessions_count_where_all_listeners_verify_them() {
    let verifies = |conf: &str| {
        let files = Files::new(&format!("{conf}persistence true\n"), &[("p", PASSWORDS)]);
        files.converted().state.unwrap().verifies_users
    };
    assert!(verifies("listener 1\npassword_file DIR/p\n"));
    assert!(verifies("per_listener_settings true\nlistener 1\npassword_file DIR/p\n"));
    assert!(!verifies(
        "per_listener_settings true\nlistener 1\npassword_file DIR/p\nlistener 2\nallow_anonymous true\n"
    ));
    assert!(!verifies("listener 1\nallow_anonymous true\n"));
    let files = Files::new("persistence false\n", &[]);
    assert_eq!(files.converted().state, None);
}

#[test]
fn a_plugin_guards_loopback_if_there_is_no_listener() {
    let files = Files::new("per_listener_settings true\nrequire_certificate true\nplugin p.so\n", &[]);
    assert_eq!(files.of(Outcome::Guards), ["3 plugin"]);
    let listeners = files.config().listeners;
    assert!(!listeners.is_empty() && listeners.iter().all(|listener| listener.auth == Some(Vec::new())));
}

#[test]
fn without_persistence_the_file_says_that_messages_are_stored() {
    let durability = |conf: &str| {
        let converted = Files::new(conf, &[]).converted();
        converted.toml().lines().find(|line| line.starts_with("durability = ")).map(str::to_owned)
    };
    let written = durability("listener 1\n").unwrap();
    assert!(
        written.starts_with("durability = \"power-loss\"") && written.contains("mosquitto keeps nothing"),
        "{written}"
    );
    assert!(durability("persistence false\n").unwrap().starts_with("durability = \"none\""));
    assert_eq!(durability("persistence true\n"), None, "the default is what mosquitto's line asks for");
}

#[test]
fn tls_keeps_its_meaning() {
    let text = "listener 8883\ncertfile DIR/cert\nkeyfile DIR/key\ncafile DIR/ca\nrequire_certificate true\nuse_subject_as_username true\n\
                crlfile DIR/crl\ntls_version tlsv1.3\nciphers HIGH:!aNULL\nciphers_tls1.3 TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256\n\
                disable_client_cert_date_checks true\nlistener 9001\nprotocol websockets\ncertfile DIR/cert\nkeyfile DIR/key\n\
                ciphers ECDHE-RSA-AES128-GCM-SHA256\n";
    let files = Files::new(text, &[("cert", ""), ("key", ""), ("ca", ""), ("crl", "")]);
    let config = files.config();
    let (first, second) = (config.listeners[0].tls.as_ref().unwrap(), config.listeners[1].tls.as_ref().unwrap());
    assert!(first.identity_as_user_name && first.alpn == Some(Vec::new()));
    assert_eq!(first.client_ca, Some(files.path("ca")));
    assert_eq!(first.crl, Some(files.path("crl")));
    assert_eq!(first.cipher_suites.as_ref().unwrap().len(), 1);
    assert_eq!(second.cipher_suites.as_ref().unwrap().len(), 4, "one of TLS 1.2, and those of 1.3");
    assert_eq!(config.listeners[0].allow_anonymous, Some(AllowAnonymous::Never));
    assert_eq!(second.client_ca, None);

    for (text, guard) in [
        ("require_certificate true", "4 require_certificate"),
        ("use_identity_as_username true", "4 use_identity_as_username"),
    ] {
        let text = format!("listener 8883\ncertfile DIR/cert\nkeyfile DIR/key\n{text}\n");
        let files = Files::new(&text, &[("cert", ""), ("key", "")]);
        assert_eq!(files.config().listeners[0].auth, Some(Vec::new()), "{text}");
        assert_eq!(files.of(Outcome::Guards), [guard]);
    }
}

#[test]
fn dynamic_security_is_two_files() {
    let json = r#"{"defaultACLAccess": {"publishClientReceive": true}, "clients": [
        {"username": "pump", "encoded_password": "HASH", "clientid": "p1", "roles": [{"rolename": "device"}]},
        {"username": "old", "disabled": true, "encoded_password": "HASH"}, {"username": "none"}],
        "roles": [{"rolename": "device", "acls": [{"acltype": "publishClientSend", "topic": "t/%c", "allow": true}]}]}"#;
    let hash = PASSWORDS.trim().split_once(':').unwrap().1;
    let text = "listener 1\nplugin /usr/lib/mosquitto_dynamic_security.so\nplugin_opt_config_file DIR/dynsec.json\n";
    let files = Files::new(text, &[("dynsec.json", &json.replace("HASH", hash))]);
    let config = files.config();
    let read = |path: Option<PathBuf>| fs::read_to_string(path.unwrap()).unwrap();
    assert_eq!(read(config.security.password_file), format!("pump:{hash}\n"));
    assert_eq!(read(config.security.acl_file), "\ngroup client pump\nmember pump\ntopic write t/p1\n");
    let report = files.converted().report.to_string();
    for text in ["disabled, so they are left out: add", ": old", ": none", "bound to a Client Identifier"] {
        assert!(report.contains(text), "{report}");
    }
    fs::write(files.path("dynsec.json"), "{}").unwrap();
    assert_eq!(files.of(Outcome::Guards), ["2 plugin"]);
    assert!(files.config().listeners.iter().all(|listener| listener.auth == Some(Vec::new())));
}
