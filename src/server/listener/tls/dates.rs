//! Certificates of clients whose dates don't count: they are verified for a time at which all of them were valid.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tokio_rustls::rustls::{CertificateError, Error, OtherError};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// What takes the place of the clock. Signatures, names, uses and revocation count as ever, and revocation lists expire by the clock.
#[derive(Debug)]
pub(super) struct IgnoredDates {
    ends: Vec<ListEnd>,
}

/// Until when a revocation list may be used.
#[derive(Debug)]
struct ListEnd {
    /// The name of its authority, in DER.
    issuer: Box<[u8]>,
    /// The first second at which it has expired, since 1970.
    end: u64,
}

/// The certificates of a client have no time in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client's certificate and those above it were never valid at the same time, which client_certificate_dates = \
     \"ignored\" needs as well"
)]
pub(super) struct NeverValid;

impl IgnoredDates {
    /// `enforced`: the revocation lists whose certificates are refused when the list has expired.
    pub(super) fn new(enforced: &[CertificateRevocationListDer<'_>]) -> Self {
        let end = |list: &CertificateRevocationListDer<'_>| {
            let (_, list) = CertificateRevocationList::from_der(list).ok()?;
            Some(ListEnd { issuer: list.issuer().as_raw().into(), end: seconds(list.next_update()?) })
        };
        Self { ends: enforced.iter().filter_map(end).collect() }
    }

    /// Verifies the certificates with `verify`, which gets the time to judge by. Those with a list that has expired `now` are refused.
    pub(super) fn verify<T>(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        verify: impl Fn(UnixTime) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let presented: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| X509Certificate::from_der(certificate).map(|(_, certificate)| certificate))
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::BadEncoding)?;
        let is_without_list = |certificate: &X509Certificate<'_>| {
            let is_over = |list: &ListEnd| now.as_secs() >= list.end && *list.issuer == *certificate.issuer().as_raw();
            self.ends.iter().any(is_over)
        };
        if presented.iter().any(is_without_list) {
            return Err(CertificateError::ExpiredRevocationList.into());
        }
        for time in times(&presented) {
            match verify(UnixTime::since_unix_epoch(std::time::Duration::from_secs(time))) {
                Err(Error::InvalidCertificate(cause)) if is_about_dates(&cause) => {}
                other => return other,
            }
        }
        Err(CertificateError::Other(OtherError(Arc::new(NeverValid))).into())
    }
}

/// The times to try, the latest first. Of certificates that are valid at the same time, one becomes valid last: if there is such a time for a
/// chain, then the beginning of one of its certificates is one. What doesn't belong to the chain may have been presented, too.
fn times(presented: &[X509Certificate<'_>]) -> Vec<u64> {
    let period = |certificate: &X509Certificate<'_>| {
        let validity = certificate.validity();
        seconds(validity.not_before)..=seconds(validity.not_after)
    };
    let Some(own) = presented.first().map(period) else { return Vec::new() };
    let mut times: Vec<_> =
        presented.iter().map(|certificate| *period(certificate).start()).filter(|time| own.contains(time)).collect();
    times.sort_unstable_by(|one, other| other.cmp(one));
    times.dedup();
    times.truncate(TIMES_MAX);
    times
}

fn is_about_dates(cause: &CertificateError) -> bool {
    matches!(
        cause,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

/// Since 1970; 0 for what was before.
fn seconds(time: ASN1Time) -> u64 {
    u64::try_from(time.timestamp()).unwrap_or_default()
}

/// Each costs a verification. Chains have hardly more certificates.
const TIMES_MAX: usize = 4;

#[cfg(test)]
mod tests;
