//! `[listeners.tls]`.

use super::document::{Section, Why};
use super::{Conversion, Outcome, chain};
use crate::import::conf::{Listener, Place, Settings};

impl Conversion<'_> {
    /// The certificates of a listener; `None`: it is not encrypted.
    pub(super) fn tls(&mut self, place: usize, listener: &Listener) -> Option<Section> {
        let settings = &listener.settings;
        let (Some(certificate), Some(at)) = (settings.text("certfile"), settings.at("certfile")) else {
            self.without_tls(place, settings);
            return None;
        };
        if listener.port.is_none() {
            self.add(Outcome::Guards, at, "certfile", "a Unix socket has no TLS here");
            self.guarded.listeners.insert(place);
            return None;
        }
        let mut section = Section::new("[listeners.tls]", at);
        let chain = self.chain(settings, certificate, at);
        section.text("certificate", &chain, at);
        if let (Some(key), Some(at)) = (settings.text("keyfile"), settings.at("keyfile")) {
            section.text("key", key, at);
            self.key(key, at);
        }
        // mosquitto does not look at the protocols that clients name.
        section.texts::<&str>("alpn", &[], Why::Text("mosquitto does not look at it"));
        self.client_certificates(&mut section, place, settings);
        self.version(&mut section, settings);
        self.ciphers(&mut section, settings);
        Some(section)
    }

    fn without_tls(&mut self, place: usize, settings: &Settings) {
        for option in ["require_certificate", "use_identity_as_username", "use_subject_as_username"] {
            let (Some(is_on), Some(at)) = (settings.flag(option), settings.at(option)) else { continue };
            if is_on && settings.number("enable_proxy_protocol") == Some(2) {
                let text = "what a proxy says about certificates is believed from named proxies only: set trusted_proxies and \
                            [listeners.proxy_tls] of the listener";
                self.add(Outcome::Guards, at, option, text);
                self.guarded.listeners.insert(place);
            } else {
                self.add(Outcome::Missing, at, option, "the listener has no certfile: mosquitto does not look at it");
            }
        }
        for option in
            ["tls_version", "ciphers", "ciphers_tls1.3", "crlfile", "disable_client_cert_date_checks", "tls_keyform"]
        {
            if let Some(at) = settings.at(option) {
                self.add(Outcome::Missing, at, option, "the listener has no certfile: mosquitto does not look at it");
            }
        }
    }

    /// The certificate file, or one with the certificates that OpenSSL would add to it.
    fn chain(&mut self, settings: &Settings, certificate: &str, at: &Place) -> String {
        let found = chain::missing_part(certificate, settings.text("cafile"), settings.text("capath"));
        match found {
            Some(text) => {
                let text_of_finding = "a copy of the file is used, followed by the certificates between it and its authority, which \
                                       OpenSSL takes from cafile and capath: after a renewal, import again";
                self.add(Outcome::Differs, at, "certfile", text_of_finding);
                self.files.add("chain.pem", text).to_string_lossy().into_owned()
            }
            None => {
                self.add(Outcome::Carried, at, "certfile", "[listeners.tls] certificate");
                certificate.to_owned()
            }
        }
    }

    fn key(&mut self, path: &str, at: &Place) {
        match chain::is_encrypted_key(path) {
            true => {
                let text = "the key is encrypted, and the broker does not ask for passwords: openssl pkey -in KEY -out KEY.plain";
                self.add(Outcome::Missing, at, "keyfile", text);
            }
            false => self.add(Outcome::Carried, at, "keyfile", "[listeners.tls] key"),
        }
    }

    fn client_certificates(&mut self, section: &mut Section, place: usize, settings: &Settings) {
        let is_required = settings.flag("require_certificate") == Some(true);
        let authorities = self.authorities(settings);
        let at = |option: &str| settings.at(option).cloned();
        if let Some(at) = at("require_certificate") {
            match (is_required, &authorities) {
                (true, None) => {
                    let text =
                        "there is no cafile and no capath, so no certificate of a client is valid and none can connect";
                    self.add(Outcome::Guards, &at, "require_certificate", text);
                    self.guarded.listeners.insert(place);
                }
                (true, Some(path)) => {
                    section.text("client_certificate", "required", &at);
                    section.text("client_ca", path, settings.at("cafile").or(settings.at("capath")).unwrap_or(&at));
                    self.add(Outcome::Carried, &at, "require_certificate", "client_certificate = \"required\"");
                }
                (false, _) => self.add(Outcome::Carried, &at, "require_certificate", "clients present no certificate"),
            }
        }
        for option in ["cafile", "capath"] {
            if let Some(at) = at(option) {
                let text = if is_required { "client_ca" } else { "it was for the chain of the certificate alone" };
                self.add(Outcome::Carried, &at, option, text);
            }
        }
        for (option, identity) in [("use_identity_as_username", None), ("use_subject_as_username", Some("subject"))] {
            let (Some(is_on), Some(at)) = (settings.flag(option), at(option)) else { continue };
            match (is_on, is_required && authorities.is_some()) {
                (false, _) => self.add(Outcome::Carried, &at, option, "it is so without a setting"),
                (true, false) => {
                    let text = "require_certificate is not true, so mosquitto asks for no certificate and refuses every client";
                    self.add(Outcome::Guards, &at, option, text);
                    self.guarded.listeners.insert(place);
                }
                // Both: the Common Name counts.
                (true, true) if identity.is_some() && settings.flag("use_identity_as_username") == Some(true) => {
                    self.add(Outcome::Carried, &at, option, "use_identity_as_username precedes it");
                }
                (true, true) => {
                    section.flag("identity_as_user_name", true, &at);
                    if let Some(identity) = identity {
                        section.text("identity", identity, &at);
                    }
                    self.add(Outcome::Carried, &at, option, "identity_as_user_name; a password is not looked at");
                }
            }
        }
        if let (Some(path), Some(at)) = (settings.text("crlfile"), at("crlfile")) {
            if is_required && authorities.is_some() {
                section.text("crl", path, &at);
                section.text("crl_expired", "refuse", Why::Text("as OpenSSL does"));
                self.add(Outcome::Carried, &at, "crlfile", "crl, with crl_expired = \"refuse\"");
            } else {
                self.add(Outcome::Missing, &at, "crlfile", "clients present no certificate");
            }
        }
        let option = "disable_client_cert_date_checks";
        if let (Some(is_on), Some(at)) = (settings.flag(option), at(option)) {
            if is_on && is_required && authorities.is_some() {
                section.text("client_certificate_dates", "ignored", &at);
            }
            self.add(Outcome::Carried, &at, option, "client_certificate_dates");
        }
    }

    /// The file with the authorities of clients.
    fn authorities(&mut self, settings: &Settings) -> Option<String> {
        match (settings.text("cafile"), settings.text("capath")) {
            (Some(file), None) => Some(file.to_owned()),
            (file, Some(directory)) => {
                let text = chain::bundle(file, directory);
                (!text.is_empty()).then(|| self.files.add("authorities.pem", text).to_string_lossy().into_owned())
            }
            (None, None) => None,
        }
    }

    fn version(&mut self, section: &mut Section, settings: &Settings) {
        let (Some(version), Some(at)) = (settings.text("tls_version"), settings.at("tls_version")) else { return };
        match version {
            "tlsv1.3" => {
                section.text("min_version", "1.3", at);
                self.add(Outcome::Carried, at, "tls_version", "min_version = \"1.3\"");
            }
            "tlsv1.2" => self.add(Outcome::Carried, at, "tls_version", "TLS 1.2 and 1.3 are accepted"),
            _ => self.add(Outcome::Differs, at, "tls_version", "TLS 1.2 and 1.3 are accepted, and no older one"),
        }
    }

    fn ciphers(&mut self, section: &mut Section, settings: &Settings) {
        let (mut chosen, mut why): (Vec<&str>, Option<&Place>) = (Vec::new(), None);
        let only_1_3 = settings.text("tls_version") == Some("tlsv1.3");
        let is_unused = |option: &str| only_1_3 && option == "ciphers";
        for (option, suites) in [("ciphers", &OF_1_2[..]), ("ciphers_tls1.3", &OF_1_3[..])] {
            let all = || suites.iter().map(|(_, iana)| *iana);
            let (Some(list), Some(at)) = (settings.text(option), settings.at(option)) else {
                if !is_unused(option) {
                    chosen.extend(all());
                }
                continue;
            };
            let names = list.split([':', ',', ' ']).filter(|name| !name.is_empty());
            let known: Vec<&str> = names
                .filter_map(|name| suites.iter().find(|(openssl, iana)| name == *openssl || name == *iana))
                .map(|(_, iana)| *iana)
                .collect();
            if known.is_empty() {
                let text =
                    "all cipher suites of the TLS library, which are modern ones with forward secrecy, are accepted";
                self.add(Outcome::Differs, at, option, text);
                if !is_unused(option) {
                    chosen.extend(all());
                }
            } else {
                why = Some(at);
                chosen.extend(known);
                let text = "cipher_suites, as far as the TLS library has them: ECDHE with AES-GCM or ChaCha20";
                self.add(Outcome::Differs, at, option, text);
            }
        }
        if let Some(at) = why {
            section.texts("cipher_suites", &chosen, at);
        }
    }
}

/// Whether the listener has a certificate.
pub(super) fn is_encrypted(listener: &Listener) -> bool {
    listener.settings.has("certfile")
}

/// Whether the user names of clients are those of their certificates.
pub(super) fn has_identity(listener: &Listener) -> bool {
    let settings = &listener.settings;
    let is_on = |option: &str| settings.flag(option) == Some(true);
    is_encrypted(listener) && (is_on("use_identity_as_username") || is_on("use_subject_as_username"))
}

/// The cipher suites of TLS 1.2 and 1.3 that we have: OpenSSL's name and IANA's.
const OF_1_2: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];
const OF_1_3: [(&str, &str); 3] = [
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
];
