//! Every option of mosquitto.conf in 2.0 and 2.1: where it may stand, what its value is, and what becomes of it.

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) struct Rule {
    pub(in crate::import) name: &'static str,
    pub(in crate::import) scope: Scope,
    pub(in crate::import) kind: Kind,
    pub(in crate::import) fate: Fate,
}

/// To what the option belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Scope {
    /// The broker.
    Global,
    /// The current listener with `per_listener_settings true`, otherwise the broker.
    Security,
    /// The current listener. Without one, mosquitto makes one with the port 1883.
    Listener,
    /// A listener that was begun, also by `port`.
    BegunListener,
    /// A listener that `listener` began.
    NamedListener,
    /// The current bridge.
    Bridge,
    /// The option begins something, or has rules of its own: `special.rs`.
    Special,
}

/// The form of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Kind {
    /// `true`, `false`, `1` or `0`.
    Bool,
    /// A number; it is an error outside this range. What mosquitto takes for "no limit" is within.
    Number(i64, i64),
    /// The rest of the line; a second one is an error.
    Text,
    /// The rest of the line; the last one counts.
    LastText,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The rest of the line as words, of which at least one is there; spaces, tabs and commas are between them.
    Words,
    /// The rest of the line; each line adds one.
    EachText,
    /// So many positive numbers.
    Numbers(usize),
    /// mosquitto doesn't look at it.
    Ignored,
    /// `special.rs` knows.
    Special,
}

/// What becomes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Fate {
    /// `convert/` makes a setting of it, or says why not.
    Converted,
    /// It is so here without a setting.
    Always(&'static str),
    /// It works in another way.
    Differs(&'static str),
    /// It is not there: why, and what instead.
    Missing(&'static str),
    /// The same, if it is true; it is so here anyway if it is false.
    MissingIfTrue(&'static str),
    /// The same the other way round.
    DiffersIfFalse(&'static str),
    /// To ignore it would let in whom mosquitto keeps out.
    Guards(&'static str),
    /// The same, if it is true.
    GuardsIfTrue(&'static str),
}

/// The rule of an option; `None`: there is no such option.
pub(in crate::import) fn rule(name: &str) -> Option<&'static Rule> {
    let is_of_plugin = PLUGIN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let name = if is_of_plugin && name != "auth_plugin_deny_special_chars" { PLUGIN_OPTION } else { name };
    OPTIONS.binary_search_by(|rule| rule.name.cmp(name)).ok().and_then(|place| OPTIONS.get(place))
}

const fn option(name: &'static str, scope: Scope, kind: Kind, fate: Fate) -> Rule {
    Rule { name, scope, kind, fate }
}

/// How the options of plugins begin.
pub(super) const PLUGIN_PREFIXES: [&str; 2] = ["auth_opt_", "plugin_opt_"];
/// What stands in the table for all of them.
const PLUGIN_OPTION: &str = "plugin_opt_";

use Fate::{Always, Converted, Differs, DiffersIfFalse, Guards, GuardsIfTrue, Missing, MissingIfTrue};
use Kind::{Bool, EachText, Ignored, LastText, Number, Numbers, Text, Word, Words};
use Scope::{BegunListener, Bridge, Global, Listener, NamedListener, Security};

const ANY: Kind = Number(i32::MIN as i64, i32::MAX as i64);
const NOT_NEGATIVE: Kind = Number(0, i32::MAX as i64);
const SHORT: Kind = Number(0, u16::MAX as i64);
const LOG: &str =
    "the log goes to standard error, with the time in each line: let systemd or a container engine keep it";
const AUTOSAVE: &str = "every acknowledged message is on the disk, not only at a time";
const BUFFER: &str = "buffers grow with what arrives";
const PSK: &str = "the TLS library has no pre-shared keys: use certificates, passwords, SCRAM or tokens";
const SOCKET: &str = "this property of the socket can't be set: Keep Alive of MQTT finds dead connections";
const CIPHERS: &str = "bridges use all cipher suites of the TLS library, which are modern ones";

/// Sorted by name.
pub(in crate::import) const OPTIONS: &[Rule] = &[
    option("accept_protocol_versions", NamedListener, Words, Converted),
    option("acl_file", Security, LastText, Converted),
    option("address", Scope::Special, Kind::Special, Converted),
    option("addresses", Scope::Special, Kind::Special, Converted),
    option("allow_anonymous", Security, Bool, Converted),
    option(
        "allow_duplicate_messages",
        Global,
        Bool,
        Differs("overlapping subscriptions of a client give one copy of a message"),
    ),
    option("allow_zero_length_clientid", Security, Bool, Converted),
    option("auth_plugin", Scope::Special, Kind::Special, Converted),
    option("auth_plugin_deny_special_chars", Scope::Special, Kind::Special, Converted),
    option("auto_id_prefix", Security, Text, Converted),
    option("autosave_interval", Global, ANY, Always(AUTOSAVE)),
    option("autosave_on_changes", Global, Bool, Always(AUTOSAVE)),
    option("bind_address", Scope::Special, Kind::Special, Converted),
    option(
        "bind_interface",
        Listener,
        Text,
        Guards("a listener can't be bound to an interface: give it the address of the interface"),
    ),
    option("bridge_alpn", Bridge, Text, Converted),
    option(
        "bridge_attempt_unsubscribe",
        Bridge,
        Bool,
        Differs("a reload unsubscribes from topics that a bridge has no more"),
    ),
    option(
        "bridge_bind_address",
        Bridge,
        Text,
        Missing("the operating system chooses the address of a bridge: use its routes"),
    ),
    option("bridge_cafile", Bridge, Text, Converted),
    option("bridge_capath", Bridge, Text, Converted),
    option("bridge_certfile", Bridge, Text, Converted),
    option("bridge_ciphers", Bridge, Text, Missing(CIPHERS)),
    option("bridge_ciphers_tls1.3", Bridge, Text, Missing(CIPHERS)),
    option("bridge_identity", Bridge, Text, Guards(PSK)),
    option("bridge_insecure", Bridge, Bool, Converted),
    option("bridge_keyfile", Bridge, LastText, Converted),
    option("bridge_max_packet_size", Bridge, ANY, Converted),
    option("bridge_max_topic_alias", Bridge, SHORT, Missing("bridges send topics without aliases")),
    option("bridge_outgoing_retain", Bridge, Bool, Converted),
    option("bridge_protocol_version", Bridge, Word(&["mqttv31", "mqttv311", "mqttv50"]), Converted),
    option("bridge_psk", Bridge, Text, Guards(PSK)),
    option("bridge_receive_maximum", Bridge, Number(1, u16::MAX as i64), Converted),
    option(
        "bridge_reload_type",
        Bridge,
        Word(&["lazy", "immediate"]),
        Differs("a bridge whose settings have changed connects anew at a reload"),
    ),
    option(
        "bridge_require_ocsp",
        Bridge,
        Bool,
        MissingIfTrue("stapled OCSP answers are not looked at: the certificate is verified without them"),
    ),
    option("bridge_session_expiry_interval", Bridge, NOT_NEGATIVE, Converted),
    option("bridge_tcp_keepalive", Bridge, Numbers(3), Missing(SOCKET)),
    option("bridge_tcp_user_timeout", Bridge, NOT_NEGATIVE, Missing(SOCKET)),
    option("bridge_tls_use_os_certs", Bridge, Bool, Converted),
    option("bridge_tls_version", Bridge, Text, Differs("bridges use TLS 1.3 or 1.2, whichever the remote broker has")),
    option("cafile", BegunListener, LastText, Converted),
    option("capath", Listener, LastText, Converted),
    option("certfile", Listener, LastText, Converted),
    option("check_retain_source", Global, Bool, Converted),
    option("ciphers", Listener, LastText, Converted),
    option("ciphers_tls1.3", Listener, LastText, Converted),
    option("cleansession", Bridge, Bool, Converted),
    option("clientid", Bridge, Text, Converted),
    option(
        "clientid_prefixes",
        Global,
        LastText,
        Guards(
            "Client Identifiers can't be restricted to a prefix: tie them to user names with `client_id` of the listener",
        ),
    ),
    option("connection", Scope::Special, Kind::Special, Converted),
    option("connection_messages", Global, Bool, Converted),
    option("crlfile", Listener, LastText, Converted),
    option("dhparamfile", Listener, Ignored, Always("the key exchange is ECDHE")),
    option("disable_client_cert_date_checks", BegunListener, Bool, Converted),
    option("enable_control_api", Global, Bool, MissingIfTrue("there is no $CONTROL: use `oncemq` and its HTTP API")),
    option("enable_proxy_protocol", BegunListener, Number(1, 2), Converted),
    option("global_max_clients", Global, ANY, Converted),
    option("global_max_connections", Global, ANY, Converted),
    option("global_plugin", Scope::Special, Kind::Special, Converted),
    option("http_dir", BegunListener, Text, Missing("no files are served: use a web server")),
    option("idle_timeout", Bridge, ANY, Converted),
    option("include_dir", Scope::Special, Kind::Special, Converted),
    option("keepalive_interval", Bridge, Number(i32::MIN as i64, u16::MAX as i64), Converted),
    option("keyfile", Listener, LastText, Converted),
    option("listener", Scope::Special, Kind::Special, Converted),
    option("listener_allow_anonymous", BegunListener, Bool, Converted),
    option("listener_auto_id_prefix", BegunListener, Text, Converted),
    option(
        "local_cleansession",
        Bridge,
        Bool,
        MissingIfTrue("the session of a bridge on this side is kept: what it has not passed on is not lost"),
    ),
    option("local_clientid", Bridge, Text, Differs("the Client Identifier of a bridge on this side is $bridge/NAME")),
    option("local_password", Bridge, Text, Always("a bridge needs no password on this side")),
    option("local_username", Bridge, Text, Converted),
    option("log_dest", Scope::Special, Kind::Special, Converted),
    option("log_facility", Global, Number(0, 7), Missing(LOG)),
    option("log_timestamp", Global, Bool, DiffersIfFalse(LOG)),
    option("log_timestamp_format", Global, Text, Differs(LOG)),
    option("log_type", Scope::Special, Kind::Special, Converted),
    option("max_connections", Listener, ANY, Converted),
    option("max_inflight_bytes", Global, ANY, Converted),
    option("max_inflight_messages", Global, Number(i32::MIN as i64, u16::MAX as i64), Converted),
    option("max_keepalive", Global, SHORT, Converted),
    option("max_packet_size", Global, Number(20, i32::MAX as i64), Converted),
    option("max_qos", Listener, Number(0, 2), Converted),
    option("max_queued_bytes", Global, ANY, Converted),
    option("max_queued_messages", Global, ANY, Converted),
    option("max_topic_alias", BegunListener, SHORT, Converted),
    option("max_topic_alias_broker", BegunListener, SHORT, Converted),
    option("maximum_qos", Listener, Number(0, 2), Converted),
    option("memory_limit", Global, Number(0, i64::MAX), Converted),
    option("message_size_limit", Global, Number(0, 268_435_455), Converted),
    option("mount_point", BegunListener, LastText, Converted),
    option("notification_topic", Bridge, Text, Converted),
    option("notifications", Bridge, Bool, Converted),
    option("notifications_local_only", Bridge, Bool, Converted),
    option("packet_buffer_size", Global, SHORT, Always(BUFFER)),
    option("password", Bridge, Text, Converted),
    option("password_file", Security, LastText, Converted),
    option("per_listener_settings", Scope::Special, Kind::Special, Converted),
    option("persistence", Global, Bool, Converted),
    option("persistence_file", Global, Text, Missing("the store is a directory")),
    option("persistence_location", Global, Text, Converted),
    option("persistent_client_expiration", Scope::Special, Kind::Special, Converted),
    option("pid_file", Global, Text, Missing("systemd knows the process: configs/oncemq.service")),
    option("plugin", Scope::Special, Kind::Special, Converted),
    option("plugin_load", Scope::Special, Kind::Special, Converted),
    option("plugin_opt_", Scope::Special, Kind::Special, Converted),
    option("plugin_use", Scope::Special, Kind::Special, Converted),
    option("port", Scope::Special, Kind::Special, Converted),
    option("protocol", Listener, Word(&["mqtt", "websockets", "http_api"]), Converted),
    option(
        "proxy_protocol_v2_require_tls",
        BegunListener,
        Bool,
        GuardsIfTrue(
            "what a proxy says about TLS is believed from named proxies only: set trusted_proxies and [listeners.proxy_tls] of the listener",
        ),
    ),
    option("psk_file", Security, LastText, Missing(PSK)),
    option("psk_hint", Listener, Text, Guards(PSK)),
    option(
        "queue_qos0_messages",
        Global,
        Bool,
        MissingIfTrue("QoS 0 messages are not queued: subscribe and publish with QoS 1"),
    ),
    option("remote_clientid", Bridge, Text, Converted),
    option("remote_password", Bridge, Text, Converted),
    option("remote_username", Bridge, Text, Converted),
    option("require_certificate", Listener, Bool, Converted),
    option("restart_timeout", Scope::Special, Kind::Special, Converted),
    option("retain_available", Global, Bool, Converted),
    option(
        "retain_expiry_interval",
        Global,
        Number(1, i32::MAX as i64),
        Missing("retained messages expire if their publishers say so: Message Expiry Interval"),
    ),
    option("retained_persistence", Global, Bool, Converted),
    option(
        "retry_interval",
        Global,
        Ignored,
        Always("messages are sent again after a reconnect only, as the standard says"),
    ),
    option("round_robin", Bridge, Bool, Converted),
    option("set_tcp_nodelay", Global, Bool, DiffersIfFalse("TCP_NODELAY is always set")),
    option("socket_domain", Listener, Word(&["ipv4", "ipv6"]), Converted),
    option("start_type", Bridge, Word(&["automatic", "lazy", "once"]), Converted),
    option("sys_interval", Global, SHORT, Converted),
    option("threshold", Bridge, ANY, Converted),
    option("tls_engine", Listener, Text, Guards("keys are read from files, not from an engine of OpenSSL")),
    option("tls_engine_kpass_sha1", Listener, Text, Missing("keys are read from files, not from an engine of OpenSSL")),
    option("tls_keyform", Listener, Text, Converted),
    option("tls_version", BegunListener, Text, Converted),
    option("topic", Scope::Special, Kind::Special, Converted),
    option("try_private", Bridge, Bool, Converted),
    option(
        "upgrade_outgoing_qos",
        Global,
        Bool,
        MissingIfTrue(
            "a message is delivered at the lower one of the QoS of publisher and subscription: publish with QoS 1 or 2",
        ),
    ),
    option("use_identity_as_username", Listener, Bool, Converted),
    option("use_subject_as_username", Listener, Bool, Converted),
    option("use_username_as_clientid", Listener, Bool, Converted),
    option(
        "user",
        Global,
        LastText,
        Missing("the broker does not change its user: start it as that user, as configs/oncemq.service does"),
    ),
    option("username", Bridge, Text, Converted),
    option("websockets_headers_size", Global, SHORT, Always(BUFFER)),
    option("websockets_log_level", Global, ANY, Differs("log.level is for all connections")),
    option("websockets_origin", BegunListener, EachText, Converted),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_option_is_found() {
        assert!(OPTIONS.is_sorted_by(|one, other| one.name < other.name));
        assert!(OPTIONS.iter().all(|option| rule(option.name) == Some(option)));
        assert_eq!(rule("auth_opt_backends").map(|rule| rule.name), Some("plugin_opt_"));
        for unknown in ["", "Listener", "listeners", "port ", "plugin_op"] {
            assert_eq!(rule(unknown), None);
        }
    }
}
