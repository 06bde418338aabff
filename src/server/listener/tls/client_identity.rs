//! The user name in the certificate of a client.

mod subject;

use std::sync::Arc;

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::CertificateIdentity;

/// Why the certificate of a client has no user name that could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdentityFault {
    #[error("the client's certificate is damaged")]
    Damaged,
    #[error("the user name in the client's certificate ({0}) {1}")]
    Unusable(&'static str, Unusable),
}

/// Why a part of a certificate can't be a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("is there several times")]
    Several,
    #[error("is empty")]
    Empty,
    #[error("has a control character")]
    Control,
    #[error("is no text")]
    NotText,
    #[error("has more than 1,024 bytes")]
    TooLong,
}

/// The user name in a certificate; `None`: it has none in this part.
///
/// The certificate was verified, so an authority of the listener vouches for it. But an authority may sign what its requesters want, so no text is
/// interpreted: it is the user name as it stands, or the certificate is refused.
pub(super) fn of(certificate: &[u8], part: CertificateIdentity) -> Result<Option<Arc<str>>, IdentityFault> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| IdentityFault::Damaged)?;
    let (name, found) = match part {
        CertificateIdentity::CommonName => ("Common Name", common_names(&certificate)),
        CertificateIdentity::SanDns => ("DNS name", alternatives(&certificate, dns_name)?),
        CertificateIdentity::SanEmail => ("e-mail address", alternatives(&certificate, email_address)?),
        CertificateIdentity::SanUri => ("URI", alternatives(&certificate, uri)?),
        CertificateIdentity::Subject => ("subject", subject_text(&certificate)),
    };
    let unusable = |fault| IdentityFault::Unusable(name, fault);
    let text = match &found[..] {
        [] => return Ok(None),
        [text] => text.as_deref().ok_or_else(|| unusable(Unusable::NotText))?,
        _ => return Err(unusable(Unusable::Several)),
    };
    let fault = if text.is_empty() {
        Unusable::Empty
    } else if text.chars().any(char::is_control) {
        Unusable::Control
    } else if text.len() > IDENTITY_BYTES_MAX {
        Unusable::TooLong
    } else {
        return Ok(Some(text.into()));
    };
    Err(unusable(fault))
}

/// The texts of a part of a certificate; `None`: it is no text.
type Texts = Vec<Option<String>>;

fn common_names(certificate: &X509Certificate<'_>) -> Texts {
    let names = certificate.subject().iter_common_name();
    names.map(|name| subject::characters(name.attr_value())).collect()
}

fn subject_text(certificate: &X509Certificate<'_>) -> Texts {
    let is_there = certificate.subject().iter_attributes().next().is_some();
    is_there.then(|| subject::text(certificate.subject())).into_iter().collect()
}

/// The Subject Alternative Names of a kind.
fn alternatives(
    certificate: &X509Certificate<'_>,
    of_kind: for<'a> fn(&GeneralName<'a>) -> Option<&'a str>,
) -> Result<Texts, IdentityFault> {
    let extension = certificate.subject_alternative_name().map_err(|_| IdentityFault::Damaged)?;
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names.filter_map(of_kind).map(|name| Some(name.to_owned())).collect())
}

const fn dns_name<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::DNSName(name) = name { Some(name) } else { None }
}

const fn email_address<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::RFC822Name(name) = name { Some(name) } else { None }
}

const fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    if let GeneralName::URI(name) = name { Some(name) } else { None }
}

/// The name is stored with each session of its user.
const IDENTITY_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
