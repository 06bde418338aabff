//! Names and topics that a line of a file can have.

/// Whether a line of a password file and of an ACL file can have the name.
pub(super) fn is_fit(name: &str) -> bool {
    !name.contains(':') && !name.starts_with('#') && is_line(name)
}

/// Whether a line of a file can end with the text.
pub(super) fn is_line(text: &str) -> bool {
    text.trim() == text && !text.is_empty() && !text.contains(char::is_control)
}
