use std::fs;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

use super::*;
use crate::config::{CertificateDates, ClientCertificate, CrlCheck, ExpiredCrl, Tls};
use crate::server::listener::tls::{Certificates, refusal};

type Chain = Vec<CertificateDer<'static>>;

/// An authority whose own certificate has expired long ago.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Valid in these years.
fn params(name: &str, (from, to): (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
    params
}

fn authority_params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = params(name, years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn issue(mut params: CertificateParams, number: u64, issuer: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
    params.serial_number = Some(SerialNumber::from(number));
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
}

impl Authority {
    fn new() -> Self {
        let params = authority_params("root", (2000, 2010));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { directory: tempfile::tempdir().unwrap(), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        let key = KeyPair::generate().unwrap();
        authority.write("server.pem", &self::params("server", (2020, 2090)).self_signed(&key).unwrap().pem());
        authority.write("server.key", &key.serialize_pem());
        authority
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// A certificate of this authority.
    fn leaf(&self, years: (i32, i32), number: u64) -> Chain {
        vec![issue(params("leaf", years), number, &self.issuer)]
    }

    /// Writes a list that expires in this year.
    fn revoke(&self, number: u64, end: i32) {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2005, 1, 1),
            next_update: date_time_ymd(end, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(number),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &list.signed_by(&self.issuer).unwrap().pem().unwrap());
    }

    fn load(&self, dates: CertificateDates, change: impl FnOnce(&mut Tls)) -> Certificates {
        let path = |name: &str| self.directory.path().join(name);
        let mut tls = Tls::new(path("server.pem"), path("server.key"));
        (tls.client_certificate, tls.client_ca) = (ClientCertificate::Required, Some(path("ca.pem")));
        tls.client_certificate_dates = dates;
        change(&mut tls);
        if tls.crl.is_some() {
            tls.crl = Some(path("crl.pem"));
        }
        Certificates::load(tls).unwrap()
    }

    fn ignoring(&self) -> Certificates {
        self.load(CertificateDates::Ignored, |_| {})
    }
}

/// Why the certificates are refused; empty: they are not.
fn cause(certificates: &Certificates, chain: &[CertificateDer<'_>]) -> String {
    match certificates.current.load().verify(chain) {
        Ok(()) => String::new(),
        Err(Error::InvalidCertificate(cause)) => refusal(&cause),
        Err(other) => panic!("{other}"),
    }
}

const PAST: (i32, i32) = (2008, 2012);
const PRESENT: (i32, i32) = (2020, 2090);
const FUTURE: (i32, i32) = (2080, 2090);
const NEVER: &str = "never valid at the same time";

#[test]
fn certificates_that_are_not_valid_now_are_accepted_only_by_the_setting() {
    let authority = Authority::new();
    let checked = authority.load(CertificateDates::Checked, |_| {});
    let ignoring = authority.ignoring();
    for (years, is_valid_now) in [(PAST, false), (PRESENT, true), (FUTURE, false)] {
        let chain = authority.leaf(years, 1);
        assert_eq!(cause(&checked, &chain).is_empty(), is_valid_now, "{years:?}");
        assert_eq!(cause(&ignoring, &chain), "", "{years:?}");
    }
}

#[test]
fn everything_but_the_dates_counts() {
    let (authority, other) = (Authority::new(), Authority::new());
    let ignoring = authority.ignoring();
    for years in [PAST, PRESENT, FUTURE] {
        // The other authority has the same name, so its signature decides.
        assert_ne!(cause(&ignoring, &other.leaf(years, 1)), "", "{years:?}");
        let stranger = Issuer::new(authority_params("stranger", PRESENT), KeyPair::generate().unwrap());
        let foreign = issue(params("leaf", years), 1, &stranger);
        assert!(cause(&ignoring, &[foreign]).contains("not signed by an authority in client_ca"));
        let mut server = params("leaf", years);
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        assert_ne!(cause(&ignoring, &[issue(server, 1, &authority.issuer)]), "", "{years:?}");
        let mut damaged = authority.leaf(years, 1).remove(0).to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        assert_ne!(cause(&ignoring, &[damaged.into()]), "", "{years:?}");
    }
    assert_ne!(cause(&ignoring, &authority.leaf((2012, 2008), 1)), "", "it ends before it begins");
    for damaged in [vec![], vec![0x30], vec![0x30, 0x82, 0xff, 0xff]] {
        let damaged = CertificateDer::from(damaged);
        assert_ne!(cause(&ignoring, std::slice::from_ref(&damaged)), "");
        let [leaf] = &*authority.leaf(PAST, 1) else { panic!() };
        assert_ne!(cause(&ignoring, &[leaf.clone(), damaged]), "");
    }
}

#[test]
fn revoked_certificates_are_refused_whatever_their_dates() {
    let authority = Authority::new();
    authority.revoke(2, 2095);
    for check in [CrlCheck::Leaf, CrlCheck::Chain] {
        for expired in [ExpiredCrl::Warn, ExpiredCrl::Refuse] {
            let ignoring = authority.load(CertificateDates::Ignored, |tls| {
                (tls.crl, tls.crl_check, tls.crl_expired) = (Some("crl".into()), check, expired);
            });
            for years in [PAST, PRESENT, FUTURE] {
                assert_eq!(cause(&ignoring, &authority.leaf(years, 1)), "", "{years:?}");
                assert!(cause(&ignoring, &authority.leaf(years, 2)).contains("revoked"), "{years:?}");
            }
        }
    }
}

#[test]
fn revocation_lists_expire_by_the_clock() {
    let authority = Authority::new();
    let load = |expired| {
        authority.load(CertificateDates::Ignored, |tls| (tls.crl, tls.crl_expired) = (Some("crl".into()), expired))
    };
    // It was in force while the certificate was valid, which must not make it fresh.
    authority.revoke(2, 2015);
    for years in [PAST, PRESENT, FUTURE] {
        let chain = authority.leaf(years, 1);
        assert_eq!(cause(&load(ExpiredCrl::Warn), &chain), "", "{years:?}");
        assert!(cause(&load(ExpiredCrl::Refuse), &chain).contains("list in crl has expired"), "{years:?}");
        assert!(cause(&load(ExpiredCrl::Warn), &authority.leaf(years, 2)).contains("revoked"), "{years:?}");
    }
    // It is in force, and will not be when the last of these certificates becomes valid.
    authority.revoke(2, 2070);
    for years in [PAST, PRESENT, FUTURE] {
        assert_eq!(cause(&load(ExpiredCrl::Refuse), &authority.leaf(years, 1)), "", "{years:?}");
    }
}

#[test]
fn a_chain_needs_a_time_at_which_all_of_it_was_valid() {
    let authority = Authority::new();
    let ignoring = authority.ignoring();
    let key = KeyPair::generate().unwrap();
    let between = |years| authority_params("between", years).signed_by(&key, &authority.issuer).unwrap().der().clone();
    let (early, late) = (between((2005, 2011)), between((2013, 2090)));
    let gap = between((1990, 1995));
    let stray = authority.leaf((2009, 2010), 7).remove(0);
    let issuer = Issuer::new(authority_params("between", PRESENT), key);
    let leaf = issue(params("leaf", PAST), 1, &issuer);
    let chain = |above: &[&CertificateDer<'static>]| -> Chain {
        std::iter::once(&leaf).chain(above.iter().copied()).cloned().collect()
    };
    for good in [&[&early][..], &[&early, &late], &[&late, &early], &[&gap, &late, &early], &[&stray, &early]] {
        assert_eq!(cause(&ignoring, &chain(good)), "", "{}", good.len());
    }
    for bad in [&[&late][..], &[&gap], &[&gap, &late]] {
        assert!(cause(&ignoring, &chain(bad)).contains(NEVER), "{}", bad.len());
    }
    assert!(cause(&ignoring, &chain(&[])).contains("not signed by an authority in client_ca"));
    // What is tried is bounded.
    let many: Vec<_> = (0..20).map(|day| authority.leaf((2009, 2010 + day), 1).remove(0)).collect();
    assert_eq!(cause(&ignoring, &chain(&many.iter().chain([&early]).collect::<Vec<_>>())), "");
    let parsed: Vec<_> = (2001..2012).map(|from| authority.leaf((from, 2040), 1).remove(0)).collect();
    let parsed: Vec<_> = parsed.iter().map(|one| X509Certificate::from_der(one).unwrap().1).collect();
    assert_eq!(times(&parsed).len(), TIMES_MAX);
}
