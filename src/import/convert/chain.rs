//! Certificates that OpenSSL finds by itself, put together in one file.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

/// The certificate of the file, and those between it and its authority that `cafile` and `capath` have. `None`: the file has a chain, as
/// OpenSSL then sends it as it is, or there is nothing to add, or a file can't be read.
pub(super) fn missing_part(certificate: &str, cafile: Option<&str>, capath: Option<&str>) -> Option<String> {
    let own = certificates(Path::new(certificate));
    let [own] = own.as_slice() else { return None };
    let mut known = cafile.map(|file| certificates(Path::new(file))).unwrap_or_default();
    known.extend(capath.iter().flat_map(|directory| of_directory(Path::new(directory))));
    let mut chain: Vec<&CertificateDer<'_>> = vec![own];
    while let Some(last) = chain.last().filter(|_| chain.len() < CHAIN_MAX) {
        let next = known.iter().find(|candidate| is_issuer(candidate, last) && !is_root(candidate));
        let Some(next) = next.filter(|next| !chain.contains(next)) else { break };
        chain.push(next);
    }
    (chain.len() > 1).then(|| chain.into_iter().map(|certificate| pem(certificate)).collect())
}

/// The authorities of a file and of a directory in one text.
pub(super) fn bundle(file: Option<&str>, directory: &str) -> String {
    let mut all = file.map(|file| certificates(Path::new(file))).unwrap_or_default();
    for certificate in of_directory(Path::new(directory)) {
        if !all.contains(&certificate) {
            all.push(certificate);
        }
    }
    all.iter().map(pem).collect()
}

/// Whether a key has a password.
pub(super) fn is_encrypted_key(path: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// The certificates of a PEM file that can be read; none if the file can't be read.
fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    let bytes = fs::read(path).unwrap_or_default();
    CertificateDer::pem_slice_iter(&bytes).take(CERTIFICATES_MAX).filter_map(Result::ok).collect()
}

/// Those of the files with names that `openssl rehash` gives: OpenSSL reads no others.
fn of_directory(directory: &Path) -> Vec<CertificateDer<'static>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| {
        name.split_once('.').is_some_and(|(hash, number)| {
            let is_hash = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hash && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    });
    names.sort_unstable();
    let all = names.iter().flat_map(|name| certificates(&directory.join(name)));
    all.take(CERTIFICATES_MAX).collect()
}

/// Whether `issuer` may have signed `certificate`, by their names and key identifiers. Clients check the signature.
fn is_issuer(issuer: &CertificateDer<'_>, certificate: &CertificateDer<'_>) -> bool {
    let (Ok((_, issuer)), Ok((_, certificate))) =
        (X509Certificate::from_der(issuer), X509Certificate::from_der(certificate))
    else {
        return false;
    };
    if issuer.subject().as_raw() != certificate.issuer().as_raw() {
        return false;
    }
    let of_issuer = issuer.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
        _ => None,
    });
    let wanted = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    });
    of_issuer.zip(wanted).is_none_or(|(issuer, wanted)| issuer == wanted)
}

/// Whether a certificate has itself as its issuer: clients must have it already.
fn is_root(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| certificate.subject().as_raw() == certificate.issuer().as_raw())
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// OpenSSL's own bound for a chain is 100; real ones have three.
const CHAIN_MAX: usize = 16;
/// More than any operating system has.
const CERTIFICATES_MAX: usize = 10_000;
/// The characters in a line of PEM.
const PEM_LINE: usize = 64;

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
    use tempfile::TempDir;

    use super::*;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params
    }

    fn authority_params(name: &str) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn root(name: &str) -> Authority {
        CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
    }

    fn below(issuer: &Issuer<'_, KeyPair>, name: &str) -> Authority {
        CertifiedIssuer::signed_by(authority_params(name), KeyPair::generate().unwrap(), issuer).unwrap()
    }

    /// A root, two authorities between, and the certificate of a server.
    struct Chain {
        directory: TempDir,
        pems: [String; 4],
    }

    impl Chain {
        fn new() -> Self {
            let root = root("root");
            let first = below(&root, "first");
            let second = below(&first, "second");
            let server = params("server").signed_by(&KeyPair::generate().unwrap(), &second).unwrap();
            let pems = [root.pem(), first.pem(), second.pem(), server.pem()];
            Self { directory: tempfile::tempdir().unwrap(), pems }
        }

        fn file(&self, name: &str, text: &str) -> String {
            let path = self.directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_string_lossy().into_owned()
        }
    }

    fn der(pem: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
    }

    #[test]
    fn the_certificates_between_come_in_their_order_and_the_root_does_not() {
        let chain = Chain::new();
        let [root, first, second, server] = &chain.pems;
        let own = chain.file("server.pem", server);
        // Another authority of the same name has another key.
        let other = below(&super::tests::root("other"), "second").pem();
        let all = chain.file("all.pem", &format!("{root}{other}{first}{second}"));
        let found = missing_part(&own, Some(&all), None).unwrap();
        assert_eq!(der(&found), der(&format!("{server}{second}{first}")));
        assert_eq!(missing_part(&own, Some(&chain.file("root.pem", root)), None), None, "nothing to add");
        let whole = chain.file("whole.pem", &format!("{server}{second}"));
        assert_eq!(missing_part(&whole, Some(&all), None), None, "OpenSSL sends what is there");
        assert_eq!(missing_part("/missing", Some(&all), None), None);
        assert_eq!(missing_part(&own, Some("/missing"), Some("/missing")), None);
    }

    #[test]
    fn a_directory_counts_by_the_names_of_openssl() {
        let chain = Chain::new();
        let [root, first, second, server] = &chain.pems;
        let own = chain.file("server.pem", server);
        let directory = chain.directory.path().join("authorities");
        fs::create_dir(&directory).unwrap();
        for (name, text) in [("0a1b2c3d.0", second), ("0a1b2c3d.1", first), ("root.pem", root), ("4e5f6a7b.x", root)] {
            fs::write(directory.join(name), text).unwrap();
        }
        let directory = directory.to_string_lossy().into_owned();
        let found = missing_part(&own, None, Some(&directory)).unwrap();
        assert_eq!(der(&found), der(&format!("{server}{second}{first}")));
        assert_eq!(der(&bundle(Some(&chain.file("ca.pem", second)), &directory)), der(&format!("{second}{first}")));
    }

    #[test]
    fn an_encrypted_key_is_recognized() {
        let chain = Chain::new();
        let key = chain.file("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
        assert!(is_encrypted_key(&key));
        assert!(
            !is_encrypted_key(&chain.file("plain", "-----BEGIN PRIVATE KEY-----\n")) && !is_encrypted_key("/missing")
        );
    }
}
