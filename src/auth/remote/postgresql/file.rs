use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::auth::error::AuthError;

/// The bytes of a file, without the line end after them.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuthError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(bytes)
}

/// The authorities of an operating system take a tenth of it.
const BYTES_MAX: u64 = 4 << 20;
