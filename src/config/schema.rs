//! The names of all settings, derived from the types.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::{
    Admin, AutoSubscribe, Bans, Bridge, BridgeTopic, Cluster, Config, DurabilityRule, Limits, Listener, Log, Mqtt,
    NamedCertificate, Probe, Provider, ProxyTls, Receipts, Redelivery, Security, Server, Sink, Stream, Telemetry, Tls,
    TopicRewrite, UserLimit,
};

/// The sections, in the order of [`Config`].
pub(super) fn sections() -> &'static [&'static str] {
    fields::<Config>()
}

/// The settings of a section, in the order of its type; empty if there is no such section.
pub(super) fn keys(section: &str) -> &'static [&'static str] {
    match section {
        "server" => fields::<Server>(),
        "durability_rules" => fields::<DurabilityRule>(),
        "listeners" => fields::<Listener>(),
        "listeners.tls" => fields::<Tls>(),
        "listeners.tls.certificates" => fields::<NamedCertificate>(),
        "listeners.proxy_tls" => fields::<ProxyTls>(),
        "security" => fields::<Security>(),
        "auth" => fields::<Provider>(),
        "mqtt" => fields::<Mqtt>(),
        "topic_rewrite" => fields::<TopicRewrite>(),
        "auto_subscribe" => fields::<AutoSubscribe>(),
        "streams" => fields::<Stream>(),
        "redelivery" => fields::<Redelivery>(),
        "receipts" => fields::<Receipts>(),
        "limits" => fields::<Limits>(),
        "user_limits" => fields::<UserLimit>(),
        "bans" => fields::<Bans>(),
        "probe" => fields::<Probe>(),
        "sinks" => fields::<Sink>(),
        "bridges" => fields::<Bridge>(),
        "bridges.topics" => fields::<BridgeTopic>(),
        "cluster" => fields::<Cluster>(),
        "telemetry" => fields::<Telemetry>(),
        "log" => fields::<Log>(),
        "admin" => fields::<Admin>(),
        _ => &[],
    }
}

/// The sections that are lists.
pub(super) const LISTS: [&str; 10] = [
    "durability_rules",
    "listeners",
    "auth",
    "topic_rewrite",
    "auto_subscribe",
    "streams",
    "redelivery",
    "user_limits",
    "sinks",
    "bridges",
];

/// Every setting outside the lists, such as `limits.connections_max`.
pub(super) fn settings() -> impl Iterator<Item = String> {
    let sections = sections().iter().filter(|section| !LISTS.contains(section));
    sections.flat_map(|section| keys(section).iter().map(move |key| format!("{section}.{key}")))
}

fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The call always fails, after `FieldNames` has stored the names.
    let _never = T::deserialize(FieldNames(&mut names));
    names
}

/// A deserializer without a value: it stores the names of the fields that a struct requests.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("a struct without a value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::nearest::nearest;
    use super::*;

    #[test]
    fn every_section_has_settings() {
        let expected = [
            "server",
            "durability_rules",
            "listeners",
            "security",
            "auth",
            "mqtt",
            "topic_rewrite",
            "auto_subscribe",
            "streams",
            "redelivery",
            "receipts",
            "limits",
            "user_limits",
            "bans",
            "probe",
            "sinks",
            "bridges",
            "cluster",
            "telemetry",
            "log",
            "admin",
        ];
        assert_eq!(sections(), expected);
        for section in sections().iter().chain(&["listeners.tls", "listeners.proxy_tls"]) {
            assert!(!keys(section).is_empty(), "{section}");
        }
        assert!(settings().any(|setting| setting == "security.password_file"));
    }

    #[test]
    fn only_a_similar_name_is_suggested() {
        let known = ["connections_max", "sessions_max", "connect_timeout"];
        assert_eq!(nearest("conections_max", known.iter()), Some("connections_max"));
        assert_eq!(nearest("max_connections", known.iter()), Some("connections_max"));
        assert_eq!(nearest("zzz", known.iter()), None);
    }
}
