use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};

use super::*;

fn params(name: &str, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    if matches!(is_ca, IsCa::Ca(_)) {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    }
    params.is_ca = is_ca;
    params
}

/// A self-signed certificate, and what it signs with.
fn self_signed(name: &str, is_ca: IsCa) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
    let (params, key) = (params(name, is_ca), KeyPair::generate().unwrap());
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), Issuer::new(params, key))
}

fn signed(
    name: &str,
    is_ca: IsCa,
    issuer: &Issuer<'_, KeyPair>,
) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
    let (params, key) = (params(name, is_ca), KeyPair::generate().unwrap());
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), Issuer::new(params, key))
}

fn authority() -> IsCa {
    IsCa::Ca(BasicConstraints::Unconstrained)
}

/// What a client that trusts these certificates says to a server at `localhost` with this chain.
fn verify(
    (trusted, name): (&[&CertificateDer<'static>], NameCheck),
    chain: &[&CertificateDer<'static>],
) -> Result<(), CertificateError> {
    let verifier = ServerVerifier::of(trusted.iter().map(|one| (*one).clone()).collect(), name).unwrap();
    let chain: Vec<CertificateDer<'static>> = chain.iter().map(|one| (*one).clone()).collect();
    let (end_entity, intermediates) = chain.split_first().unwrap();
    let server_name = ServerName::try_from("localhost").unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    match verifier.verify_server_cert(end_entity, intermediates, &server_name, &[], now) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

const REQUIRED: NameCheck = NameCheck::Required;

#[test]
fn a_certificate_of_a_server_in_the_file_is_no_authority() {
    let (root, by_root) = self_signed("root", authority());
    for no_authority in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        let (leaf, by_leaf) = signed("localhost", no_authority, &by_root);
        let (own, by_own) = self_signed("localhost", no_authority);
        let (forged, _) = signed("localhost", IsCa::NoCa, &by_leaf);
        let (forged_too, _) = signed("localhost", IsCa::NoCa, &by_own);
        assert_eq!(verify((&[&leaf], REQUIRED), &[&forged]), Err(CertificateError::UnknownIssuer));
        assert_eq!(verify((&[&own], REQUIRED), &[&forged_too]), Err(CertificateError::UnknownIssuer));
        verify((&[&root, &leaf, &own], REQUIRED), &[&forged, &leaf]).unwrap_err();
        verify((&[&root, &leaf, &own], NameCheck::Any), &[&forged_too, &own]).unwrap_err();
    }
}

#[test]
fn the_certificate_of_the_server_itself_may_be_in_the_file() {
    let (_, by_root) = self_signed("root", authority());
    let (issued, _) = signed("localhost", IsCa::NoCa, &by_root);
    let candidates = [self_signed("localhost", IsCa::ExplicitNoCa).0, self_signed("localhost", authority()).0, issued];
    for certificate in &candidates {
        verify((&[certificate], REQUIRED), &[certificate]).unwrap();
    }
    let (other, _) = self_signed("other.example", IsCa::NoCa);
    let wrong = verify((&[&other], REQUIRED), &[&other]).unwrap_err();
    assert!(matches!(wrong, CertificateError::NotValidForNameContext { .. }), "{wrong:?}");
    verify((&[&other], NameCheck::Any), &[&other]).unwrap();
    let again = self_signed("localhost", IsCa::NoCa).0;
    assert_eq!(verify((&[&candidates[0]], REQUIRED), &[&again]), Err(CertificateError::UnknownIssuer));
    for (from, to, error) in [(1990, 2000, CertificateError::Expired), (2090, 2099, CertificateError::NotValidYet)] {
        let mut params = params("localhost", IsCa::NoCa);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        assert_eq!(verify((&[&certificate], REQUIRED), &[&certificate]), Err(error));
    }
}

#[test]
fn authorities_certify_servers_also_through_others() {
    let (root, by_root) = self_signed("root", authority());
    let (between, by_between) = signed("between", authority(), &by_root);
    let (server, _) = signed("localhost", IsCa::NoCa, &by_between);
    let (other, _) = signed("other.example", IsCa::NoCa, &by_between);
    verify((&[&root], REQUIRED), &[&server, &between]).unwrap();
    verify((&[&between], REQUIRED), &[&server]).unwrap();
    assert_eq!(verify((&[&root], REQUIRED), &[&server]), Err(CertificateError::UnknownIssuer));
    verify((&[&root], REQUIRED), &[&other, &between]).unwrap_err();
    verify((&[&root], NameCheck::Any), &[&other, &between]).unwrap();
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file.pem");
    let files = ClientTls { trusted: Some(&path), identity: None, name: REQUIRED };
    let text = || client_config(files).unwrap_err().to_string();
    assert!(text().starts_with("cannot use ") && text().contains("file.pem"), "{}", text());
    std::fs::write(&path, "nothing\n").unwrap();
    assert!(text().ends_with("file.pem contains no certificate"), "{}", text());
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(text().contains("file.pem: "), "{}", text());
}
