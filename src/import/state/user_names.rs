//! Which user names in mosquitto.db are those of their sessions.
//!
//! mosquitto before 2.0.16 does not reset the name between clients: a client without a name that is written after one with a name gets the
//! latter's, with its length in the wrong order of bytes, and so bytes of memory behind it; a client without a name after that gets the name
//! with the right length again. So a name with a zero byte is never one, and the same name after that may be one or not.

/// The names of the clients so far.
#[derive(Debug, Default)]
pub(super) struct UserNames {
    /// The last name that was the client's own.
    last: Box<[u8]>,
    /// Whether the name of the client before was not its own.
    is_stale: bool,
}

impl UserNames {
    /// The name of the next client, and whether the file has a name that is not the client's, or may not be.
    pub(super) fn of(&mut self, stored: &[u8]) -> (Option<Box<str>>, bool) {
        if stored.is_empty() {
            self.is_stale = false;
            return (None, false);
        }
        let is_foreign = stored.contains(&0) || (self.is_stale && *stored == *self.last);
        if is_foreign {
            self.is_stale = true;
            return (None, true);
        }
        self.is_stale = false;
        self.last = stored.into();
        match std::str::from_utf8(stored) {
            Ok(name) => (Some(name.into()), false),
            Err(_) => (None, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_may_be_of_another_client_is_not_used() {
        let mut names = UserNames::default();
        let found = [b"bob" as &[u8], b"bob\0\x7F\0", b"bob", b"bob\0", b"eve", b"eve", b"", b"eve", b"\xFF"]
            .map(|stored| names.of(stored));
        let own = |name: &str| (Some(name.into()), false);
        let (none, foreign) = ((None, false), (None, true));
        let expected = [
            own("bob"),
            foreign.clone(),
            foreign.clone(),
            foreign.clone(),
            own("eve"),
            own("eve"),
            none,
            own("eve"),
            foreign,
        ];
        assert_eq!(found, expected);
    }
}
