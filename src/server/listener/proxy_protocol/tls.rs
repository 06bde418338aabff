//! What a header of version 2 says about the TLS between the client and the proxy: its fields of type, length and value.

use std::sync::Arc;

use crate::config::{ClientCertificate, ProxyTls};

/// The TLS of a client that a proxy speaks with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::server::listener) struct ClientTls {
    /// Whether the client speaks TLS with the proxy.
    pub(in crate::server::listener) is_encrypted: bool,
    /// The result of verifying the client's certificate, 0 if it is valid; `None`: the client has presented none.
    pub(in crate::server::listener) certificate: Option<u32>,
    /// The Common Name of the certificate.
    pub(in crate::server::listener) common_name: Option<Arc<str>>,
}

/// Why a client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum ClientTlsError {
    /// A field is malformed.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// The client did not speak TLS with the proxy, or the proxy doesn't say so.
    #[error(
        "the client did not speak TLS with the proxy, or the proxy does not say so (HAProxy: send-proxy-v2-ssl-cn)"
    )]
    NoTls,
    /// The client presented no certificate to the proxy.
    #[error("the client presented no certificate to the proxy")]
    NoCertificate,
    /// The proxy found the certificate of the client not valid.
    #[error("the proxy has not verified the client's certificate: error {0} of its TLS library")]
    Unverified(u32),
}

impl ClientTls {
    /// Parses the `fields` behind the addresses of a header, of which `head` is what stands before them.
    pub(super) fn parse(head: &[u8], fields: &[u8]) -> Result<Self, ClientTlsError> {
        let (mut tls, mut rest) = (None, fields);
        while !rest.is_empty() {
            let (kind, value, behind) = split_field(rest)?;
            match kind {
                TYPE_SSL if tls.is_some() => return Err(ClientTlsError::Malformed("two fields about TLS")),
                TYPE_SSL => tls = Some(Self::parse_ssl(value)?),
                TYPE_CRC32C => check_sum(head, fields, fields.len() - rest.len(), value)?,
                _ => {}
            }
            rest = behind;
        }
        Ok(tls.unwrap_or_default())
    }

    /// The flags of the client, the result of verifying its certificate, and fields of their own.
    fn parse_ssl(value: &[u8]) -> Result<Self, ClientTlsError> {
        let Some((&[flags, a, b, c, d], mut rest)) = value.split_first_chunk::<5>() else {
            return Err(ClientTlsError::Malformed("the field about TLS is too short"));
        };
        let mut common_name = None;
        while !rest.is_empty() {
            let (kind, value, behind) = split_field(rest)?;
            if kind == SUBTYPE_CN {
                if common_name.is_some() {
                    return Err(ClientTlsError::Malformed("two Common Names"));
                }
                common_name = Some(parse_name(value)?);
            }
            rest = behind;
        }
        Ok(Self {
            is_encrypted: flags & CLIENT_SSL != 0,
            certificate: (flags & (CERTIFICATE_OF_CONNECTION | CERTIFICATE_OF_SESSION) != 0)
                .then(|| u32::from_be_bytes([a, b, c, d])),
            common_name,
        })
    }

    /// The user name of the client, or why it is refused.
    pub(in crate::server::listener) fn judge(self, settings: &ProxyTls) -> Result<Option<Arc<str>>, ClientTlsError> {
        if !self.is_encrypted {
            return Err(ClientTlsError::NoTls);
        }
        match (settings.client_certificate, self.certificate) {
            (ClientCertificate::None, _) | (ClientCertificate::Optional, None) => Ok(None),
            (ClientCertificate::Required, None) => Err(ClientTlsError::NoCertificate),
            (ClientCertificate::Optional | ClientCertificate::Required, Some(0)) => {
                Ok(self.common_name.filter(|_| settings.identity_as_user_name))
            }
            (ClientCertificate::Optional | ClientCertificate::Required, Some(error)) => {
                Err(ClientTlsError::Unverified(error))
            }
        }
    }
}

/// The type, the value and what follows the first field.
fn split_field(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), ClientTlsError> {
    let field = bytes.split_first_chunk::<3>().and_then(|(&[kind, high, low], rest)| {
        let (value, behind) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        Some((kind, value, behind))
    });
    field.ok_or(ClientTlsError::Malformed("a field is longer than the header"))
}

/// The checksum of the whole header, in which the bytes of the checksum itself are zero. `at`: where its field begins.
fn check_sum(head: &[u8], fields: &[u8], at: usize, value: &[u8]) -> Result<(), ClientTlsError> {
    let (before, behind) = (fields.get(..at + 3).unwrap_or_default(), fields.get(at + 7..).unwrap_or_default());
    let sum = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(head), before), &[0; 4]);
    let sum = crc32c::crc32c_append(sum, behind).to_be_bytes();
    if value == sum { Ok(()) } else { Err(ClientTlsError::Malformed("wrong checksum")) }
}

fn parse_name(value: &[u8]) -> Result<Arc<str>, ClientTlsError> {
    let name = str::from_utf8(value).ok().filter(|name| !name.is_empty() && !name.contains(char::is_control));
    name.map(Arc::from).ok_or(ClientTlsError::Malformed("the Common Name is empty or not text"))
}

/// PP2_TYPE_CRC32C.
const TYPE_CRC32C: u8 = 0x03;
/// PP2_TYPE_SSL.
const TYPE_SSL: u8 = 0x20;
/// PP2_SUBTYPE_SSL_CN.
const SUBTYPE_CN: u8 = 0x22;
/// PP2_CLIENT_SSL: the client speaks TLS with the proxy.
const CLIENT_SSL: u8 = 0x01;
/// PP2_CLIENT_CERT_CONN: it has presented a certificate over this connection.
const CERTIFICATE_OF_CONNECTION: u8 = 0x02;
/// PP2_CLIENT_CERT_SESS: it has over an earlier connection, whose TLS session is resumed.
const CERTIFICATE_OF_SESSION: u8 = 0x04;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(kind: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind][..], &length, value].concat()
    }

    fn ssl(flags: u8, verify: u32, names: &[&str]) -> Vec<u8> {
        let names: Vec<u8> = names.iter().flat_map(|name| field(SUBTYPE_CN, name.as_bytes())).collect();
        let version = field(0x21, b"TLSv1.3");
        field(TYPE_SSL, &[&[flags][..], &verify.to_be_bytes(), &version, &names, &field(0x23, b"CIPHER")].concat())
    }

    fn judged(fields: &[u8], client_certificate: ClientCertificate) -> Result<Option<String>, String> {
        let settings = ProxyTls { client_certificate, identity_as_user_name: true };
        let name = ClientTls::parse(b"", fields).and_then(|tls| tls.judge(&settings));
        name.map(|name| name.map(|name| name.to_string())).map_err(|error| error.to_string())
    }

    #[test]
    fn a_client_without_tls_or_without_a_valid_certificate_is_refused() {
        use ClientCertificate::{None as Ignored, Optional, Required};
        let (tls, connection, session) = (CLIENT_SSL, CERTIFICATE_OF_CONNECTION, CERTIFICATE_OF_SESSION);
        let sent = |flags, verify| [field(0x01, b"mqtt"), ssl(flags, verify, &["alice"]), field(0x05, b"id")].concat();
        let (nobody, alice, plain) = (Ok(None), Ok(Some("alice")), Err("did not speak TLS"));
        for (flags, verify, expected) in [
            (tls | connection, 0, [nobody, alice, alice]),
            (tls | session, 0, [nobody, alice, alice]),
            // HAProxy sends 0 also if there is no certificate, and could send its name all the same.
            (tls, 0, [nobody, nobody, Err("presented no certificate")]),
            (tls | connection | session, 18, [nobody, Err("error 18"), Err("error 18")]),
            (connection | session, 0, [plain; 3]),
            (0, 0, [plain; 3]),
        ] {
            for (setting, expected) in [Ignored, Optional, Required].into_iter().zip(expected) {
                let result = judged(&sent(flags, verify), setting);
                let is_expected = match (&result, expected) {
                    (Err(error), Err(words)) => error.contains(words),
                    (Ok(name), Ok(expected)) => name.as_deref() == expected,
                    (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
                };
                assert!(is_expected, "{flags:x} {verify} {setting:?}: {result:?}");
            }
        }
        assert!(judged(&[], Ignored).is_err(), "a proxy that says nothing");
    }

    #[test]
    fn a_name_is_taken_only_if_it_is_set_and_one() {
        let settings = ProxyTls { client_certificate: ClientCertificate::Required, identity_as_user_name: false };
        let tls = ClientTls::parse(b"", &ssl(3, 0, &["alice"])).unwrap();
        assert_eq!(tls.judge(&settings).unwrap(), None);
        let required = |fields: &[u8]| judged(fields, ClientCertificate::Required);
        assert_eq!(required(&ssl(3, 0, &[])), Ok(None));
        for fields in [
            ssl(3, 0, &["alice", "bob"]),
            ssl(3, 0, &[""]),
            ssl(3, 0, &["a\0b"]),
            [ssl(3, 0, &["alice"]), ssl(3, 0, &["bob"])].concat(),
            field(TYPE_SSL, &[3, 0, 0, 0]),
            field(TYPE_SSL, &[3, 0, 0, 0, 0, 0x22]),
            field(TYPE_SSL, &[3, 0, 0, 0, 0, 0x22, 0, 9, b'a']),
            field(TYPE_SSL, &[3, 0, 0, 0, 0, 0x22, 0, 1, 0xFF]),
            vec![TYPE_SSL],
            vec![TYPE_SSL, 0xFF, 0xFF],
        ] {
            assert!(required(&fields).unwrap_err().starts_with("malformed PROXY header"), "{fields:x?}");
        }
    }

    #[test]
    fn a_checksum_must_be_that_of_the_header() {
        let head = b"any head";
        let before = ssl(3, 0, &["alice"]);
        let header = |sum: u32| [&before[..], &field(TYPE_CRC32C, &sum.to_be_bytes()), &field(0x04, b"")].concat();
        let sum = crc32c::crc32c(&[&head[..], &header(0)].concat());
        assert!(ClientTls::parse(head, &header(sum)).is_ok());
        assert!(ClientTls::parse(head, &header(sum ^ 1)).is_err());
        assert!(ClientTls::parse(b"another", &header(sum)).is_err());
        assert!(ClientTls::parse(head, &field(TYPE_CRC32C, b"abc")).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_malformed(mut fields in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = ClientTls::parse(b"", &fields);
            fields.splice(0..0, [TYPE_SSL, 0, 60]);
            let _ = ClientTls::parse(b"", &fields);
        }
    }
}
