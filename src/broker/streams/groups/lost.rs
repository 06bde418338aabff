use std::ops::RangeInclusive;

/// What a group misses before a message.
#[derive(Debug, Clone, Default)]
pub(in crate::broker) struct Lost(Option<Box<Ranges>>);

#[derive(Debug, Clone)]
struct Ranges {
    trimmed: Option<RangeInclusive<u64>>,
    unreadable: Option<RangeInclusive<u64>>,
}

impl Lost {
    pub(in crate::broker) fn new(
        trimmed: Option<RangeInclusive<u64>>,
        unreadable: Option<RangeInclusive<u64>>,
    ) -> Self {
        let is_nothing = trimmed.is_none() && unreadable.is_none();
        Self((!is_nothing).then(|| Box::new(Ranges { trimmed, unreadable })))
    }

    /// What both say: each range from its first number to its last.
    pub(in crate::broker) fn and(&self, later: &Self) -> Self {
        let joined = |one: Option<&RangeInclusive<u64>>, other: Option<&RangeInclusive<u64>>| match (one, other) {
            (Some(a), Some(b)) => Some(*a.start().min(b.start())..=*a.end().max(b.end())),
            (one, other) => one.or(other).cloned(),
        };
        Self::new(joined(self.trimmed(), later.trimmed()), joined(self.unreadable(), later.unreadable()))
    }

    /// Messages that the stream has no more.
    pub(in crate::broker) fn trimmed(&self) -> Option<&RangeInclusive<u64>> {
        self.0.as_ref()?.trimmed.as_ref()
    }

    /// Messages that cannot be read.
    pub(in crate::broker) fn unreadable(&self) -> Option<&RangeInclusive<u64>> {
        self.0.as_ref()?.unreadable.as_ref()
    }
}
