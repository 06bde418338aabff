//! Reads and replaces the ACL file as a whole.

use std::io;
use std::path::Path;

use super::acl_file::AclFile;
use super::error::{AuthError, read};
use super::replace::{Readers, Replacement, change};

/// The text of the ACL file, without a byte order mark.
pub fn acl_text(path: &Path) -> Result<String, AuthError> {
    read(path)
}

/// Replaces the text of the ACL file, if its rules are valid; an error names the line. After a crash, the file has the old or the new text.
pub fn set_acl(path: &Path, text: &str) -> Result<(), AuthError> {
    AclFile::check(path, text)?;
    let changed = change::<io::Error>(path, (Replacement::Atomic, Readers::Everybody), |_| Ok(text.to_owned()));
    changed.map_err(|source| AuthError::Unwritable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_invalid_text_changes_nothing_and_a_valid_one_replaces_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "topic read a\n").unwrap();
        let error = set_acl(file.path(), "topic read b\ntopic sometimes c\n").unwrap_err();
        assert!(error.to_string().contains(":2: unknown access `sometimes`"), "{error}");
        assert_eq!(acl_text(file.path()).unwrap(), "topic read a\n");
        set_acl(file.path(), "# none\n").unwrap();
        assert_eq!(acl_text(file.path()).unwrap(), "# none\n");
        assert!(matches!(set_acl(Path::new("/does/not/exist"), ""), Err(AuthError::Unwritable { .. })));
    }
}
