//! `[[listeners]]`.

use std::collections::BTreeSet;

use super::access::{Access, OfListener};
use super::document::{Section, Why};
use super::{Conversion, Outcome};
use crate::import::conf::{Listener, Place, Protocol};

impl Conversion<'_> {
    pub(super) fn listeners(&mut self, access: &Access) {
        if !self.model.listens {
            return self.local_listeners();
        }
        let mut names = BTreeSet::new();
        for (place, listener) in self.model.listeners.iter().enumerate() {
            for (at, option) in &listener.further {
                self.add(Outcome::Carried, at, option, "the address of the listener");
            }
            if listener.protocol() == Protocol::HttpApi {
                self.http_api(listener);
                continue;
            }
            let own = access.listeners.get(place).cloned().unwrap_or_default();
            self.listener(place, listener, (&own, &mut names));
        }
    }

    /// mosquitto's listeners if none is configured: loopback alone, as ours.
    fn local_listeners(&mut self) {
        let option = "allow_zero_length_clientid";
        let (allowed, at) = (self.model.global.flag(option), self.model.global.at(option));
        if let Some(at) = at {
            self.add(Outcome::Carried, at, option, "allow_empty_client_id of each listener");
        }
        let refused = at.filter(|_| allowed == Some(false));
        if !self.guarded.all && refused.is_none() {
            return;
        }
        for address in ["127.0.0.1:1883", "[::1]:1883"] {
            let mut section = Section::new("[[listeners]]", Why::Text("mosquitto's without a `listener`"));
            section.text("address", address, Why::Text("mosquitto's without a `listener`"));
            if self.guarded.all {
                lock(&mut section);
            }
            if let Some(at) = refused {
                section.flag("allow_empty_client_id", false, at);
            }
            self.document.push(section);
        }
    }

    fn http_api(&mut self, listener: &Listener) {
        let text = "mosquitto's HTTP API is not there: [admin] has another one, with tokens";
        self.add(Outcome::Missing, &listener.at, &listener.begun_by, text);
        for (option, set) in listener.settings.iter() {
            self.add(Outcome::Missing, &set.at, option, text);
        }
    }

    fn listener(&mut self, place: usize, listener: &Listener, (own, names): (&OfListener, &mut BTreeSet<String>)) {
        let at = &listener.at;
        if listener.is_implied() {
            let text =
                "mosquitto opens the port 1883 because of this line, which stands before the first listener: so do we";
            self.add(Outcome::Differs, at, &listener.begun_by, text);
        } else {
            self.add(Outcome::Carried, at, &listener.begun_by, "[[listeners]]");
        }
        let tls = self.tls(place, listener);
        self.unsafe_mount_point(place, listener);
        let is_locked = self.guarded.has(place);
        let mut section = Section::new("[[listeners]]", at);
        if own.password_file.is_some() && !is_locked {
            section.text("name", &name(listener, names), at);
        }
        section.text("address", &self.address(listener), at);
        let is_web = listener.protocol() == Protocol::WebSockets;
        match (is_web, tls.is_some()) {
            _ if listener.port.is_none() => section.text("transport", "unix", at),
            (false, false) => {}
            (false, true) => section.text("transport", "tls", at),
            (true, false) => section.text("transport", "ws", at),
            (true, true) => section.text("transport", "wss", at),
        }
        if listener.port.is_none() {
            // mosquitto creates it with the umask 0007.
            section.text("socket_mode", "0660", Why::Text("as mosquitto does"));
        }
        self.users(&mut section, own, is_locked);
        self.protocol(&mut section, listener);
        self.of_listener(&mut section, listener);
        self.document.push(section);
        if let Some(tls) = tls {
            self.document.push(tls);
        }
    }

    fn users(&mut self, section: &mut Section, own: &OfListener, is_locked: bool) {
        if is_locked {
            lock(section);
            return;
        }
        if let Some((is_allowed, why)) = &own.allow_anonymous {
            section.flag("allow_anonymous", *is_allowed, why.clone());
        }
        if let Some((path, source)) = &own.password_file {
            section.text("password_file", path, &source.at);
        }
        if let Some((path, source)) = &own.acl_file {
            section.text("acl_file", path, &source.at);
        }
        if let Some((names, why)) = &own.auth {
            section.texts("auth", names, why.clone());
        }
    }

    fn address(&mut self, listener: &Listener) -> String {
        let settings = &listener.settings;
        let domain = settings.text("socket_domain");
        if let Some(at) = settings.at("socket_domain") {
            match (domain, &listener.address) {
                (Some("ipv4"), None) => self.add(Outcome::Carried, at, "socket_domain", "the address 0.0.0.0"),
                (_, None) => {
                    let text = "the address [::] takes IPv4, too, if no other listener has that port";
                    self.add(Outcome::Differs, at, "socket_domain", text);
                }
                (_, Some(_)) => {
                    let text = "a listener has all addresses of its name, or the one that is given";
                    self.add(Outcome::Differs, at, "socket_domain", text);
                }
            }
        }
        match (listener.port, listener.address.as_deref(), domain) {
            (None, path, _) => format!("unix:{}", path.unwrap_or_default()),
            (Some(port), None, Some("ipv4")) => format!("0.0.0.0:{port}"),
            (Some(port), None, Some(_)) => format!("[::]:{port}"),
            (Some(port), None, None) => format!(":{port}"),
            (Some(port), Some(address), _) if address.contains(':') => {
                if address == "::" {
                    let text = "the address [::] takes IPv4, too, if no other listener has that port";
                    self.add(Outcome::Differs, &listener.at, &listener.begun_by, text);
                }
                format!("[{address}]:{port}")
            }
            (Some(port), Some(address), _) => format!("{address}:{port}"),
        }
    }

    /// A mount point that would be another one here.
    fn unsafe_mount_point(&mut self, place: usize, listener: &Listener) {
        let (Some(mount), Some(at)) = (listener.settings.text("mount_point"), listener.settings.at("mount_point"))
        else {
            return;
        };
        let is_safe = mount.ends_with('/')
            && !mount.starts_with(['/', '$'])
            && !mount.contains(['+', '#'])
            && !["%u", "%c", "//"].iter().any(|text| mount.contains(text))
            && mount.len() <= 1_024;
        if is_safe {
            self.add(
                Outcome::Carried,
                at,
                "mount_point",
                "mount_point of the listener: nothing that begins with $ is below it",
            );
        } else {
            let text = "a mount point must consist of whole levels, end with / and have no %u and %c";
            self.add(Outcome::Guards, at, "mount_point", text);
            self.guarded.listeners.insert(place);
        }
    }

    /// WebSocket and the PROXY protocol.
    fn protocol(&mut self, section: &mut Section, listener: &Listener) {
        let settings = &listener.settings;
        let is_web = listener.protocol() == Protocol::WebSockets;
        if let Some(at) = settings.at("protocol") {
            self.add(Outcome::Carried, at, "protocol", "transport of the listener");
        }
        if is_web {
            section.text("websocket_path", "*", Why::Text("mosquitto accepts every path"));
        }
        match (settings.words("websockets_origin"), settings.at("websockets_origin")) {
            (Some(origins), Some(at)) if is_web => {
                section.texts("websocket_origins", origins, at);
                for (at, _) in self.model.lines.iter().filter(|(_, option)| option == "websockets_origin") {
                    self.report.add(Outcome::Carried, at, "websockets_origin", "websocket_origins of the listener");
                }
            }
            (Some(_), Some(at)) => {
                self.add(Outcome::Missing, at, "websockets_origin", "the listener is not for WebSocket");
            }
            _ if is_web => {
                section.texts("websocket_origins", &["*"], Why::Text("mosquitto accepts the pages of all websites"))
            }
            _ => {}
        }
        if let (Some(version), Some(at)) =
            (settings.number("enable_proxy_protocol"), settings.at("enable_proxy_protocol"))
        {
            section.text("proxy_protocol", if version == 1 { "v1" } else { "v2" }, at);
            let text =
                "proxy_protocol of the listener: name the proxies in trusted_proxies, so that no one else can connect";
            self.add(Outcome::Carried, at, "enable_proxy_protocol", text);
        }
        self.versions(section, listener);
    }

    fn versions(&mut self, section: &mut Section, listener: &Listener) {
        let option = "accept_protocol_versions";
        let (Some(words), Some(at)) = (listener.settings.words(option), listener.settings.at(option)) else { return };
        let known = [("3", "3.1"), ("4", "3.1.1"), ("5", "5.0")];
        let accepted: Vec<&str> =
            known.iter().filter(|(word, _)| words.iter().any(|given| given == word)).map(|(_, name)| *name).collect();
        if accepted.is_empty() {
            // No client of mosquitto could connect either.
            self.add(Outcome::Guards, at, option, "there is none of 3, 4 and 5 in it, so no client can connect");
            lock(section);
        } else {
            section.texts("protocol_versions", &accepted, at);
            self.add(Outcome::Carried, at, option, "protocol_versions of the listener");
        }
    }

    fn of_listener(&mut self, section: &mut Section, listener: &Listener) {
        let settings = &listener.settings;
        for (option, setting) in [
            ("max_qos", "maximum_qos"),
            ("max_topic_alias", "topic_alias_maximum"),
            ("max_topic_alias_broker", "topic_alias_maximum_outgoing"),
        ] {
            if let (Some(number), Some(at)) = (settings.number(option), settings.at(option)) {
                section.number(setting, number, at);
                self.add(Outcome::Carried, at, option, format!("{setting} of the listener"));
            }
        }
        if let (Some(count), Some(at)) = (settings.number("max_connections"), settings.at("max_connections")) {
            match count {
                ..0 => self.add(Outcome::Carried, at, "max_connections", "there is no limit without a setting"),
                0 => {
                    self.add(Outcome::Guards, at, "max_connections", "with 0, no client can connect");
                    lock(section);
                }
                _ => {
                    section.number("connections_max", count, at);
                    self.add(Outcome::Carried, at, "max_connections", "connections_max of the listener");
                }
            }
        }
        if let (Some(mount), Some(at)) = (settings.text("mount_point"), settings.at("mount_point"))
            && !self.report.of(Outcome::Guards).any(|finding| finding.at == *at)
        {
            section.text("mount_point", mount, at);
        }
        if let (Some(is_on), Some(at)) =
            (settings.flag("use_username_as_clientid"), settings.at("use_username_as_clientid"))
        {
            if is_on {
                section.text("client_id", "user-name", at);
            }
            let text = "client_id of the listener; a client whose user name nobody has verified is refused";
            self.add(Outcome::Differs, at, "use_username_as_clientid", text);
        }
        self.client_ids(section, listener);
    }

    /// Clients without a Client Identifier.
    fn client_ids(&mut self, section: &mut Section, listener: &Listener) {
        let (option, settings, global) = ("allow_zero_length_clientid", &listener.settings, &self.model.global);
        let (of_listener, of_all) = (settings.flag(option), global.flag(option));
        for at in [settings.at(option), global.at(option)].into_iter().flatten() {
            self.add(Outcome::Carried, at, option, "allow_empty_client_id of each listener");
        }
        let allowed: Option<(bool, &Place)> =
            of_listener.zip(settings.at(option)).or_else(|| of_all.zip(global.at(option)));
        if let Some((false, at)) = allowed {
            section.flag("allow_empty_client_id", false, at);
        }
        for option in ["auto_id_prefix", "listener_auto_id_prefix"] {
            let (Some(prefix), Some(at)) = (settings.text(option), settings.at(option)) else { continue };
            let text = "assigned_client_id_prefix of the listener, before 128 random bits";
            self.add(Outcome::Carried, at, option, text);
            if !matches!(allowed, Some((false, _))) {
                section.text("assigned_client_id_prefix", prefix, at);
            }
        }
    }
}

/// Lets nobody in.
fn lock(section: &mut Section) {
    let why = || Why::Text("something that keeps clients out is not there: see the report");
    section.flag("allow_anonymous", false, why());
    section.texts::<&str>("auth", &[], why());
}

/// A name for a listener with a password file of its own.
fn name(listener: &Listener, names: &mut BTreeSet<String>) -> String {
    let first = match listener.port {
        Some(port) => format!("port-{port}"),
        None => "unix".to_owned(),
    };
    let mut name = first.clone();
    let mut number = 1;
    while !names.insert(name.clone()) {
        number += 1;
        name = format!("{first}-{number}");
    }
    name
}
