//! The marks of bridges in the store.

use crate::broker::persistence::body::{Body, put_str};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::record_key::RecordKey;

/// What a bridge still has to do, in words of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMark {
    /// Its name.
    pub bridge: String,
    /// What it has written.
    pub text: String,
}

impl StoredMark {
    /// Encodes the mark for the store. It replaces the one before it.
    pub fn to_bytes(&self) -> RecordBytes {
        let mut bytes = RecordBytes::default();
        bytes.puts.push(RecordKey::bridge_mark(&self.bridge));
        put_str(&mut bytes.body, &self.bridge);
        put_str(&mut bytes.body, &self.text);
        bytes
    }

    /// The record that removes the mark of a bridge.
    pub fn delete(bridge: &str) -> RecordBytes {
        RecordBytes { deletes: [RecordKey::bridge_mark(bridge)].into_iter().collect(), ..RecordBytes::default() }
    }

    /// The Client Identifier of the bridge's Session, which says in which cell the mark is.
    pub fn client_id(&self) -> String {
        format!("$bridge/{}", self.bridge)
    }

    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        Some(Self { bridge: body.str()?.to_owned(), text: body.str()?.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = StoredMark { bridge: "cloud".to_owned(), text: "{}".to_owned() };
        let RecordBytes { body, puts, .. } = mark.to_bytes();
        assert!(puts[0].is_known() && puts[0].is_plausible());
        assert_eq!(puts, StoredMark::delete("cloud").deletes);
        assert_ne!(puts, StoredMark::delete("clouds").deletes);
        assert_eq!(StoredMark::read(&body), Some(mark));
        assert!((0..body.len()).all(|end| StoredMark::read(&body[..end]).is_none()));
    }
}
