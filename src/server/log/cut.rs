use std::borrow::Cow;

/// The greatest number of bytes of a Client Identifier, user name, topic or path in a line of the log.
pub(super) const NAME_BYTES_MAX: usize = 256;
/// The greatest number of bytes of a cause, which may contain such a name.
const TEXT_BYTES_MAX: usize = 1_024;

/// A name that a client chose, cut to [`NAME_BYTES_MAX`]: a longer one ends with an ellipsis and its length.
pub(in crate::server) fn cut(name: &str) -> Cow<'_, str> {
    cut_to(name, NAME_BYTES_MAX)
}

/// The same for a sentence, which is cut to [`TEXT_BYTES_MAX`].
pub(in crate::server) fn cut_text(text: &str) -> Cow<'_, str> {
    cut_to(text, TEXT_BYTES_MAX)
}

fn cut_to(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    Cow::Owned(format!("{}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_two_characters_and_has_its_length() {
        assert_eq!(cut("short"), "short");
        let longest = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(cut(&longest), longest);
        assert_eq!(cut(&format!("{longest}y")), format!("{longest}… (257 bytes)"));
        let wide = "é".repeat(40_000);
        assert_eq!(cut(&wide), format!("{}… (80000 bytes)", "é".repeat(NAME_BYTES_MAX / 2)));
        let odd = format!("a{wide}");
        assert_eq!(cut(&odd), format!("a{}… (80001 bytes)", "é".repeat(NAME_BYTES_MAX / 2 - 1)));
    }
}
