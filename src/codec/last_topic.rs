use crate::topic::TopicName;

/// The Topic Name that a client used last: most publish to the same one again and again, and it needs to be checked only once.
#[derive(Debug, Clone, Default)]
pub(super) struct LastTopic(Option<Box<Remembered>>);

/// Boxed: most connections never publish.
#[derive(Debug, Clone)]
struct Remembered {
    name: TopicName,
    /// How many others came since.
    others: u8,
}

impl LastTopic {
    /// The Topic Name with these bytes, if it is the last one.
    pub(super) fn get(&mut self, bytes: &[u8]) -> Option<TopicName> {
        let last = self.0.as_mut().filter(|last| last.name.as_str().as_bytes() == bytes)?;
        last.others = 0;
        Some(last.name.clone())
    }

    /// Another Topic Name came. It is remembered, unless the client changes it all the time: each is a copy.
    pub(super) fn put(&mut self, name: &TopicName) {
        if name.as_str().len() > REMEMBERED_BYTES_MAX {
            return;
        }
        match &mut self.0 {
            Some(last) if last.others % REMEMBERED_ONE_OF != 0 => last.others = last.others.wrapping_add(1),
            Some(last) => **last = Remembered { name: name.detached(), others: last.others.wrapping_add(1) },
            None => self.0 = Some(Box::new(Remembered { name: name.detached(), others: 0 })),
        }
    }
}

const REMEMBERED_ONE_OF: u8 = 16;
/// Longer ones are rare, and may be refused for their length.
const REMEMBERED_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_name_is_known_again_and_of_a_client_with_many_few_are_remembered() {
        let mut last = LastTopic::default();
        let name = |number: u32| TopicName::try_from(number.to_string().as_str()).unwrap();
        let mut remembers = |number: u32| {
            last.put(&name(number));
            last.get(number.to_string().as_bytes()) == Some(name(number))
        };
        assert!(remembers(1));
        assert!(remembers(2), "one other is the next");
        assert!(remembers(3));
        let mut last = LastTopic::default();
        let remembered = (0..33).filter(|number| {
            last.put(&name(*number));
            last.0.as_ref().unwrap().name == name(*number)
        });
        assert_eq!(remembered.collect::<Vec<_>>(), [0, 1, 17]);
        assert_eq!(last.get(b"0"), None);
        let long = "x".repeat(REMEMBERED_BYTES_MAX + 1);
        last.put(&TopicName::try_from(long.as_str()).unwrap());
        assert_eq!(last.get(long.as_bytes()), None);
    }
}
