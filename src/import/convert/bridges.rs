//! `[[bridges]]`.

use std::collections::BTreeSet;

use super::document::{Section, Why};
use super::global::PACKET_SIZE_MIN;
use super::{Conversion, Outcome, chain};
use crate::import::conf::{Bridge, Direction, Place, Settings, Topic};

impl Conversion<'_> {
    pub(super) fn bridges(&mut self) {
        let names = self.bridge_names();
        for ((place, bridge), name) in self.model.bridges.iter().enumerate().zip(&names) {
            if self.guarded.bridges.contains(&place) {
                let text = "it is left out, because it would not be encrypted as mosquitto does";
                self.add(Outcome::Missing, &bridge.at, "connection", text);
                continue;
            }
            self.bridge(bridge, name);
        }
    }

    /// The users of the bridges, for access rules.
    pub(super) fn bridge_users(&self) -> Vec<String> {
        self.bridge_names().iter().map(|name| user(name)).collect()
    }

    /// A name for each bridge, of letters, digits, - and _.
    fn bridge_names(&self) -> Vec<String> {
        let mut used = BTreeSet::new();
        let bridges = self.model.bridges.iter();
        let names = bridges.map(|bridge| {
            let is_fit = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
            let letters = bridge.name.chars().map(|letter| if is_fit(letter) { letter } else { '-' });
            let fit: String = letters.take(NAME_MAX).collect();
            let (mut name, mut number) = (fit.clone(), 1);
            while !used.insert(name.clone()) {
                number += 1;
                name = format!("{}-{number}", fit.chars().take(NAME_MAX - 8).collect::<String>());
            }
            name
        });
        names.collect()
    }

    fn bridge(&mut self, bridge: &Bridge, name: &str) {
        let Bridge { at, settings, .. } = bridge;
        let mut section = Section::new("[[bridges]]", at);
        section.text("name", name, at);
        let (outcome, text) = match name == bridge.name {
            true => (Outcome::Carried, "[[bridges]]".to_owned()),
            false => {
                (Outcome::Differs, format!("[[bridges]] with the name {name}: letters, digits, - and _ are allowed"))
            }
        };
        self.add(outcome, at, "connection", text);
        self.remote(&mut section, bridge);
        self.identity(&mut section, bridge, name);
        self.bridge_tls(&mut section, settings);
        self.connecting(&mut section, settings);
        section.text("user", &user(name), Why::Text("whose access rules count on this side"));
        if let Some(at) = settings.at("local_username") {
            self.add(
                Outcome::Differs,
                at,
                "local_username",
                format!("the user of the bridge on this side is {}", user(name)),
            );
        }
        self.notifications(&mut section, bridge);
        self.document.push(section);
        for topic in &bridge.topics {
            self.topic(topic, settings);
        }
    }

    fn remote(&mut self, section: &mut Section, bridge: &Bridge) {
        let settings = &bridge.settings;
        let is_encrypted = is_encrypted(settings);
        let scheme = if is_encrypted { "mqtts" } else { "mqtt" };
        let url = |(host, port): &(String, u16)| match host.contains(':') && !host.starts_with('[') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        };
        let addresses: Vec<String> = bridge.addresses.iter().map(url).collect();
        if let Some(at) = &bridge.addresses_at {
            section.texts("addresses", &addresses, at);
            for (at, option) in self.of(bridge, &["address", "addresses"]) {
                self.add(Outcome::Carried, &at, &option, "addresses of the bridge");
            }
        }
        if let (Some(is_on), Some(at)) = (settings.flag("round_robin"), settings.at("round_robin")) {
            section.text("address_order", if is_on { "round-robin" } else { "fail-over" }, at);
            self.add(Outcome::Carried, at, "round_robin", "address_order of the bridge");
        }
        let (version, at) = (settings.text("bridge_protocol_version"), settings.at("bridge_protocol_version"));
        match (version, at) {
            (Some("mqttv50"), Some(at)) => {
                section.text("protocol_version", "5.0", at);
                self.add(Outcome::Carried, at, "bridge_protocol_version", "protocol_version of the bridge");
            }
            (version, at) => {
                let why = at.map_or(Why::Text("mosquitto's default"), Why::from);
                section.text("protocol_version", "3.1.1", why);
                if let Some(at) = at {
                    let outcome = if version == Some("mqttv31") { Outcome::Differs } else { Outcome::Carried };
                    self.add(outcome, at, "bridge_protocol_version", "protocol_version = \"3.1.1\" of the bridge");
                }
            }
        }
        if let (Some(is_on), Some(at)) = (settings.flag("try_private"), settings.at("try_private")) {
            section.flag("bridge_protocol", is_on, at);
            self.add(Outcome::Carried, at, "try_private", "bridge_protocol of the bridge");
        }
    }

    /// The lines of these options between this bridge and the next one.
    fn of(&self, bridge: &Bridge, options: &[&str]) -> Vec<(Place, String)> {
        let begun = self.model.lines.iter().skip_while(|(at, _)| *at != bridge.at).skip(1);
        let own = begun.take_while(|(_, option)| option != "connection");
        own.filter(|(_, option)| options.contains(&option.as_str())).cloned().collect()
    }

    fn identity(&mut self, section: &mut Section, bridge: &Bridge, name: &str) {
        let settings = &bridge.settings;
        match (settings.text("remote_clientid"), settings.at("remote_clientid")) {
            (Some(id), Some(at)) => {
                section.text("client_id", id, at);
                self.add(Outcome::Carried, at, "remote_clientid", "client_id of the bridge");
            }
            _ => section.text(
                "client_id",
                &client_id(bridge),
                Why::Text("as mosquitto makes it: the name of the host and that of the bridge"),
            ),
        }
        if let (Some(user), Some(at)) = (settings.text("remote_username"), settings.at("remote_username")) {
            section.text("user_name", user, at);
            self.add(Outcome::Carried, at, "remote_username", "user_name of the bridge");
        }
        if let (Some(password), Some(at)) = (settings.text("remote_password"), settings.at("remote_password")) {
            if !settings.has("remote_username") {
                self.add(Outcome::Missing, at, "remote_password", "there is no remote_username");
                return;
            }
            let path = self.files.add(&format!("bridge-{name}.password"), format!("{password}\n"));
            section.text("password_file", &path.to_string_lossy(), at);
            self.add(Outcome::Carried, at, "remote_password", "password_file of the bridge: a file of its own");
        }
    }

    fn bridge_tls(&mut self, section: &mut Section, settings: &Settings) {
        let is_encrypted = is_encrypted(settings);
        let is_pair = settings.has("bridge_certfile") && settings.has("bridge_keyfile");
        let files = [("bridge_certfile", "certificate"), ("bridge_keyfile", "key"), ("bridge_cafile", "ca")];
        for (option, setting) in files {
            let (Some(path), Some(at)) = (settings.text(option), settings.at(option)) else { continue };
            if !is_encrypted {
                let text = "the bridge has no authorities, so mosquitto does not encrypt it";
                self.add(Outcome::Missing, at, option, text);
            } else if setting != "ca" && !is_pair {
                self.add(Outcome::Missing, at, option, "a certificate and its key must be set together");
            } else {
                section.text(setting, path, at);
                self.add(Outcome::Carried, at, option, format!("{setting} of the bridge"));
            }
        }
        if let (Some(directory), Some(at)) = (settings.text("bridge_capath"), settings.at("bridge_capath")) {
            let text = chain::bundle(settings.text("bridge_cafile"), directory);
            if !text.is_empty() {
                let path = self.files.add("bridge-authorities.pem", text);
                section.text("ca", &path.to_string_lossy(), at);
                let text = "ca of the bridge: a copy of the certificates in one file";
                self.add(Outcome::Differs, at, "bridge_capath", text);
            } else if settings.flag("bridge_tls_use_os_certs") != Some(true) && !settings.has("bridge_cafile") {
                let text = "no certificate can be read there, and without one the bridge would trust the authorities of the system";
                self.add(Outcome::Guards, at, "bridge_capath", text);
            }
        }
        if let Some(at) = settings.at("bridge_tls_use_os_certs") {
            self.add(
                Outcome::Carried,
                at,
                "bridge_tls_use_os_certs",
                "without ca, a bridge trusts the authorities of the system",
            );
        }
        if let (Some(is_on), Some(at)) = (settings.flag("bridge_insecure"), settings.at("bridge_insecure")) {
            if is_encrypted {
                section.flag("insecure_no_hostname", is_on, at);
            }
            self.add(Outcome::Carried, at, "bridge_insecure", "insecure_no_hostname of the bridge");
        }
        if let (Some(name), Some(at)) = (settings.text("bridge_alpn"), settings.at("bridge_alpn")) {
            if is_encrypted {
                section.text("alpn", name, at);
            }
            self.add(Outcome::Carried, at, "bridge_alpn", "alpn of the bridge");
        }
    }

    fn connecting(&mut self, section: &mut Section, settings: &Settings) {
        for (option, setting, least) in [("keepalive_interval", "keep_alive", 5), ("idle_timeout", "idle_timeout", 1)] {
            let (Some(seconds), Some(at)) = (settings.number(option), settings.at(option)) else { continue };
            section.seconds(setting, seconds.clamp(least, SECONDS_MAX), at);
            self.add(Outcome::Carried, at, option, format!("{setting} of the bridge"));
        }
        for (option, setting) in [("threshold", "lazy_threshold"), ("bridge_receive_maximum", "inflight_max")] {
            let (Some(number), Some(at)) = (settings.number(option), settings.at(option)) else { continue };
            section.number(setting, number.max(1), at);
            self.add(Outcome::Carried, at, option, format!("{setting} of the bridge"));
        }
        let option = "bridge_max_packet_size";
        if let (Some(size), Some(at)) = (settings.number(option), settings.at(option)) {
            if size > 0 {
                section.number("maximum_packet_size", size.clamp(PACKET_SIZE_MIN, self.packet_size_max()), at);
            }
            let text = "maximum_packet_size of the bridge, at least 256 bytes and at most that of [limits]";
            self.add(Outcome::Carried, at, option, text);
        }
        if let (Some(is_clean), Some(at)) = (settings.flag("cleansession"), settings.at("cleansession")) {
            section.flag("clean_start", is_clean, at);
            self.add(Outcome::Carried, at, "cleansession", "clean_start of the bridge, at the remote broker");
        }
        let option = "bridge_session_expiry_interval";
        if let (Some(seconds), Some(at)) = (settings.number(option), settings.at(option)) {
            if settings.text("bridge_protocol_version") == Some("mqttv50") {
                section.seconds("session_expiry", seconds, at);
                self.add(Outcome::Carried, at, option, "session_expiry of the bridge");
            } else {
                self.add(Outcome::Missing, at, option, "a session of 3.1.1 does not expire");
            }
        }
        if let (Some(kind), Some(at)) = (settings.text("start_type"), settings.at("start_type")) {
            section.text("start", kind, at);
            self.add(Outcome::Carried, at, "start_type", "start of the bridge");
        }
        let seconds = |place: usize| settings.words("restart_timeout")?.get(place)?.parse::<i64>().ok();
        match (seconds(0), seconds(1), settings.at("restart_timeout")) {
            (Some(least), Some(most), Some(at)) => {
                section.seconds("backoff_min", least, at);
                section.seconds("backoff_max", most, at);
                self.add(Outcome::Carried, at, "restart_timeout", "backoff_min and backoff_max of the bridge");
            }
            _ => {
                section.seconds("backoff_min", 5, Why::Text("mosquitto's default"));
                section.seconds("backoff_max", 30, Why::Text("mosquitto's default"));
            }
        }
    }

    fn notifications(&mut self, section: &mut Section, bridge: &Bridge) {
        let settings = &bridge.settings;
        for (option, setting) in
            [("notifications", "notifications"), ("notifications_local_only", "notifications_local_only")]
        {
            let (Some(is_on), Some(at)) = (settings.flag(option), settings.at(option)) else { continue };
            section.flag(setting, is_on, at);
            self.add(Outcome::Carried, at, option, format!("{setting} of the bridge"));
        }
        match (settings.text("notification_topic"), settings.at("notification_topic")) {
            (Some(topic), Some(at)) => {
                section.text("notification_topic", topic, at);
                self.add(Outcome::Carried, at, "notification_topic", "notification_topic of the bridge");
            }
            _ if settings.flag("notifications") != Some(false) => {
                let id = settings.text("remote_clientid").map_or_else(|| client_id(bridge), str::to_owned);
                let topic = format!("$SYS/broker/connection/{id}/state");
                section.text("notification_topic", &topic, Why::Text("mosquitto's default"));
            }
            _ => {}
        }
    }

    fn topic(&mut self, topic: &Topic, settings: &Settings) {
        let at = &topic.at;
        self.add(Outcome::Carried, at, "topic", "[[bridges.topics]]");
        let clears = settings.flag("bridge_outgoing_retain") == Some(false);
        if let Some(at) = settings.at("bridge_outgoing_retain") {
            self.add(Outcome::Carried, at, "bridge_outgoing_retain", "retain of the topics of the bridge");
        }
        let ways = match (topic.direction, clears) {
            (Direction::Out, clears) => vec![("out", clears)],
            (Direction::In, _) => vec![("in", false)],
            (Direction::Both, false) => vec![("both", false)],
            // The flag is cleared in one direction.
            (Direction::Both, true) => vec![("out", true), ("in", false)],
        };
        for (direction, clears) in ways {
            let mut section = Section::new("[[bridges.topics]]", at);
            section.text("filter", &topic.filter, at);
            section.text("direction", direction, at);
            section.number("qos", i64::from(topic.qos), at);
            section.text("local_prefix", &topic.local_prefix, at);
            section.text("remote_prefix", &topic.remote_prefix, at);
            if clears {
                section.text("retain", "clear", at);
            }
            self.document.push(section);
        }
    }
}

/// The user of a bridge on our side: no password file can have this name.
fn user(name: &str) -> String {
    format!("bridge:{name}")
}

/// Whether mosquitto encrypts the bridge: it does if it knows authorities.
fn is_encrypted(settings: &Settings) -> bool {
    settings.has("bridge_cafile")
        || settings.has("bridge_capath")
        || settings.flag("bridge_tls_use_os_certs") == Some(true)
}

/// The Client Identifier that mosquitto takes at the remote broker if none is configured.
pub(super) fn client_id(bridge: &Bridge) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}.{}", host.trim(), bridge.name)
}

/// The longest Keep Alive.
const SECONDS_MAX: i64 = 65_535;
/// The longest name of a bridge.
const NAME_MAX: usize = 64;
