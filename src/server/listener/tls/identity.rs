//! The server's certificate, its chain and its key.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::algorithm;
use super::contents::{Contents, NEW_KEY};
use super::error::TlsError;
use super::notes::Notes;

/// What a listener shows to its clients.
pub(super) struct Identity {
    pub(super) key: CertifiedKey,
    /// When the first certificate of the chain expires, in seconds since 1970.
    pub(super) expires: i64,
    /// The names of its certificate that clients can ask for, in lower case, perhaps with `*` as the first part.
    pub(super) names: Vec<String>,
}

/// Reads the certificate and the key, and checks that they belong together and that the chain is in order.
pub(super) fn read(
    (certificate, key): (&Path, &Path),
    provider: &CryptoProvider,
    notes: &mut Notes,
) -> Result<Identity, TlsError> {
    let file = Contents::read(certificate)?;
    let chain = file.certificates()?;
    let parsed = parse_all(&file, &chain)?;
    let signing = signing_key(&Contents::read(key)?, provider)?;
    check_key(&file, (certificate, key), &parsed, &*signing)?;
    check_order(&file, &parsed, notes);
    if parsed.first().is_some_and(|leaf| leaf.version() == X509Version::V1) {
        notes.add(
            certificate,
            "is an X.509 v1 certificate, which has no names to check: clients that verify it may refuse it; \
             sign one with `openssl x509 -req -extfile FILE`, where FILE has `subjectAltName = DNS:NAME`",
        );
    }
    notes.check_validity(certificate, parsed.first());
    let end = |certificate: &X509Certificate<'_>| certificate.validity().not_after;
    let leaf_end = parsed.first().map(end);
    let first_end = parsed.iter().map(end).min_by_key(ASN1Time::timestamp);
    if let Some(first_end) = first_end
        && Some(first_end) != leaf_end
    {
        // What the chain needs to be verified expires before the certificate itself.
        notes.check_end(certificate, first_end);
    }
    let expires = first_end.map(|end| end.timestamp()).unwrap_or_default();
    let names = parsed.first().map(names).unwrap_or_default();
    drop(parsed);
    Ok(Identity { key: CertifiedKey::new(chain, signing), expires, names })
}

/// The names of hosts in a certificate.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let all = alternative.map(|extension| &extension.value.general_names).into_iter().flatten();
    let host = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    };
    all.filter_map(host).collect()
}

/// Parses every certificate of a file.
pub(super) fn parse_all<'a>(
    file: &Contents,
    certificates: &'a [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'a>>, TlsError> {
    let parse = |(index, der): (usize, &'a CertificateDer<'static>)| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(file.problem(&format!("{} is damaged", file.place(index)))),
    };
    certificates.iter().enumerate().map(parse).collect()
}

fn signing_key(file: &Contents, provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, TlsError> {
    let key = file.key()?;
    let is_rsa = matches!(key, PrivateKeyDer::Pkcs1(_));
    let name = if is_rsa { Some("RSA") } else { algorithm::name(key.secret_der()) };
    provider.key_provider.load_private_key(key).map_err(|error| {
        let problem = match name {
            Some(name @ ("RSA" | "Ed25519" | "the curve P-256" | "the curve P-384")) => {
                format!("the key, for {name}, is damaged or of an unsupported size")
            }
            Some(name) => format!("the key is for {name}, which is not supported"),
            None => format!("the key is of an unknown kind: {error}"),
        };
        file.problem(&format!("{problem}; supported are {}: {NEW_KEY}", algorithm::SUPPORTED))
    })
}

/// The first certificate must have the public key that belongs to the private one.
fn check_key(
    file: &Contents,
    (certificate, private): (&Path, &Path),
    parsed: &[X509Certificate<'_>],
    key: &dyn SigningKey,
) -> Result<(), TlsError> {
    let Some(public) = key.public_key() else { return Ok(()) };
    // Only the key itself is compared: its algorithm can be written in two ways.
    let Ok((_, public)) = SubjectPublicKeyInfo::from_der(public.as_ref()) else { return Ok(()) };
    let matches = |certificate: &X509Certificate<'_>| {
        certificate.public_key().subject_public_key.data == public.subject_public_key.data
    };
    match parsed.iter().position(matches) {
        Some(0) => Ok(()),
        Some(index) => Err(file.problem(&format!(
            "is in the wrong order: {} belongs to the key; it must be the first, followed by the certificate that signed it, and so on",
            file.place(index)
        ))),
        None => Err(file.problem(&format!(
            "certificate and key do not match: compare `openssl x509 -in {} -noout -pubkey` with `openssl pkey -in {} -pubout`",
            certificate.display(),
            private.display()
        ))),
    }
}

/// Each further certificate should have signed the one before it. Many clients find the order by themselves, so it is not an error.
fn check_order(file: &Contents, parsed: &[X509Certificate<'_>], notes: &mut Notes) {
    for (index, (signed, signer)) in parsed.iter().zip(parsed.iter().skip(1)).enumerate() {
        if signed.issuer().as_raw() != signer.subject().as_raw() {
            let problem = format!(
                "is in the wrong order: {} is of `{}`, but the one before it was signed by `{}`; some clients will refuse it",
                file.place(index + 1),
                signer.subject(),
                signed.issuer()
            );
            notes.add_problem(&file.problem(&problem));
        }
    }
}
