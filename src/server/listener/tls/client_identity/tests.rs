use proptest::prelude::*;
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use CertificateIdentity::{CommonName, SanDns, SanEmail, SanUri, Subject};

/// Certificates that openssl made.
const TWO_NAMES: &str = "-----BEGIN CERTIFICATE-----\nMIIBlzCCAT2gAwIBAgIUUVGnPdfsd8KTY70Vdq3INeokdLYwCgYIKoZIzj0EAwIw\nIDEOMAwGA1UEAwwFYWRtaW4xDjAMBgNVBAMMBWd1ZXN0MCAXDTI2MTEyOTA5MTQx\nM1oYDzIxMjYxMTA1MDkxNDEzWjAgMQ4wDAYDVQQDDAVhZG1pbjEOMAwGA1UEAwwF\nZ3Vlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARxTpNCsXH4fl2/zZca9OD1\nFzVFvpEqSuOlAT6r1OVb5JnIPL9ndqTH0e14QaigfrbEIft0exXHMHbDoKM93cCe\no1MwUTAdBgNVHQ4EFgQUiF228MWhED3lrw/U0RpWRnYE6dQwHwYDVR0jBBgwFoAU\niF228MWhED3lrw/U0RpWRnYE6dQwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD\nAgNIADBFAiEAseVlSFV/ZiTXC/8ftGWX6R27xxw0vEEk3fQOHMXK9ywCIAUtwv+O\nKUDb1NQQa1qHf+pkud1w/HUom9imk3UIK3z7\n-----END CERTIFICATE-----";
const MANY_KINDS: &str = "-----BEGIN CERTIFICATE-----\nMIIEqzCCBFGgAwIBAgIUNdgaurhGTIjPvywf1uHi5Ct6+howCgYIKoZIzj0EAwIw\nggGoMQswCQYDVQQGEwJERTEQMA4GA1UECAwHSGFtYnVyZzETMBEGA1UECgwKUGxh\nbnQsIEx0ZDEMMAoGA1UECwwDYStiMSEwDgYDVQQDDAdncsO2w59lMA8GCgmSJomT\n8ixkAQEMATcxGjAYBgkqhkiG9w0BCQEWC2FAYi5leGFtcGxlMRMwEQYKCZImiZPy\nLGQBGRYDb3JnMQswCQYDVQQFEwIxMjEKMAgGA1UECQwBeDEKMAgGA1UEDAwBdDEK\nMAgGA1UEKgwBZzEKMAgGA1UEBAwBczEKMAgGA1UELhMBcTELMAkGA1UEYQwCb2kx\nCzAJBgNVBBEMAjIyMQowCAYDVQQNDAFkMQowCAYDVQRBDAFwMQswCQYDVQQPDAJi\nYzEKMAgGA1UEFAwBMTERMA8GCSqGSIb3DQEJAgwCdW4xCjAIBgNVBCsMAWkxCjAI\nBgNVBCkMAW4xCzAJBgNVBCwMAmdxMQowCAYDVQRIDAFyMQswCQYDVQQQDAJwYTEK\nMAgGA1UEBwwBbDEKMAgGA1UELQwBeDETMBEGCysGAQQBgjc8AgEDEwJERTAgFw0y\nNjExMjkwOTE0MzFaGA8yMTI2MTEwNTA5MTQzMVowggGoMQswCQYDVQQGEwJERTEQ\nMA4GA1UECAwHSGFtYnVyZzETMBEGA1UECgwKUGxhbnQsIEx0ZDEMMAoGA1UECwwD\nYStiMSEwDgYDVQQDDAdncsO2w59lMA8GCgmSJomT8ixkAQEMATcxGjAYBgkqhkiG\n9w0BCQEWC2FAYi5leGFtcGxlMRMwEQYKCZImiZPyLGQBGRYDb3JnMQswCQYDVQQF\nEwIxMjEKMAgGA1UECQwBeDEKMAgGA1UEDAwBdDEKMAgGA1UEKgwBZzEKMAgGA1UE\nBAwBczEKMAgGA1UELhMBcTELMAkGA1UEYQwCb2kxCzAJBgNVBBEMAjIyMQowCAYD\nVQQNDAFkMQowCAYDVQRBDAFwMQswCQYDVQQPDAJiYzEKMAgGA1UEFAwBMTERMA8G\nCSqGSIb3DQEJAgwCdW4xCjAIBgNVBCsMAWkxCjAIBgNVBCkMAW4xCzAJBgNVBCwM\nAmdxMQowCAYDVQRIDAFyMQswCQYDVQQQDAJwYTEKMAgGA1UEBwwBbDEKMAgGA1UE\nLQwBeDETMBEGCysGAQQBgjc8AgEDEwJERTBZMBMGByqGSM49AgEGCCqGSM49AwEH\nA0IABHFOk0Kxcfh+Xb/Nlxr04PUXNUW+kSpK46UBPqvU5Vvkmcg8v2d2pMfR7XhB\nqKB+tsQh+3R7FccwdsOgoz3dwJ6jUzBRMB0GA1UdDgQWBBSIXbbwxaEQPeWvD9TR\nGlZGdgTp1DAfBgNVHSMEGDAWgBSIXbbwxaEQPeWvD9TRGlZGdgTp1DAPBgNVHRMB\nAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDfW+ghWvtGiBLDN7Y6/TKypBzp\niIR/yCCsxPVOQEEmrAIgbmbeikz+xCFAgM/szOmp2HihdAhPxR/OpdjZqurJXqk=\n-----END CERTIFICATE-----";
/// What `openssl x509 -noout -subject -nameopt RFC2253` writes about `MANY_KINDS`.
const MANY_KINDS_TEXT: &str = r"jurisdictionC=DE,x500UniqueIdentifier=x,L=l,postalAddress=pa,role=r,generationQualifier=gq,name=n,initials=i,unstructuredName=un,telephoneNumber=1,businessCategory=bc,pseudonym=p,description=d,postalCode=22,organizationIdentifier=oi,dnQualifier=q,SN=s,GN=g,title=t,street=x,serialNumber=12,DC=org,emailAddress=a@b.example,UID=7+CN=gr\C3\B6\C3\9Fe,OU=a\+b,O=Plant\, Ltd,ST=Hamburg,C=DE";

fn openssl(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

/// A certificate with these attributes in its subject and these alternative names.
fn certificate(attributes: &[(DnType, DnValue)], names: &[SanType]) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in attributes {
        params.distinguished_name.push(kind.clone(), value.clone());
    }
    params.subject_alt_names = names.to_vec();
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn text(value: &str) -> DnValue {
    DnValue::Utf8String(value.to_owned())
}

fn ia5(value: &str) -> Ia5String {
    value.try_into().unwrap()
}

fn identity(certificate: &[u8], part: CertificateIdentity) -> Result<Option<String>, Unusable> {
    match of(certificate, part) {
        Ok(found) => Ok(found.map(|name| name.to_string())),
        Err(IdentityFault::Unusable(_, fault)) => Err(fault),
        Err(IdentityFault::Damaged) => panic!("damaged"),
    }
}

fn name(text: &str) -> Result<Option<String>, Unusable> {
    Ok(Some(text.to_owned()))
}

#[test]
fn each_part_of_a_certificate_can_be_the_user_name() {
    let names = [
        SanType::DnsName(ia5("pump-7.plant.example")),
        SanType::Rfc822Name(ia5("pump@plant.example")),
        SanType::URI(ia5("spiffe://plant.example/pump/7")),
    ];
    let attributes = [(DnType::OrganizationName, text("Plant, Ltd")), (DnType::CommonName, text("pump-7"))];
    let certificate = certificate(&attributes, &names);
    for (part, expected) in [
        (CommonName, "pump-7"),
        (SanDns, "pump-7.plant.example"),
        (SanEmail, "pump@plant.example"),
        (SanUri, "spiffe://plant.example/pump/7"),
        (Subject, "CN=pump-7,O=Plant\\, Ltd"),
    ] {
        assert_eq!(identity(&certificate, part), name(expected), "{part:?}");
    }
}

#[test]
fn a_certificate_without_the_part_has_no_user_name() {
    let empty = certificate(&[], &[]);
    for part in [CommonName, SanDns, SanEmail, SanUri, Subject] {
        assert_eq!(identity(&empty, part), Ok(None), "{part:?}");
    }
    let other = certificate(&[(DnType::CommonName, text("a"))], &[SanType::URI(ia5("urn:a"))]);
    assert_eq!([SanDns, SanEmail].map(|part| identity(&other, part)), [Ok(None), Ok(None)]);
}

#[test]
fn what_is_ambiguous_or_no_plain_text_is_refused() {
    let dns = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| SanType::DnsName(ia5(name))).collect();
        identity(&certificate(&[], &names), SanDns)
    };
    assert_eq!(dns(&["a.example", "b.example"]), Err(Unusable::Several));
    assert_eq!(dns(&["a.example", "a.example"]), Err(Unusable::Several));
    assert_eq!(dns(&[""]), Err(Unusable::Empty));
    assert_eq!(dns(&["admin\0.example"]), Err(Unusable::Control));
    assert_eq!(dns(&[&"a".repeat(1_025)]), Err(Unusable::TooLong));
    assert_eq!(dns(&[&"a".repeat(1_024)]).map(|name| name.unwrap().len()), Ok(1_024));
    let common = |value| identity(&certificate(&[(DnType::CommonName, value)], &[]), CommonName);
    assert_eq!(common(text("")), Err(Unusable::Empty));
    assert_eq!(common(text("a\nb")), Err(Unusable::Control));
    assert_eq!(common(text("größe +/#")), name("größe +/#"));
    assert_eq!(common(DnValue::BmpString(BmpString::try_from("größe").unwrap())), name("größe"));
    assert_eq!(of(b"no certificate", CommonName), Err(IdentityFault::Damaged));
}

#[test]
fn two_common_names_are_refused() {
    // A subject that rcgen does not make: openssl req -subj '/CN=admin/CN=guest'.
    assert_eq!(identity(&openssl(TWO_NAMES), CommonName), Err(Unusable::Several));
    assert_eq!(identity(&openssl(TWO_NAMES), Subject), name("CN=guest,CN=admin"));
}

#[test]
fn a_subject_is_written_as_openssl_does() {
    let custom = DnType::CustomDnType(vec![1, 2, 3, 4]);
    let attributes = [
        (DnType::CountryName, DnValue::PrintableString(PrintableString::try_from("DE").unwrap())),
        (DnType::OrganizationName, text(" a,b+c\"d\\e<f>g;h=i ")),
        (DnType::OrganizationalUnitName, text("#größe\n\u{7F}")),
        (DnType::LocalityName, DnValue::TeletexString(TeletexString::try_from("x y").unwrap())),
        (custom, text("dump")),
        (DnType::CommonName, text("pump 7")),
    ];
    let expected = "CN=pump 7,1.2.3.4=#0C0464756D70,L=x y,OU=\\#gr\\C3\\B6\\C3\\9Fe\\0A\\7F,O=\\ a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i\\ ,C=DE";
    assert_eq!(identity(&certificate(&attributes, &[]), Subject), name(expected));
    assert_eq!(identity(&openssl(MANY_KINDS), Subject), name(MANY_KINDS_TEXT));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn subjects_with_other_texts_are_other_names(one in "[a ,+#=\\\\é\n]{1,4}", two in "[a ,+#=\\\\é\n]{1,4}") {
        let subject = |value: &str| identity(&certificate(&[(DnType::CommonName, text(value))], &[]), Subject).unwrap();
        prop_assert_eq!(subject(&one) == subject(&two), one == two);
        prop_assert!(!subject(&one).unwrap().contains(char::is_control));
    }
}
