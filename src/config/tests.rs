//! `configs/oncemq.toml` names every setting, and the values in it are the defaults.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::*;

const REFERENCE: &str = include_str!("../../configs/oncemq.toml");

/// The file with every setting enabled: `#name = …` and `#[table]` without their `#`.
fn uncommented() -> String {
    let begins_setting = |rest: &str| {
        rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(name, _)| name.chars().all(is_name_character))
    };
    let lines = REFERENCE.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if begins_setting(rest) => rest,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_lowercase() || character == '_'
}

#[test]
fn the_reference_file_equals_the_default() {
    let config: Config = toml::from_str(REFERENCE).unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn the_reference_file_names_every_setting() {
    let text = uncommented();
    let of_tls = |key: &str| format!("listeners[2].tls.{key}");
    let named: BTreeSet<String> = locate::places(&text).into_iter().map(|place| place.path).collect();
    let mut known: BTreeSet<String> = schema::settings().collect();
    known.extend(schema::sections().iter().map(|section| (*section).to_owned()));
    known.extend(schema::keys("listeners").iter().map(|key| format!("listeners[2].{key}")));
    known.extend(schema::keys("listeners.tls").iter().map(|key| format!("listeners[2].tls.{key}")));
    known.extend(["certificates[0]", "certificates[0].certificate", "certificates[0].key"].map(of_tls));
    known.extend(["cipher_suites[0]", "cipher_suites[1]", "alpn[0]"].map(of_tls));
    known.extend(schema::keys("listeners.proxy_tls").iter().map(|key| format!("listeners[2].proxy_tls.{key}")));
    known.insert("durability_rules[0]".to_owned());
    known.insert("log.clients[0]".to_owned());
    known.extend((0..3).map(|index| format!("cluster.nats[{index}]")));
    known.insert("admin.allowed_hosts[0]".to_owned());
    known.insert("admin.certificate_roles[0]".to_owned());
    let lists = ["trusted_proxies[0]", "trusted_proxies[1]", "websocket_origins[0]"];
    known.extend(lists.map(|item| format!("listeners[2].{item}")));
    known.insert("listeners[2].auth[0]".to_owned());
    known.extend(["listeners[2].protocol_versions[0]", "listeners[2].protocol_versions[1]"].map(str::to_owned));
    known.extend(["auth[0]", "auth[0].algorithms[0]", "auth[0].required_claims.iss"].map(str::to_owned));
    known.extend(schema::keys("auth").iter().map(|key| format!("auth[0].{key}")));
    known.extend(["user_limits[0]".to_owned(), "user_limits[0].users[0]".to_owned()]);
    known.extend(schema::keys("user_limits").iter().map(|key| format!("user_limits[0].{key}")));
    known.extend(["bridges[0]", "bridges[0].addresses[0]", "bridges[0].topics[0]"].map(str::to_owned));
    known.extend(schema::keys("bridges").iter().map(|key| format!("bridges[0].{key}")));
    known.extend(schema::keys("bridges.topics").iter().map(|key| format!("bridges[0].topics[0].{key}")));
    known.extend(schema::keys("durability_rules").iter().map(|key| format!("durability_rules[0].{key}")));
    for list in ["topic_rewrite", "auto_subscribe", "streams", "redelivery"] {
        known.insert(format!("{list}[0]"));
        known.extend(schema::keys(list).iter().map(|key| format!("{list}[0].{key}")));
    }
    known.extend(["sinks[0]".to_owned(), "sinks[0].filters[0]".to_owned()]);
    known.extend(schema::keys("sinks").iter().map(|key| format!("sinks[0].{key}")));
    for index in 0..3 {
        known.extend([format!("listeners[{index}]"), format!("listeners[{index}].address")]);
    }
    assert_eq!(named, known);
}

#[test]
fn every_value_in_the_reference_file_is_the_default() {
    let mut config: Config = toml::from_str(&uncommented()).unwrap();
    let example = config.listeners.pop().unwrap();
    assert_eq!(example.transport, Transport::Wss);
    // Settings without a default have an example value.
    let rule = config.durability_rules.pop().unwrap();
    assert_eq!((rule.topic.as_str(), rule.level), ("telemetry/#", Durability::None));
    assert_eq!(config.user_limits.pop().unwrap().users, ["sensor-*"]);
    assert_bridge_is_default(config.bridges.pop().unwrap());
    assert_eq!(config.topic_rewrite.pop().map(|rule| rule.compile().is_ok()), Some(true));
    let automatic = config.auto_subscribe.pop().unwrap();
    let default: crate::config::AutoSubscribe = toml::from_str("topic = \"devices/%c/commands\"").unwrap();
    assert_eq!(automatic, default);
    let mut stream = config.streams.pop().unwrap();
    let default: crate::config::Stream = toml::from_str("name = \"orders\"\ntopic = \"orders/#\"").unwrap();
    assert!(stream.max_age.take().is_some() && stream.max_messages.take().is_some() && stream.key.take().is_some());
    assert!(stream.group_key.take().is_some());
    assert_eq!(stream, default);
    let mut redelivery = config.redelivery.pop().unwrap();
    assert!(redelivery.dead_letter_topic.take().is_some());
    let default: crate::config::Redelivery = toml::from_str("topic = \"orders/#\"").unwrap();
    assert_eq!(redelivery, default);
    assert_sink_is_default(config.sinks.pop().unwrap());
    // They are described by the kind of provider, which has defaults of its own.
    let provider = config.auth.pop().unwrap();
    assert_eq!((provider.kind, provider.label()), (ProviderKind::Jwt, "devices"));
    assert_eq!(provider.from, Some(TokenFrom::default()));
    assert_eq!(config.server.segment_size.take(), Some(64 << 20));
    assert!(config.security.password_file.take().is_some());
    assert!(config.security.acl_file.take().is_some());
    assert!(config.limits.inflight_bytes_max.take().is_some());
    assert!(config.limits.client_messages_per_second_max.take().is_some());
    assert!(config.limits.client_bytes_per_second_max.take().is_some());
    assert!(config.bans.short_connections_max.take().is_some());
    assert!(config.bans.refused_logins_max.take().is_some());
    assert!(config.probe.listener.take().is_some());
    for text in [&mut config.probe.user_name, &mut config.probe.server_name] {
        assert!(text.take().is_some());
    }
    let probe = &mut config.probe;
    for file in [&mut probe.password_file, &mut probe.certificate, &mut probe.key, &mut probe.ca] {
        assert!(file.take().is_some());
    }
    assert!(config.telemetry.endpoint.take().is_some());
    assert!(config.telemetry.headers_file.take().is_some());
    assert!(config.telemetry.ca.take().is_some());
    assert_cluster_is_default(std::mem::take(&mut config.cluster));
    assert!(config.mqtt.response_information.take().is_some());
    assert_eq!(std::mem::take(&mut config.log.clients), ["sensor-*"]);
    assert_eq!(std::mem::take(&mut config.admin.allowed_hosts), ["broker"]);
    assert_eq!(std::mem::take(&mut config.admin.certificate_roles), ["alice=operator"]);
    for file in [&mut config.admin.certificate, &mut config.admin.key, &mut config.admin.client_ca] {
        assert!(file.take().is_some());
    }
    assert!(config.mqtt.server_reference.take().is_some());
    assert!(config.mqtt.dead_letter_topic.take().is_some());
    assert_eq!(config, Config::default());
}

/// But for settings without a default, which have an example value.
fn assert_bridge_is_default(bridge: crate::config::Bridge) {
    assert_eq!(bridge.topics, [toml::from_str("filter = \"sensors/#\"").unwrap()]);
    let without_default = crate::config::Bridge {
        name: "cloud".to_owned(),
        addresses: bridge.addresses.clone(),
        client_id: bridge.client_id.clone(),
        user_name: bridge.user_name.clone(),
        password_file: bridge.password_file.clone(),
        ca: bridge.ca.clone(),
        certificate: bridge.certificate.clone(),
        key: bridge.key.clone(),
        server_name: bridge.server_name.clone(),
        alpn: bridge.alpn.clone(),
        maximum_packet_size: bridge.maximum_packet_size,
        user: bridge.user.clone(),
        notification_topic: bridge.notification_topic.clone(),
        topics: bridge.topics.clone(),
        ..crate::config::Bridge::default()
    };
    assert_eq!(bridge, without_default);
}

/// But for settings without a default, which have an example value.
fn assert_cluster_is_default(cluster: crate::config::Cluster) {
    let default = crate::config::Cluster::default();
    assert!(cluster.node.is_some() && cluster.advertise.is_some() && cluster.parsed_addresses().len() == 3);
    assert!(cluster.identity().is_some() && cluster.ca.is_some() && cluster.user_name.is_some());
    assert!(cluster.password_file.is_some() && cluster.credentials_file.is_some() && cluster.nkey_file.is_some());
    let without_examples = crate::config::Cluster {
        name: cluster.name,
        copies: cluster.copies,
        cells: cluster.cells,
        tail_copies: cluster.tail_copies,
        ..default.clone()
    };
    assert_eq!(without_examples, default);
}

/// But for settings without a default, which have an example value.
fn assert_sink_is_default(sink: crate::config::Sink) {
    let default: crate::config::Sink =
        toml::from_str("name = \"alarms\"\ntype = \"webhook\"\nfilters = [\"alarms/#\"]").unwrap();
    assert!(sink.url.is_some() && sink.url_file.is_some() && sink.user.is_some());
    let without_examples = crate::config::Sink {
        url: None,
        url_file: None,
        ca: None,
        certificate: None,
        key: None,
        headers_file: None,
        secret_file: None,
        user: None,
        ..sink
    };
    assert_eq!(without_examples, default);
}

#[test]
fn every_setting_of_the_reference_file_has_a_comment() {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    let setting = |line: &str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(is_name_character));
    for pair in lines.windows(2).filter(|pair| setting(pair[1]) && pair[1].contains(" = ")) {
        let explained = pair[0].starts_with("# ") || setting(pair[0]) || pair[0].starts_with("#[[");
        assert!(explained, "{}", pair[1]);
    }
}

#[test]
fn a_configuration_with_every_setting_survives_a_round_trip() {
    let mut config: Config = toml::from_str(&uncommented()).unwrap();
    config.listeners[0].connections_per_second_max = NonZeroU32::new(7);
    let text = toml::to_string(&config).unwrap();
    assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
}
