//! How this broker calls itself among brokers that bridges connect. A message that has passed it must be recognized after a restart, so the name is
//! in a file of the data directory.

use std::fs;
use std::io;
use std::path::Path;

use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

use super::files::replace;

/// The name: that in the file, or a new one. `directory` is `None` for a broker that stores nothing, which has another name at each start.
///
/// # Errors
/// There is no randomness, or the file can be neither read nor written.
pub(super) fn of(directory: Option<&Path>) -> io::Result<ByteString> {
    let new = || getrandom::u64().map(|number| format!("{number:016x}")).map_err(io::Error::other);
    let Some(directory) = directory else { return Ok(new()?.into()) };
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) if is_name(text.trim_end()) => return Ok(text.trim_end().into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // A file that was cut short by a crash.
        Ok(_) | Err(_) => {}
    }
    let name = new()?;
    replace(&path, &name)?;
    Ok(name.into())
}

/// That of a cluster, which is the same at all of its nodes and in all of its cells. `secret` can't be computed from it.
pub(super) fn of_cluster(secret: [u8; 16]) -> ByteString {
    let hash = Sha256::new().chain_update(b"OnceMQ bridge-id").chain_update(secret).finalize();
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn is_name(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

const FILE: &str = "bridge-id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_with_a_directory_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let first = of(Some(directory.path())).unwrap();
        assert!(is_name(&first));
        assert_eq!(of(Some(directory.path())).unwrap(), first);
        fs::write(directory.path().join(FILE), "cut").unwrap();
        let second = of(Some(directory.path())).unwrap();
        assert_ne!(second, first);
        assert_ne!(of(None).unwrap(), of(None).unwrap());
        assert!(of(Some(&directory.path().join("none"))).is_err());
    }

    #[test]
    fn all_nodes_of_a_cluster_have_one_name() {
        let name = of_cluster([7; 16]);
        assert!(is_name(&name) && name == of_cluster([7; 16]) && name != of_cluster([8; 16]));
    }
}
