//! `[server]`, `[mqtt]`, `[limits]` and `[log]`.

use std::path::Path;

use super::document::{Section, Why};
use super::{Conversion, Outcome};

impl Conversion<'_> {
    pub(super) fn server(&mut self) {
        let global = &self.model.global;
        let mut section = Section::new("[server]", Why::Text(""));
        match (&self.terms.data, global.text("persistence_location"), global.at("persistence_location")) {
            (Some(data), _, at) => {
                section.text("data", &data.to_string_lossy(), Why::Text("as the command line says"));
                if let Some(at) = at {
                    self.add(
                        Outcome::Differs,
                        at,
                        "persistence_location",
                        "the store is in another directory: [server] data",
                    );
                }
            }
            (None, Some(location), Some(at)) => {
                // Never mosquitto's own directory: its files stay as they are.
                let data = Path::new(location).join(DATA).to_string_lossy().into_owned();
                section.text("data", &data, at);
                self.add(
                    Outcome::Differs,
                    at,
                    "persistence_location",
                    format!("the store is a directory in it: {data}"),
                );
            }
            (None, _, _) => {}
        }
        if let (Some(is_on), Some(at)) = (global.flag("persistence"), global.at("persistence")) {
            if is_on {
                let text = "what is acknowledged is on the disk: [server] durability = \"power-loss\", the default";
                self.add(Outcome::Carried, at, "persistence", text);
            } else {
                section.text("durability", "none", at);
                let text = "[server] durability = \"none\": nothing survives a restart";
                self.add(Outcome::Carried, at, "persistence", text);
            }
        } else {
            // The default is written out, because it differs from mosquitto's, and no line of mosquitto's says so.
            let why =
                "without `persistence`, mosquitto keeps nothing; here, what is acknowledged is on the disk, in `data`";
            section.text("durability", "power-loss", Why::Text(why));
        }
        self.document.push_filled(section);
    }

    pub(super) fn mqtt(&mut self) {
        let global = &self.model.global;
        let mut section = Section::new("[mqtt]", Why::Text(""));
        if let (Some(seconds), Some(at)) = (global.number("sys_interval"), global.at("sys_interval")) {
            section.seconds("sys_interval", seconds, at);
            self.add(Outcome::Carried, at, "sys_interval", "[mqtt] sys_interval");
        }
        if let (Some(is_on), Some(at)) = (global.flag("retain_available"), global.at("retain_available")) {
            section.flag("retain_available", is_on, at);
            self.add(Outcome::Carried, at, "retain_available", "[mqtt] retain_available");
        }
        if let (Some(prefix), Some(at)) = (global.text("auto_id_prefix"), global.at("auto_id_prefix")) {
            section.text("assigned_client_id_prefix", prefix, at);
            self.add(
                Outcome::Carried,
                at,
                "auto_id_prefix",
                "[mqtt] assigned_client_id_prefix, before 128 random bits",
            );
        }
        self.document.push_filled(section);
    }

    pub(super) fn limits(&mut self) {
        let mut section = Section::new("[limits]", Why::Text(""));
        // What mosquitto does with a message for a full queue.
        section.text("queue_overflow", "drop-newest", Why::Text("mosquitto drops the new message, too"));
        self.packet_size(&mut section);
        self.plain_limits(&mut section);
        let global = &self.model.global;
        let inflight = "max_inflight_messages";
        if let (Some(count), Some(at)) = (global.number(inflight), global.at(inflight)) {
            // mosquitto's "no limit" is what a Packet Identifier allows.
            let bound = if (1..=i64::from(u16::MAX)).contains(&count) { count } else { i64::from(u16::MAX) };
            section.number("inflight_messages_max", bound, at);
            section.number("receive_maximum", bound, at);
            let text = "[limits] inflight_messages_max, and receive_maximum towards the broker";
            self.add(Outcome::Carried, at, inflight, text);
        }
        if let (Some(bytes), Some(at)) = (global.number("memory_limit"), global.at("memory_limit")) {
            if bytes > 0 {
                section.number("memory_max", bytes.max(MEMORY_MIN), at);
                let text = "[limits] memory_max, at least 32 MiB: messages are on the disk, so less is refused when it is used up";
                self.add(Outcome::Differs, at, "memory_limit", text);
            } else {
                self.add(Outcome::Differs, at, "memory_limit", "[limits] memory_max: three quarters of the memory");
            }
        }
        let expiration = "persistent_client_expiration";
        if let (Some(seconds), Some(at)) = (global.number(expiration), global.at(expiration)) {
            section.seconds("session_expiry_max", seconds, at);
            self.add(Outcome::Carried, at, expiration, "[limits] session_expiry_max");
        }
        if let (Some(seconds), Some(at)) = (global.number("max_keepalive"), global.at("max_keepalive")) {
            if seconds > 0 {
                section.seconds("keep_alive_max", seconds, at);
                let text = "[limits] keep_alive_max: a 3.1.1 client keeps its own Keep Alive; mosquitto refuses it";
                self.add(Outcome::Differs, at, "max_keepalive", text);
            } else {
                self.add(Outcome::Carried, at, "max_keepalive", "there is no limit without a setting");
            }
        }
        self.document.push(section);
    }

    /// Limits with the same meaning, of which mosquitto has none if they are zero or negative.
    fn plain_limits(&mut self, section: &mut Section) {
        let global = &self.model.global;
        for (option, setting, least, otherwise) in [
            ("max_inflight_bytes", "inflight_bytes_max", 1, "there is no limit without a setting"),
            ("max_queued_bytes", "queued_bytes_max", 256, "a limit is there always: 64 MiB for a session"),
            ("max_queued_messages", "queued_messages_max", 1, "a limit is there always: 100,000 for a session"),
            ("global_max_connections", "connections_max", 1, "a limit is there always: 100,000"),
            ("global_max_clients", "sessions_max", 1, "a limit is there always: 1,000,000"),
        ] {
            let (Some(number), Some(at)) = (global.number(option), global.at(option)) else { continue };
            if number > 0 {
                section.number(setting, number.max(least), at);
                let outcome = if number < least { Outcome::Differs } else { Outcome::Carried };
                self.add(outcome, at, option, format!("[limits] {setting}"));
            } else {
                let outcome = if option == "max_inflight_bytes" { Outcome::Carried } else { Outcome::Differs };
                self.add(outcome, at, option, otherwise);
            }
        }
    }

    /// `limits.maximum_packet_size` as it will be.
    pub(super) fn packet_size_max(&self) -> i64 {
        let global = &self.model.global;
        let of_packets = global.number("max_packet_size").map(|size| size.clamp(PACKET_SIZE_MIN, PACKET_SIZE_MAX));
        let of_messages = global.number("message_size_limit").filter(|size| *size > 0);
        let of_messages = of_messages.map(|size| (size + TOPIC_AND_HEADER).min(PACKET_SIZE_MAX));
        of_packets.into_iter().chain(of_messages).min().unwrap_or(PACKET_SIZE_DEFAULT)
    }

    fn packet_size(&mut self, section: &mut Section) {
        let global = &self.model.global;
        let of_packets = global.number("max_packet_size").zip(global.at("max_packet_size"));
        let of_messages = global.number("message_size_limit").zip(global.at("message_size_limit"));
        if let Some((bytes, at)) = of_packets {
            section.number("maximum_packet_size", bytes.clamp(PACKET_SIZE_MIN, PACKET_SIZE_MAX), at);
            let outcome = if bytes < PACKET_SIZE_MIN { Outcome::Differs } else { Outcome::Carried };
            self.add(outcome, at, "max_packet_size", "[limits] maximum_packet_size, at least 256 bytes");
        }
        let Some((bytes, at)) = of_messages else { return };
        let with_topic = (bytes + TOPIC_AND_HEADER).min(PACKET_SIZE_MAX);
        if bytes == 0 {
            let text = "a packet has 16 MiB at most: [limits] maximum_packet_size";
            self.add(Outcome::Differs, at, "message_size_limit", text);
        } else if of_packets.is_some_and(|(packet, _)| packet <= with_topic) {
            self.add(Outcome::Differs, at, "message_size_limit", "max_packet_size is the lower limit");
        } else {
            section.number("maximum_packet_size", with_topic, at);
            let text = "[limits] maximum_packet_size, with room for the longest topic: a larger packet ends the connection, while \
                        mosquitto acknowledges a larger message and drops it";
            self.add(Outcome::Differs, at, "message_size_limit", text);
        }
    }

    pub(super) fn log(&mut self) {
        let global = &self.model.global;
        let mut section = Section::new("[log]", Why::Text(""));
        let is_quiet = global.flag("connection_messages") == Some(false);
        if let (Some(types), Some(at)) = (global.words("log_type"), global.at("log_type")) {
            let has = |names: &[&str]| types.iter().any(|word| names.contains(&word.as_str()));
            let level = match () {
                () if has(&["all", "debug"]) => "debug",
                () if has(&["information", "notice", "subscribe", "unsubscribe"]) && !is_quiet => "info",
                () if has(&["information", "notice", "subscribe", "unsubscribe", "warning"]) => "warn",
                () => "error",
            };
            section.text("level", level, at);
            let text = "[log] level: levels are ordered, each has the more important ones";
            for at in self.places("log_type") {
                self.add(Outcome::Differs, &at, "log_type", text);
            }
        } else if is_quiet && let Some(at) = global.at("connection_messages") {
            section.text("level", "warn", at);
        }
        if let Some(at) = global.at("connection_messages") {
            match is_quiet {
                true => self.add(Outcome::Differs, at, "connection_messages", "[log] level = \"warn\" leaves them out"),
                false => self.add(Outcome::Carried, at, "connection_messages", "they are in the log"),
            }
        }
        if let (Some(places), Some(at)) = (global.words("log_dest"), global.at("log_dest")) {
            if places == ["none"] {
                section.text("level", "error", at);
            }
            let is_same = places.iter().all(|place| matches!(place.as_str(), "stderr" | "stdout"));
            let outcome = if is_same { Outcome::Carried } else { Outcome::Missing };
            for at in self.places("log_dest") {
                let text = "the log goes to standard error: let systemd, a container engine or the shell keep it";
                self.add(outcome, &at, "log_dest", text);
            }
        }
        self.document.push_filled(section);
    }

    /// The lines of an option that may stand several times.
    fn places(&self, option: &str) -> Vec<crate::import::conf::Place> {
        self.model.lines.iter().filter(|(_, name)| name == option).map(|(at, _)| at.clone()).collect()
    }
}

/// The name of our data directory in mosquitto's `persistence_location`.
pub(in crate::import) const DATA: &str = "oncemq";
/// The least of `limits.memory_max`.
const MEMORY_MIN: i64 = 32 << 20;
/// The least and the most of `limits.maximum_packet_size`.
pub(super) const PACKET_SIZE_MIN: i64 = 256;
const PACKET_SIZE_MAX: i64 = 268_435_460;
const PACKET_SIZE_DEFAULT: i64 = 16 << 20;
/// The longest topic, its length, the Packet Identifier and the fixed header.
const TOPIC_AND_HEADER: i64 = 65_535 + 2 + 2 + 5;
