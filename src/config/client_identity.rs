use serde::{Deserialize, Serialize};

/// The part of a client's certificate that is its user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateIdentity {
    /// The Common Name of the subject.
    #[default]
    CommonName,
    /// The DNS name of the Subject Alternative Name.
    SanDns,
    /// The e-mail address of the Subject Alternative Name.
    SanEmail,
    /// The URI of the Subject Alternative Name.
    SanUri,
    /// The whole subject as a text: RFC 2253, as `openssl x509 -subject -nameopt RFC2253` shows it.
    Subject,
}

/// How the Client Identifiers of a listener depend on user names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientIdRule {
    /// A client chooses it.
    #[default]
    Any,
    /// It is the verified user name; what the client sends is replaced.
    UserName,
    /// The client must send its verified user name.
    MustBeUserName,
}
