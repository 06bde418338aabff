//! Entries of format version 1, which are read but no longer written: a body that all puts share, with one checksum for the whole entry.

use super::entry::{Decoded, number_at};
use super::keys::{decode_ends, decode_keys};

/// Decodes the entry at the start of `bytes`; `None` if there is none. Does not verify the checksum.
pub(super) fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    let length = length(bytes)?;
    let body = usize::try_from(number_at::<4>(bytes, 8).map(u32::from_le_bytes)?).ok()?;
    let bytes = bytes.get(..length)?;
    let (head, body) = bytes.split_at_checked(length.checked_sub(body)?)?;
    let mut head = head.get(PREFIX_BYTES..)?;
    let puts = decode_keys(&mut head, |_, _| Some(()))?;
    let deletes = decode_keys(&mut head, |_, _| Some(()))?;
    let ends = decode_ends(&mut head)?;
    head.is_empty().then_some(Decoded { length, body, puts, deletes, ends, ..Decoded::default() })
}

/// The body of a whole entry, whose checksum is verified; `None` if it is damaged.
pub(super) fn body(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.get(..length(bytes)?)?;
    if crc32c::crc32c(bytes.get(4..)?) != number_at::<4>(bytes, 0).map(u32::from_le_bytes)? {
        return None;
    }
    let length = usize::try_from(number_at::<4>(bytes, 8).map(u32::from_le_bytes)?).ok()?;
    bytes.get(bytes.len().checked_sub(length)?..)
}

/// The length in bytes of the entry at the start of `bytes`.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(number_at::<4>(bytes, 4).map(u32::from_le_bytes)?).ok()
}

/// Checksum, length of the entry, length of its body.
const PREFIX_BYTES: usize = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (decode(&bytes), body(&bytes));
            let mut framed = vec![0, 0, 0, 0, 80, 0, 0, 0, 3, 0, 0, 0];
            framed.extend_from_slice(&bytes);
            framed.resize(80, 0);
            let _ = (decode(&framed), body(&framed));
        }
    }

    #[test]
    fn a_run_of_too_many_keys_is_not_an_entry() {
        let keys = [1, 1, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0];
        let mut entry = vec![0; PREFIX_BYTES];
        entry.extend_from_slice(&keys);
        entry[4] = u8::try_from(entry.len()).unwrap();
        assert_eq!(decode(&entry), None);
    }
}
