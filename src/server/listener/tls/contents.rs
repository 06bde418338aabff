//! Reads certificates, keys and revocation lists, and says what a file that can't be used is instead.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::error::TlsError;

/// A file of the TLS settings.
#[derive(Debug)]
pub(super) struct Contents {
    path: PathBuf,
    /// Without a byte order mark.
    bytes: Vec<u8>,
}

/// What a file should contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Certificate,
    Key,
    RevocationList,
}

impl Wanted {
    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "private key",
            Self::RevocationList => "certificate revocation list",
        }
    }
}

impl Contents {
    /// Reads the whole file.
    pub(super) fn read(path: &Path) -> Result<Self, TlsError> {
        let bytes = fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).map(<[u8]>::to_vec).unwrap_or(bytes);
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// All certificates, at least one, in the order of the file.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.sections(Wanted::Certificate)
    }

    /// All revocation lists, at least one; the file is PEM, or one list in DER.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        if !self.is_pem() && CertificateRevocationList::from_der(&self.bytes).is_ok_and(|(rest, _)| rest.is_empty()) {
            return Ok(vec![CertificateRevocationListDer::from(self.bytes.clone())]);
        }
        self.sections(Wanted::RevocationList)
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        if self.text().lines().any(|line| line.trim_end() == "Proc-Type: 4,ENCRYPTED") {
            return Err(self.problem(&encrypted(&self.path)));
        }
        Ok(self.sections(Wanted::Key)?.swap_remove(0))
    }

    /// An error about this file.
    pub(super) fn problem(&self, problem: &str) -> TlsError {
        TlsError::File { path: self.path.clone(), problem: problem.to_owned() }
    }

    /// Where the certificate with this index is, for an error: `certificate 2 (line 23)`.
    pub(super) fn place(&self, index: usize) -> String {
        let line = self.labels().filter(|(_, label)| label == "CERTIFICATE").nth(index).map(|(line, _)| line);
        format!("certificate {} (line {})", index + 1, line.unwrap_or_default())
    }

    fn sections<T: PemObject>(&self, wanted: Wanted) -> Result<Vec<T>, TlsError> {
        let sections = T::pem_slice_iter(&self.bytes).collect::<Result<Vec<T>, _>>();
        let sections = sections.map_err(|error| self.problem(&self.damage(&error)))?;
        if sections.is_empty() {
            return Err(self.problem(&self.instead_of(wanted)));
        }
        Ok(sections)
    }

    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    fn is_pem(&self) -> bool {
        self.labels().next().is_some()
    }

    /// The label of each PEM section, with the line of its beginning.
    fn labels(&self) -> impl Iterator<Item = (usize, String)> {
        let lines = self.bytes.split(|byte| *byte == b'\n').zip(1..);
        lines.filter_map(|(line, number)| {
            let label = line.strip_prefix(b"-----BEGIN ")?.trim_ascii_end().strip_suffix(b"-----")?;
            Some((number, String::from_utf8_lossy(label).into_owned()))
        })
    }

    /// Why the PEM text can't be decoded.
    fn damage(&self, error: &pem::Error) -> String {
        match error {
            pem::Error::MissingSectionEnd { end_marker } => {
                let label = String::from_utf8_lossy(end_marker);
                format!("is cut off: the last section has no line -----END {label}-----")
            }
            pem::Error::Base64Decode(_) => "is damaged: a section is not valid base64".to_owned(),
            pem::Error::IllegalSectionStart { line } => {
                format!("is damaged: `{}` is not a valid first line of a section", String::from_utf8_lossy(line))
            }
            pem::Error::SectionTooLarge | pem::Error::Io(_) | pem::Error::NoItemsFound | _ => {
                format!("is not valid PEM: {error}")
            }
        }
    }

    /// What the file contains instead of what is wanted, and the command that helps.
    fn instead_of(&self, wanted: Wanted) -> String {
        let name = wanted.name();
        if self.bytes.trim_ascii().is_empty() {
            return format!("is empty: it must contain a {name} in PEM");
        }
        let labels: Vec<_> = self.labels().collect();
        if let Some((line, label)) = labels.iter().find(|(_, label)| label != "EC PARAMETERS").or(labels.first()) {
            return in_place_of(wanted, &self.path, *line, label);
        }
        if UTF_16.iter().any(|mark| self.bytes.starts_with(mark)) {
            return "is UTF-16 text: save it as ASCII or UTF-8".to_owned();
        }
        if self.bytes.first() == Some(&DER_SEQUENCE) {
            return in_der(wanted, &self.path, &self.bytes);
        }
        if self.bytes.starts_with(JAVA_KEYSTORE) {
            let file = self.path.display();
            return format!(
                "is a Java keystore, not PEM: convert it with `keytool -importkeystore -srckeystore {file} -destkeystore \
                 {file}.p12 -deststoretype PKCS12`, and that with `openssl pkcs12`"
            );
        }
        if self.bytes.trim_ascii_start().starts_with(b"<") {
            return format!("is HTML or XML (a saved web page?), not a {name} in PEM");
        }
        format!("has no {name} in PEM: there is no line that begins with -----BEGIN")
    }
}

/// A file has PEM sections, but none that is wanted.
fn in_place_of(wanted: Wanted, path: &Path, line: usize, label: &str) -> String {
    let (file, name) = (path.display(), wanted.name());
    let found = match (label, wanted) {
        ("ENCRYPTED PRIVATE KEY", Wanted::Key) => return encrypted(path),
        ("OPENSSH PRIVATE KEY", Wanted::Key) => {
            return format!("is a key in the format of OpenSSH: convert it with `ssh-keygen -p -m PEM -f {file}`");
        }
        ("DSA PRIVATE KEY", Wanted::Key) => {
            return format!("is a DSA key, which TLS no longer supports: {NEW_KEY}");
        }
        ("EC PARAMETERS", Wanted::Key) => {
            return format!("has the name of a curve, but no private key: {NEW_KEY}");
        }
        ("TRUSTED CERTIFICATE" | "X509 CERTIFICATE", Wanted::Certificate) => {
            return format!("has the label {label}: convert it with `openssl x509 -in {file} -out {file}.pem`");
        }
        ("PKCS7", Wanted::Certificate) => {
            return format!("is PKCS#7: convert it with `openssl pkcs7 -print_certs -in {file} -out {file}.pem`");
        }
        ("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", _) => {
            "a certificate request, which an authority must sign first"
        }
        ("CERTIFICATE", _) => "a certificate",
        ("PUBLIC KEY", _) => "a public key",
        ("X509 CRL", _) => "a certificate revocation list",
        ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "ENCRYPTED PRIVATE KEY", _) => "a private key",
        (label, _) => return format!("has no {name}: line {line} begins a section of another kind, {label}"),
    };
    format!("has no {name}: line {line} begins {found}")
}

/// A file is DER, or something else in ASN.1.
fn in_der(wanted: Wanted, path: &Path, der: &[u8]) -> String {
    let (file, name) = (path.display(), wanted.name());
    let head = der.get(..der.len().min(HEAD_BYTES)).unwrap_or(der);
    let has = |bytes: &[u8]| head.windows(bytes.len()).any(|window| window == bytes);
    let is_whole = |rest: &[u8]| rest.is_empty();
    let convert = |what: &str, command: &str| {
        let other = if what == name { String::new() } else { format!(", and not a {name}") };
        format!(
            "is a {what} in DER, not PEM{other}: convert it with `openssl {command} -inform DER -in {file} -out {file}.pem`"
        )
    };
    if X509Certificate::from_der(der).is_ok_and(|(rest, _)| is_whole(rest)) {
        convert("certificate", "x509")
    } else if CertificateRevocationList::from_der(der).is_ok_and(|(rest, _)| is_whole(rest)) {
        convert("certificate revocation list", "crl")
    } else if X509CertificationRequest::from_der(der).is_ok_and(|(rest, _)| is_whole(rest)) {
        "is a certificate request in DER, which an authority must sign first".to_owned()
    } else if has(PKCS7) && has(VERSION_3) {
        let options = if wanted == Wanted::Key { "-nocerts -nodes" } else { "-nokeys" };
        format!("is PKCS#12, not PEM: convert it with `openssl pkcs12 -in {file} {options} -out {file}.pem`")
    } else if has(PKCS7) {
        format!(
            "is PKCS#7 in DER, not PEM: convert it with `openssl pkcs7 -inform DER -print_certs -in {file} -out {file}.pem`"
        )
    } else if has(PASSWORD_BASED) {
        format!(
            "is an encrypted private key in DER: decrypt it with `openssl pkey -inform DER -in {file} -out {file}.pem`"
        )
    } else if KEY_VERSIONS.iter().any(|version| has(version)) {
        convert("private key", "pkey")
    } else {
        format!("is not PEM, and neither is it a complete {name} in DER: it may be cut off")
    }
}

fn encrypted(path: &Path) -> String {
    let file = path.display();
    format!(
        "is encrypted with a password, which the broker can't ask for: decrypt it with `openssl pkey -in {file} -out {file}.pem`"
    )
}

/// How to make a key that every client supports.
pub(super) const NEW_KEY: &str = "make a new one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";

/// UTF-8 text of some editors begins with it.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The byte order marks of UTF-16.
const UTF_16: [&[u8]; 2] = [&[0xFF, 0xFE], &[0xFE, 0xFF]];

/// The first bytes of a Java keystore.
const JAVA_KEYSTORE: &[u8] = &[0xFE, 0xED, 0xFE, 0xED];

/// The first byte of certificates, keys and lists in DER.
const DER_SEQUENCE: u8 = 0x30;

/// The first bytes of a file in DER tell what it is.
const HEAD_BYTES: usize = 64;
/// The beginning of the object identifiers of PKCS#7, which PKCS#12 contains.
const PKCS7: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x07];
/// The version of PKCS#12, and the beginning of its contents.
const VERSION_3: &[u8] = &[0x02, 0x01, 0x03, 0x30];
/// The beginning of the object identifiers of PKCS#5: encryption with a password.
const PASSWORD_BASED: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x05];
/// The versions of PKCS#8, PKCS#1 and SEC 1, each with the type of what follows.
const KEY_VERSIONS: [&[u8]; 3] = [&[0x02, 0x01, 0x00, 0x30], &[0x02, 0x01, 0x00, 0x02], &[0x02, 0x01, 0x01, 0x04]];
