use std::fmt;

/// A string that a client chose, for the log: quoted and escaped, so that it can't forge a line, and with at most
/// [`SHOWN_BYTES_MAX`] bytes of it, so that a line has a bounded length.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        let mut end = text.len().min(SHOWN_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        write!(formatter, "{:?}", text.get(..end).unwrap_or_default())?;
        if end < text.len() { write!(formatter, "… ({} bytes)", text.len()) } else { Ok(()) }
    }
}

/// Longer than real Client Identifiers, user names and topics.
const SHOWN_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_escaped_and_its_length_is_bounded() {
        assert_eq!(Shown("a\n\"b").to_string(), r#""a\n\"b""#);
        let whole = "x".repeat(SHOWN_BYTES_MAX);
        assert_eq!(Shown(&whole).to_string(), format!("{whole:?}"));
        assert_eq!(Shown(&format!("{whole}y")).to_string(), format!("{whole:?}… (257 bytes)"));
        let wide = "é".repeat(32_767);
        assert_eq!(Shown(&wide).to_string(), format!("{:?}… (65534 bytes)", "é".repeat(128)));
        assert_eq!(
            Shown(&format!("x{wide}")).to_string(),
            format!("{:?}… (65535 bytes)", format!("x{}", "é".repeat(127)))
        );
    }
}
