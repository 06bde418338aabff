use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::SocketMode;

/// The file of a Unix socket, removed when the listener ends, if it is the broker's own.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    removal: Arc<Removal>,
}

/// Whether the file of a Unix socket is removed when the listener ends.
#[derive(Debug)]
pub(crate) struct Removal(AtomicBool);

impl Removal {
    /// Whether the file is removed.
    pub(crate) fn is_due(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Leaves the file, because another process listens at it.
    pub(crate) fn cancel(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl SocketFile {
    pub(in crate::server) fn of(path: PathBuf, is_removed: bool) -> Self {
        Self { path, removal: Arc::new(Removal(AtomicBool::new(is_removed))) }
    }

    pub(crate) fn removal(&self) -> Arc<Removal> {
        Arc::clone(&self.removal)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.removal.is_due() {
            // A file that cannot be removed is detected as stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, with this mode of the file whatever the umask. Removes a stale socket file that a crash left there.
pub(crate) fn bind(path: &Path, mode: SocketMode) -> io::Result<(UnixListener, SocketFile)> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Linux, the file gets at most the mode that the socket has before it is bound. Other systems may refuse it; there, nobody can
    // connect before `listen`.
    let _ = rustix::fs::fchmod(&socket, Mode::from_raw_mode(OWNER_ONLY));
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path.to_owned(), true);
    fs::set_permissions(path, Permissions::from_mode(mode.bits()))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), file))
}

/// As for TCP; the operating system lowers it to its own maximum.
const BACKLOG: i32 = 65_535;
const OWNER_ONLY: rustix::fs::RawMode = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_stale_socket_file_is_removed_and_one_in_use_or_another_file_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mqtt.sock");
        let bind = || bind(&path, SocketMode::default());
        let (listener, file) = bind().unwrap();
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);

        drop(listener);
        std::mem::forget(file);
        let (_listener, file) = bind().unwrap();
        drop(file);
        assert!(!path.exists());

        fs::write(&path, "not a socket").unwrap();
        assert_eq!(bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a socket");
    }

    #[test]
    fn the_file_has_the_configured_mode() {
        let directory = tempfile::tempdir().unwrap();
        for bits in [0o600, 0o660, 0o666, 0o620] {
            let path = directory.path().join(format!("{bits:o}"));
            let _bound = bind(&path, SocketMode::new(bits).unwrap()).unwrap();
            assert_eq!(mode(&path), bits);
        }
    }

    /// What keeps the file from being wider for a moment, without a change of its mode after it exists.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_file_is_never_wider_than_the_mode_of_its_socket() {
        let path = tempfile::tempdir().unwrap().keep().join("socket");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        rustix::fs::fchmod(&socket, Mode::from_raw_mode(OWNER_ONLY)).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(mode(&path) & !0o600, 0);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
