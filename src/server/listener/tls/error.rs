use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls;

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause, and the command that helps.
        problem: String,
    },
    /// `client_certificate` is set without `client_ca`.
    #[error("client_certificate needs client_ca")]
    NoClientCa,
    /// There is no certificate at all.
    #[error("the listener has no certificate")]
    NoCertificate,
    /// TLS can't be configured.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}
