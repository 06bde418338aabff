use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{AcceptError, Certificates, TlsError, certificates_of};
use crate::config::Tls;

/// TLS of a listener for HTTP.
#[derive(Debug)]
pub(crate) struct Https {
    certificates: Certificates,
    files: Vec<PathBuf>,
    /// When the files were written that were read last.
    written: Mutex<Vec<Option<SystemTime>>>,
}

impl Https {
    /// Reads all files.
    pub(crate) fn load(files: Tls) -> Result<Self, TlsError> {
        let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
        let paths: Vec<PathBuf> = paths.into_iter().flatten().cloned().collect();
        let written = Mutex::new(written(&paths));
        Ok(Self { certificates: Certificates::load(files)?, files: paths, written })
    }

    /// Reads the files again if one was written since the last time. Returns whether that was so. After an error the previous ones stay in
    /// use until a file is written again.
    pub(crate) fn reload_if_written(&self) -> Result<bool, TlsError> {
        let now = written(&self.files);
        let mut before = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == now {
            return Ok(false);
        }
        *before = now;
        self.certificates.reload().map(|()| true)
    }

    /// Performs the TLS handshake. Returns the Common Name of the client's certificate, too, if it has presented a valid one.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Arc<str>>)> {
        match self.certificates.accept(stream).await {
            Ok((stream, _)) => {
                let name = self.certificates.identity_of(certificates_of(&stream))?;
                Ok((stream, name))
            }
            Err(AcceptError::Failed(error)) => Err(error),
            Err(AcceptError::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

fn written(files: &[PathBuf]) -> Vec<Option<SystemTime>> {
    files.iter().map(|file| file.metadata().and_then(|metadata| metadata.modified()).ok()).collect()
}
