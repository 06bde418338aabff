//! What `[listeners.tls]` says about the handshake, beside the certificates of clients.

use std::path::{Path, PathBuf};

use super::CertificateIdentity;
use super::listeners::{ClientCertificate, Listener, Tls};
use super::problem::{Problem, unreadable};
use super::tls::{CertificateDates, CrlCheck, ExpiredCrl, TlsVersion};
use super::transport::Transport;

impl Tls {
    /// Default settings with this certificate and key.
    pub const fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self {
            certificate,
            key,
            certificates: Vec::new(),
            client_certificate: ClientCertificate::None,
            client_ca: None,
            crl: None,
            crl_check: CrlCheck::Leaf,
            crl_expired: ExpiredCrl::Warn,
            client_certificate_dates: CertificateDates::Checked,
            identity_as_user_name: false,
            identity: CertificateIdentity::CommonName,
            min_version: TlsVersion::V1_2,
            cipher_suites: None,
            alpn: None,
            record_size: None,
        }
    }

    /// The files with its certificates and keys.
    pub fn certificate_files(&self) -> impl Iterator<Item = (&Path, &Path)> {
        let further = self.certificates.iter().map(|further| (&*further.certificate, &*further.key));
        std::iter::once((&*self.certificate, &*self.key)).chain(further)
    }

    /// Checks the settings of the handshake.
    pub(super) fn handshake_problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        if let Some(suites) = &self.cipher_suites {
            if suites.is_empty() {
                problem("cipher_suites", "must have at least one cipher suite");
            } else if suites.iter().all(|suite| suite.version() < self.min_version) {
                problem("cipher_suites", "has no cipher suite of TLS 1.3, and min_version is \"1.3\"");
            }
        }
        if let Some(names) = &self.alpn {
            let is_name = |name: &String| {
                (1..=ALPN_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if names.len() > ALPN_NAMES_MAX || !names.iter().all(is_name) {
                problem("alpn", "must be at most 16 names of 1 to 255 printable ASCII characters");
            }
        }
        if self.record_size.is_some_and(|size| !(RECORD_SIZE_MIN..=RECORD_SIZE_MAX).contains(&size)) {
            problem("record_size", "must be from 512 to 16384 bytes");
        }
        if self.certificates.len() > CERTIFICATES_MAX {
            problem("certificates", "must be at most 1,000 certificates");
        }
        for (index, further) in self.certificates.iter().enumerate() {
            let files = [("certificate", &further.certificate), ("key", &further.key)];
            let setting = |name: &str| format!("{key}.certificates[{index}].{name}");
            problems.extend(files.iter().filter_map(|(name, path)| unreadable(&setting(name), path)));
        }
        problems
    }
}

impl Listener {
    /// Its TLS settings, with those that follow from its transport.
    pub fn tls_by_transport(&self) -> Option<Tls> {
        let mut tls = self.tls.clone()?;
        tls.alpn.get_or_insert_with(|| match self.transport {
            Transport::Wss | Transport::Ws => vec!["http/1.1".to_owned()],
            Transport::Tls | Transport::Quic | Transport::Tcp | Transport::Unix => vec!["mqtt".to_owned()],
        });
        Some(tls)
    }

    /// Checks the settings of TLS that QUIC has not.
    pub(super) fn quic_problems(&self, key: &str) -> Vec<Problem> {
        let Some(tls) = self.tls.as_ref().filter(|_| self.transport == Transport::Quic) else { return Vec::new() };
        let settings = [("alpn", tls.alpn.is_some()), ("record_size", tls.record_size.is_some())];
        let unfit = |(setting, _): &(&str, bool)| {
            Problem::new(
                &format!("{key}.tls.{setting}"),
                "has no effect for QUIC: clients name mqtt, and there are no records",
            )
        };
        settings.iter().filter(|(_, is_set)| *is_set).map(unfit).collect()
    }
}

/// RFC 7301, section 3.1.
const ALPN_BYTES_MAX: usize = 255;
/// Each is compared with each of a client.
const ALPN_NAMES_MAX: usize = 16;
/// The smallest of RFC 6066, section 4.
const RECORD_SIZE_MIN: u32 = 512;
/// The largest of TLS.
const RECORD_SIZE_MAX: u32 = 16_384;
/// Each needs some KiB of memory.
const CERTIFICATES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::super::tls::{CipherSuite, NamedCertificate};
    use super::*;

    fn keys(change: impl FnOnce(&mut Tls)) -> Vec<String> {
        let file = std::env::current_exe().unwrap();
        let mut tls = Tls::new(file.clone(), file);
        change(&mut tls);
        tls.handshake_problems("tls").into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn settings_of_the_handshake_that_nobody_could_meet_are_problems() {
        assert_eq!(keys(|_| {}), [""; 0]);
        assert_eq!(keys(|tls| tls.cipher_suites = Some(vec![])), ["tls.cipher_suites"]);
        let only_old = |tls: &mut Tls| tls.cipher_suites = Some(vec![CipherSuite::EcdsaAes128]);
        assert_eq!(keys(only_old), [""; 0]);
        let impossible = |tls: &mut Tls| (only_old(tls), tls.min_version = TlsVersion::V1_3).1;
        assert_eq!(keys(impossible), ["tls.cipher_suites"]);
        for names in [&["mqtt", "x-amzn-mqtt-ca"][..], &[]] {
            assert_eq!(keys(|tls| tls.alpn = Some(names.iter().map(|name| (*name).to_owned()).collect())), [""; 0]);
        }
        for name in ["", "a b", "ä", &"a".repeat(256)] {
            assert_eq!(keys(|tls| tls.alpn = Some(vec![name.to_owned()])), ["tls.alpn"], "{name}");
        }
        for (size, expected) in
            [(511, &["tls.record_size"][..]), (512, &[]), (16_384, &[]), (16_385, &["tls.record_size"])]
        {
            assert_eq!(keys(|tls| tls.record_size = Some(size)), expected);
        }
        let missing = NamedCertificate { certificate: "/does/not/exist".into(), key: "/neither".into() };
        let expected = ["tls.certificates[0].certificate", "tls.certificates[0].key"];
        assert_eq!(keys(|tls| tls.certificates.push(missing)), expected);
    }

    #[test]
    fn a_misspelt_cipher_suite_is_named_with_those_that_there_are() {
        let text = "certificate = \"c\"\nkey = \"k\"\ncipher_suites = [\"TLS_AES_128_CCM_SHA256\"]\n";
        let error = toml::from_str::<Tls>(text).unwrap_err().to_string();
        assert!(error.contains("TLS_AES_128_CCM_SHA256") && error.contains("TLS_AES_128_GCM_SHA256"), "{error}");
        let text = text.replace("CCM", "GCM");
        assert_eq!(toml::from_str::<Tls>(&text).unwrap().cipher_suites, Some(vec![CipherSuite::Aes128]));
    }

    #[test]
    fn what_quic_has_not_is_a_problem_at_its_listeners_alone() {
        for (transport, expected) in
            [(Transport::Tls, &[][..]), (Transport::Quic, &["l.tls.alpn", "l.tls.record_size"])]
        {
            let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
            let alpn = Some(vec!["mqtt".to_owned()]);
            listener.tls = Some(Tls { alpn, record_size: Some(512), ..Tls::new("c".into(), "k".into()) });
            listener.transport = transport;
            let keys: Vec<String> = listener.quic_problems("l").into_iter().map(|problem| problem.key).collect();
            assert_eq!(keys, expected);
        }
    }

    #[test]
    fn the_protocol_follows_from_the_transport() {
        let mut listener = Listener::new("127.0.0.1:1".parse().unwrap());
        assert_eq!(listener.tls_by_transport(), None);
        listener.tls = Some(Tls::new("c".into(), "k".into()));
        for (transport, name) in [(Transport::Tls, "mqtt"), (Transport::Wss, "http/1.1")] {
            listener.transport = transport;
            assert_eq!(listener.tls_by_transport().unwrap().alpn.unwrap(), [name]);
        }
        listener.tls.as_mut().unwrap().alpn = Some(Vec::new());
        assert_eq!(listener.tls_by_transport().unwrap().alpn.unwrap(), [""; 0]);
    }
}
