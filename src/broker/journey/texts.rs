use crate::codec::prefix_within;

/// The last texts, in a buffer of bounded size in which the newest takes the place of the oldest.
#[derive(Debug)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    max: usize,
    /// The index of the next byte.
    at: usize,
    /// The place of the next byte, which counts all before: a multiple of `max`, and `at`.
    end: u64,
}

/// Where a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Text {
    place: u64,
    length: u16,
}

impl Texts {
    pub(super) const fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, at: 0, end: 0 }
    }

    /// Adds a text, of which at most [`TEXT_MAX`] bytes are kept.
    #[inline]
    pub(super) fn push(&mut self, text: &str) -> Text {
        let text = if text.len() > TEXT_MAX { prefix_within(text, TEXT_MAX) } else { text };
        if self.at + text.len() > self.max {
            self.end += (self.max - self.at) as u64;
            self.at = 0;
            if text.len() > self.max {
                return Text::default();
            }
        }
        let end = self.at + text.len();
        match self.bytes.get_mut(self.at..end) {
            Some(place) => place.copy_from_slice(text.as_bytes()),
            None => self.grow(text),
        }
        let place = self.end;
        self.at = end;
        self.end += text.len() as u64;
        Text { place, length: u16::try_from(text.len()).unwrap_or_default() }
    }

    #[inline(never)]
    fn grow(&mut self, text: &str) {
        self.bytes.truncate(self.at);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// The text, unless a later one took its place.
    pub(super) fn get(&self, Text { place, length }: Text) -> Option<&str> {
        let is_kept = length > 0 && place + self.max as u64 >= self.end;
        let begin = usize::try_from(place.checked_rem(self.max as u64)?).ok().filter(|_| is_kept)?;
        std::str::from_utf8(self.bytes.get(begin..begin + usize::from(length))?).ok()
    }

    /// Forgets all texts, and frees their memory.
    pub(super) fn reset(&mut self, max: usize) {
        // The places of earlier texts are never used again.
        let end = if max == 0 { self.end } else { (self.end / max as u64 + 2) * max as u64 };
        *self = Self { bytes: Vec::new(), max, at: 0, end };
    }
}

/// The greatest length of a text, in bytes.
pub(super) const TEXT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_itself_or_forgotten(
            texts in prop::collection::vec(("[a-zü]{1,30}", 0_u8..40), 1..60),
        ) {
            let mut kept = Texts::new(100);
            let mut all = Vec::new();
            for (text, action) in texts {
                if action == 0 {
                    kept.reset(100);
                    prop_assert!(all.iter().all(|(place, _)| kept.get(*place).is_none()));
                }
                all.push((kept.push(&text), text));
                prop_assert!(kept.bytes.len() <= 100);
                let mut bytes = 0;
                for (age, (place, text)) in all.iter().rev().enumerate() {
                    bytes += text.len();
                    let found = kept.get(*place);
                    prop_assert!(found.is_none_or(|found| found == text), "{found:?} {text}");
                    prop_assert!(age > 0 || found.is_some());
                    prop_assert!(bytes <= 100 || found.is_none() || age == 0);
                }
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_and_without_room_there_is_none() {
        let mut texts = Texts::new(1_000);
        let place = texts.push(&"ü".repeat(300));
        assert_eq!(texts.get(place), Some("ü".repeat(128).as_str()));
        texts.reset(0);
        let place = texts.push("a");
        assert_eq!(texts.get(place), None);
    }
}
