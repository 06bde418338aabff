//! Creates a certificate authority, a server certificate and a client certificate for one test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

/// Writes `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key` (of [`CLIENT_NAME`]), `expired.pem` and `expired.key` (of the
/// same), and `stranger.pem` and `stranger.key`, signed by an unknown authority, `stranger-ca.pem`. `client.crl` revokes nothing, and `revoked.crl` the client's certificate.
pub(crate) fn write(path: &Path) {
    let authority = authority("the authority of the tests");
    fs::write(path.join("ca.pem"), authority.pem()).unwrap();
    write_list(path, "client", None, &authority);
    write_list(path, "revoked", Some(serial_of("client")), &authority);
    write_signed(path, "server", "localhost", &authority);
    write_signed(path, "client", CLIENT_NAME, &authority);
    let mut expired = params(CLIENT_NAME);
    (expired.not_before, expired.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    write_params(path, "expired", expired, &authority);
    let another = self::authority("another authority");
    fs::write(path.join("stranger-ca.pem"), another.pem()).unwrap();
    write_signed(path, "stranger", CLIENT_NAME, &another);
}

/// The settings of a server with `server.pem` and `server.key`.
pub(crate) fn server_config(path: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(path.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(path.join("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

/// Writes a new `server.pem` and `server.key`, and their new authority as `ca2.pem`.
pub(crate) fn replace(path: &Path) {
    let authority = authority("the next authority of the tests");
    fs::write(path.join("ca2.pem"), authority.pem()).unwrap();
    write_signed(path, "server", "localhost", &authority);
}

/// Writes a new `server.pem` and `server.key` that expire an hour before this many days have passed.
#[expect(clippy::disallowed_methods, reason = "the broker compares it with the real time")]
pub(crate) fn replace_for_days(path: &Path, days: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(days * 86_400 - 3_600);
    let mut params = params("localhost");
    params.not_after = end;
    write_params(path, "server", params, &authority("the authority of soon"));
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn write_signed(path: &Path, file: &str, name: &str, authority: &CertifiedIssuer<'static, KeyPair>) {
    write_params(path, file, params(name), authority);
}

fn params(name: &str) -> CertificateParams {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn write_params(path: &Path, file: &str, mut params: CertificateParams, authority: &CertifiedIssuer<'static, KeyPair>) {
    params.serial_number = Some(serial_of(file));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(path.join(format!("{file}.pem")), certificate.pem()).unwrap();
    let key_file = path.join(format!("{file}.key"));
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(key_file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn serial_of(file: &str) -> SerialNumber {
    SerialNumber::from(0x1000 + file.bytes().map(u64::from).sum::<u64>())
}

fn write_list(path: &Path, file: &str, revoked: Option<SerialNumber>, authority: &CertifiedIssuer<'static, KeyPair>) {
    let revoked = revoked.map(|serial_number| RevokedCertParams {
        serial_number,
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 1),
        next_update: date_time_ymd(2096, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.into_iter().collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(path.join(format!("{file}.crl")), params.signed_by(authority).unwrap().pem().unwrap()).unwrap();
}

/// The Common Name of the client's certificate.
pub(crate) const CLIENT_NAME: &str = "device-7";
