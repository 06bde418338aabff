//! TLS of the connections that commands open: whom they trust, and who they are.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use oncemq::server_trust::{self, ClientTls, ClientTlsError, NameCheck};
use rustls_pki_types::ServerName;
use tokio_rustls::rustls::ClientConfig;

/// What a command line says about TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TlsFiles {
    /// PEM file with the trusted authorities; `None`: those of the operating system.
    pub(crate) authorities: Option<PathBuf>,
    /// PEM files with the certificate and the key of the client.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whether the certificate of the server may have another name. Its signature is verified all the same.
    pub(crate) any_name: bool,
}

/// Reads the files.
pub(crate) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, ClientTlsError> {
    let identity = files.identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    let name = if files.any_name { NameCheck::Any } else { NameCheck::Required };
    let trusted = files.authorities.as_deref();
    server_trust::client_config(ClientTls { trusted, identity, name }).map(Arc::new)
}

/// The name that the certificate of `host` must have.
pub(crate) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is not a name for TLS"));
    ServerName::try_from(host.to_owned()).map_err(invalid)
}
