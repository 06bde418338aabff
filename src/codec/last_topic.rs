use crate::topic::TopicName;

/// Caches the client's last Topic Name. Most clients publish to the same topic repeatedly, so it is validated only
/// once.
#[derive(Debug, Clone, Default)]
pub(super) struct LastTopic(Option<Box<CachedTopic>>);

/// Boxed, because most connections never publish.
#[derive(Debug, Clone)]
struct CachedTopic {
    name: TopicName,
    /// The number of other names since.
    others: u8,
}

impl LastTopic {
    /// The cached name, if it has these bytes.
    pub(super) fn get(&mut self, bytes: &[u8]) -> Option<TopicName> {
        let last = self.0.as_mut().filter(|last| last.name.as_str().as_bytes() == bytes)?;
        last.others = 0;
        Some(last.name.clone())
    }

    /// Caches a new name, unless the client changes names often, because each is a copy.
    pub(super) fn put(&mut self, name: &TopicName) {
        if name.as_str().len() > CACHED_BYTES_MAX {
            return;
        }
        match &mut self.0 {
            Some(last) if last.others % CACHE_INTERVAL != 0 => last.others = last.others.wrapping_add(1),
            Some(last) => **last = CachedTopic { name: name.detached(), others: last.others.wrapping_add(1) },
            None => self.0 = Some(Box::new(CachedTopic { name: name.detached(), others: 0 })),
        }
    }
}

/// Of the names that differ from the cached one, one in this many replaces it.
const CACHE_INTERVAL: u8 = 16;
/// Maximum length in bytes; longer names are rare, and may be refused.
const CACHED_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_cached_and_frequent_changes_are_not() {
        let mut last = LastTopic::default();
        let name = |number: u32| TopicName::try_from(number.to_string().as_str()).unwrap();
        let mut caches = |number: u32| {
            last.put(&name(number));
            last.get(number.to_string().as_bytes()) == Some(name(number))
        };
        assert!(caches(1));
        assert!(caches(2), "a single other name is cached");
        assert!(caches(3));
        let mut last = LastTopic::default();
        let cached = (0..33).filter(|number| {
            last.put(&name(*number));
            last.0.as_ref().unwrap().name == name(*number)
        });
        assert_eq!(cached.collect::<Vec<_>>(), [0, 1, 17]);
        assert_eq!(last.get(b"0"), None);
        let long = "x".repeat(CACHED_BYTES_MAX + 1);
        last.put(&TopicName::try_from(long.as_str()).unwrap());
        assert_eq!(last.get(long.as_bytes()), None);
    }
}
