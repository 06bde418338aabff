//! Recognizes files that are not TOML, to say what they are.

use std::fmt::Write;

/// What a text that is not valid TOML is instead, if it is recognized.
pub(super) fn recognize(text: &str) -> Option<String> {
    let start = text.trim_start();
    if is_all(text, is_rule) {
        return Some("this is a file of access rules: name it in a configuration, as [security] acl_file".to_owned());
    }
    if is_all(text, is_password) {
        return Some("this is a password file: name it in a configuration, as [security] password_file".to_owned());
    }
    if let Some(options) = mosquitto_options(text) {
        return Some(describe_mosquitto(&options));
    }
    if start.starts_with('{') {
        return Some("this is JSON, not TOML: oncemq reads TOML, such as configs/oncemq.toml".to_owned());
    }
    if start.starts_with('<') {
        return Some("this is XML or HTML, not TOML: oncemq reads TOML, such as configs/oncemq.toml".to_owned());
    }
    if start.starts_with("-----BEGIN ") {
        return Some("this is a certificate or a key in PEM, not a configuration".to_owned());
    }
    let is_yaml = start.starts_with("---") || significant_lines(text).any(|(_, line)| is_yaml_line(line));
    let is_toml_like = significant_lines(text).any(|(_, line)| line.starts_with('[') || line.contains(" = "));
    (is_yaml && !is_toml_like)
        .then(|| "this is YAML, not TOML: oncemq reads TOML, such as configs/oncemq.toml".to_owned())
}

/// The options of mosquitto with their lines, if most of the text consists of them.
fn mosquitto_options(text: &str) -> Option<Vec<(usize, &str)>> {
    let mut lines = 0;
    let mut options = Vec::new();
    for (number, line) in significant_lines(text) {
        lines += 1;
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let is_option = OPTIONS.contains(&word) || PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        if is_option && !rest.trim_start().starts_with('=') {
            options.push((number, word));
        }
    }
    (!options.is_empty() && options.len() * 2 > lines).then_some(options)
}

fn describe_mosquitto(options: &[(usize, &str)]) -> String {
    let mut text = String::from(
        "this is a configuration of mosquitto, not TOML; oncemq does not read it, and can't import it yet: write these \
         settings as configs/oncemq.toml shows",
    );
    for (line, option) in options.iter().take(LISTED_MAX) {
        let equivalent = EQUIVALENTS.iter().find(|(name, _)| name == option).map(|(_, equivalent)| *equivalent);
        // Writing to a String can't fail.
        let _ = match equivalent {
            Some(equivalent) => write!(text, "\n  line {line}: {option}: {equivalent}"),
            None => write!(text, "\n  line {line}: {option}"),
        };
    }
    let rest = options.len().saturating_sub(LISTED_MAX);
    if rest > 0 {
        let _ = write!(text, "\n  and {rest} more");
    }
    text
}

/// The lines that are not empty and no comment, with their numbers.
fn significant_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Whether the text has lines, all of this kind.
fn is_all(text: &str, is: fn(&str) -> bool) -> bool {
    significant_lines(text).next().is_some() && significant_lines(text).all(|(_, line)| is(line))
}

/// A line of an ACL file.
fn is_rule(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (first, second) = (words.next(), words.next().unwrap_or_default());
    let has_access = ["read", "write", "readwrite", "deny"].contains(&second);
    matches!(first, Some("user" | "pattern" | "group" | "member" | "superuser"))
        || (first == Some("topic") && (has_access || words.next().is_none()))
}

/// A line of a password file.
fn is_password(line: &str) -> bool {
    line.split_once(':').is_some_and(|(user, hash)| !user.is_empty() && hash.starts_with('$'))
}

/// `key:` or `key: value`, where TOML has `key = value`.
fn is_yaml_line(line: &str) -> bool {
    let Some((key, value)) = line.trim_start_matches("- ").split_once(':') else { return false };
    let is_key = !key.is_empty() && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter));
    is_key && (value.is_empty() || value.starts_with(' '))
}

/// More options are counted only.
const LISTED_MAX: usize = 40;

/// What takes the place of an option.
const EQUIVALENTS: [(&str, &str); 52] = [
    ("listener", "[[listeners]] with address = \"ADDRESS:PORT\""),
    ("port", "[[listeners]] with address = \"ADDRESS:PORT\""),
    ("bind_address", "the address of [[listeners]]"),
    ("protocol", "transport of [[listeners]]: \"tcp\", \"tls\", \"ws\" or \"wss\""),
    ("certfile", "[listeners.tls] certificate"),
    ("keyfile", "[listeners.tls] key"),
    ("cafile", "[listeners.tls] client_ca"),
    ("crlfile", "[listeners.tls] crl"),
    ("require_certificate", "[listeners.tls] client_certificate = \"required\""),
    ("disable_client_cert_date_checks", "[listeners.tls] client_certificate_dates = \"ignored\""),
    ("use_identity_as_username", "[listeners.tls] identity_as_user_name"),
    ("use_subject_as_username", "[listeners.tls] identity_as_user_name with identity = \"subject\""),
    ("use_username_as_clientid", "client_id = \"user-name\" of [[listeners]]"),
    ("per_listener_settings", "allow_anonymous, password_file and acl_file of [[listeners]]"),
    ("tls_version", "[listeners.tls] min_version"),
    ("ciphers", "[listeners.tls] cipher_suites"),
    ("ciphers_tls1.3", "[listeners.tls] cipher_suites"),
    ("psk_file", "not supported: the TLS library has no pre-shared keys"),
    ("psk_hint", "not supported: the TLS library has no pre-shared keys"),
    ("max_connections", "connections_max of [[listeners]]"),
    ("global_max_connections", "[limits] connections_max"),
    ("allow_anonymous", "[security] allow_anonymous"),
    ("password_file", "[security] password_file"),
    ("acl_file", "[security] acl_file"),
    ("persistence", "[server] durability"),
    ("persistence_location", "[server] data"),
    ("persistence_file", "needed no more: the store is in [server] data"),
    ("autosave_interval", "needed no more: every acknowledged message is stored"),
    ("autosave_on_changes", "needed no more: every acknowledged message is stored"),
    ("persistent_client_expiration", "[limits] session_expiry_max"),
    ("sys_interval", "[mqtt] sys_interval"),
    ("retain_available", "[mqtt] retain_available"),
    ("max_qos", "[mqtt] maximum_qos"),
    ("max_keepalive", "[limits] keep_alive_max"),
    ("max_packet_size", "[limits] maximum_packet_size"),
    ("message_size_limit", "[limits] maximum_packet_size"),
    ("max_inflight_messages", "[limits] inflight_messages_max"),
    ("max_queued_messages", "[limits] queued_messages_max"),
    ("max_queued_bytes", "[limits] queued_bytes_max"),
    ("max_topic_alias", "[limits] topic_alias_maximum"),
    ("max_topic_alias_broker", "[limits] topic_alias_maximum_outgoing"),
    ("auto_id_prefix", "[mqtt] assigned_client_id_prefix"),
    ("log_type", "[log] level"),
    ("log_dest", "needed no more: the log goes to standard error"),
    ("log_timestamp", "needed no more: every line of the log has the time"),
    ("log_timestamp_format", "needed no more: every line of the log has the time"),
    ("connection_messages", "[log] level"),
    ("pid_file", "needed no more: see configs/oncemq.service"),
    ("user", "needed no more: see configs/oncemq.service"),
    ("socket_domain", "the address of [[listeners]]"),
    ("set_tcp_nodelay", "needed no more: it is always set"),
    ("queue_qos0_messages", "not supported: QoS 0 messages are not queued"),
];

/// The beginnings of the options that plugins define.
const PREFIXES: [&str; 2] = ["auth_opt_", "plugin_opt_"];

/// The options of mosquitto up to 2.1, from mosquitto.conf(5).
const OPTIONS: &[&str] = &[
    "accept_protocol_versions",
    "acl_file",
    "address",
    "addresses",
    "allow_anonymous",
    "allow_duplicate_messages",
    "allow_zero_length_clientid",
    "auth_plugin",
    "auth_plugin_deny_special_chars",
    "auto_id_prefix",
    "autosave_interval",
    "autosave_on_changes",
    "bind_address",
    "bind_interface",
    "bridge_alpn",
    "bridge_attempt_unsubscribe",
    "bridge_bind_address",
    "bridge_cafile",
    "bridge_capath",
    "bridge_certfile",
    "bridge_ciphers",
    "bridge_ciphers_tls1.3",
    "bridge_identity",
    "bridge_insecure",
    "bridge_keyfile",
    "bridge_max_packet_size",
    "bridge_max_topic_alias",
    "bridge_outgoing_retain",
    "bridge_protocol_version",
    "bridge_psk",
    "bridge_receive_maximum",
    "bridge_reload_type",
    "bridge_require_ocsp",
    "bridge_session_expiry_interval",
    "bridge_tcp_keepalive",
    "bridge_tcp_user_timeout",
    "bridge_tls_version",
    "cafile",
    "capath",
    "certfile",
    "check_retain_source",
    "ciphers",
    "ciphers_tls1.3",
    "cleansession",
    "clientid",
    "clientid_prefixes",
    "connection",
    "connection_messages",
    "crlfile",
    "dhparamfile",
    "disable_client_cert_date_checks",
    "enable_control_api",
    "enable_proxy_protocol",
    "global_max_clients",
    "global_max_connections",
    "global_plugin",
    "http_dir",
    "idle_timeout",
    "include_dir",
    "keepalive_interval",
    "keyfile",
    "listener",
    "listener_allow_anonymous",
    "listener_auto_id_prefix",
    "local_cleansession",
    "local_clientid",
    "local_password",
    "local_username",
    "log_dest",
    "log_facility",
    "log_timestamp",
    "log_timestamp_format",
    "log_type",
    "max_connections",
    "max_inflight_bytes",
    "max_inflight_messages",
    "max_keepalive",
    "max_log_entries",
    "max_packet_size",
    "max_qos",
    "max_queued_bytes",
    "max_queued_messages",
    "max_topic_alias",
    "max_topic_alias_broker",
    "memory_limit",
    "message_size_limit",
    "mount_point",
    "notification_topic",
    "notifications",
    "notifications_local_only",
    "packet_buffer_size",
    "packet_max_auth",
    "packet_max_connect",
    "packet_max_simple",
    "packet_max_sub",
    "packet_max_un",
    "password",
    "password_file",
    "per_listener_settings",
    "persistence",
    "persistence_file",
    "persistence_location",
    "persistent_client_expiration",
    "pid_file",
    "plugin",
    "plugin_load",
    "plugin_use",
    "port",
    "protocol",
    "proxy_protocol_v2_require_tls",
    "psk_file",
    "psk_hint",
    "queue_qos0_messages",
    "receive_maximum",
    "remote_clientid",
    "remote_password",
    "remote_username",
    "require_certificate",
    "restart_timeout",
    "retain_available",
    "retain_expiry_interval",
    "retry_interval",
    "round_robin",
    "set_tcp_nodelay",
    "socket_domain",
    "start_type",
    "store_clean_interval",
    "sys_interval",
    "threshold",
    "tls_engine",
    "tls_engine_kpass_sha1",
    "tls_keyform",
    "tls_version",
    "topic",
    "try_private",
    "upgrade_outgoing_qos",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
    "user",
    "username",
    "websockets_headers_size",
    "websockets_log_level",
    "websockets_origin",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mosquitto_configuration_is_recognized_with_its_options_and_lines() {
        let text = "# a comment\nlistener 1883\n\nallow_anonymous true\npersistence true\n  persistence_location /var/lib/\nwhat ever\n";
        let description = recognize(text).unwrap();
        assert!(description.starts_with("this is a configuration of mosquitto, not TOML; oncemq does not read it"));
        for line in [
            "\n  line 2: listener: [[listeners]] with address",
            "\n  line 4: allow_anonymous: [security] allow_anonymous",
            "\n  line 5: persistence: [server] durability",
            "\n  line 6: persistence_location: [server] data",
        ] {
            assert!(description.contains(line), "{description}");
        }
        assert!(!description.contains("what"));
        assert!(recognize("connection bridge\naddress 192.0.2.1\ntopic # both 1\n").unwrap().contains("line 3: topic"));
    }

    #[test]
    fn a_long_list_of_options_is_cut() {
        let description = recognize(&"topic # out 1\n".repeat(LISTED_MAX + 7)).unwrap();
        assert!(description.ends_with("\n  and 7 more"), "{description}");
        assert_eq!(description.lines().count(), LISTED_MAX + 2);
    }

    #[test]
    fn other_formats_are_recognized() {
        for (text, name) in [
            ("{\"listeners\": []}", "JSON"),
            ("listeners:\n  - address: 127.0.0.1:1883\n", "YAML"),
            ("---\nserver:\n", "YAML"),
            ("<config/>", "XML"),
            ("-----BEGIN CERTIFICATE-----\n", "PEM"),
            ("# rules\ntopic read a/#\nuser alice\ntopic b\npattern write %c\n", "[security] acl_file"),
            ("alice:$7$101$abc$def\n", "[security] password_file"),
            ("user mosquitto\nlistener 1883\n", "mosquitto"),
            ("plugin /usr/lib/p.so\nplugin_opt_backend files\nauth_opt_log_level debug\n", "mosquitto"),
        ] {
            assert!(recognize(text).unwrap().contains(name), "{text}");
        }
    }

    #[test]
    fn toml_with_an_error_is_not_taken_for_something_else() {
        for text in
            ["[limits]\nconnections_max = \n", "port = 1883\n[", "listeners = [", "user = \"a\nb: c\n", "words\n", ""]
        {
            assert_eq!(recognize(text), None, "{text}");
        }
    }

    #[test]
    fn every_equivalent_is_of_a_known_option() {
        assert!(EQUIVALENTS.iter().all(|(name, _)| OPTIONS.contains(name)));
        assert!(OPTIONS.is_sorted());
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String) {
            let _ = recognize(&text);
        }
    }
}
