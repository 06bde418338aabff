//! Recognizes files that are not TOML, to say what they are.

/// What a text that is not valid TOML is instead, if it is recognized.
pub(super) fn recognize(text: &str) -> Option<String> {
    let start = text.trim_start();
    if is_all(text, is_rule) {
        return Some("this is a file of access rules: name it in a configuration, as [security] acl_file".to_owned());
    }
    if is_all(text, is_password) {
        return Some("this is a password file: name it in a configuration, as [security] password_file".to_owned());
    }
    if is_mosquitto(text) {
        return Some(MOSQUITTO.to_owned());
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
    let is_yaml = start.starts_with("---") || significant_lines(text).any(|line| is_yaml_line(line));
    let is_toml_like = significant_lines(text).any(|line| line.starts_with('[') || line.contains(" = "));
    (is_yaml && !is_toml_like)
        .then(|| "this is YAML, not TOML: oncemq reads TOML, such as configs/oncemq.toml".to_owned())
}

/// Whether most of the text consists of options of mosquitto.
fn is_mosquitto(text: &str) -> bool {
    let is_option = |line: &str| {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let is_known = OPTIONS.contains(&word) || PREFIXES.iter().any(|prefix| word.starts_with(prefix));
        is_known && !rest.trim_start().starts_with('=')
    };
    let (mut lines, mut options) = (0, 0);
    for line in significant_lines(text) {
        lines += 1;
        options += usize::from(is_option(line));
    }
    options > 0 && options * 2 > lines
}

/// The lines that are not empty and no comment.
fn significant_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether the text has lines, all of this kind.
fn is_all(text: &str, is: fn(&str) -> bool) -> bool {
    significant_lines(text).next().is_some() && significant_lines(text).all(|line| is(line))
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

/// What to do with a configuration of mosquitto.
const MOSQUITTO: &str = "this is a configuration of mosquitto, not TOML: `oncemq import mosquitto FILE --out oncemq.toml` makes TOML of it, \
                         and `oncemq --mosquitto-conf FILE` starts from it as it is";

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
    fn other_formats_are_recognized() {
        for (text, name) in [
            ("{\"listeners\": []}", "JSON"),
            ("listeners:\n  - address: 127.0.0.1:1883\n", "YAML"),
            ("---\nserver:\n", "YAML"),
            ("<config/>", "XML"),
            ("-----BEGIN CERTIFICATE-----\n", "PEM"),
            ("# rules\ntopic read a/#\nuser alice\ntopic b\npattern write %c\n", "[security] acl_file"),
            ("alice:$7$101$abc$def\n", "[security] password_file"),
            ("user mosquitto\nlistener 1883\n", "oncemq import mosquitto"),
            ("# a comment\nlistener 1883\n\n  persistence_location /var/lib/\nwhat ever\n", "oncemq import mosquitto"),
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
    fn the_options_are_sorted() {
        assert!(OPTIONS.is_sorted());
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String) {
            let _ = recognize(&text);
        }
    }
}
