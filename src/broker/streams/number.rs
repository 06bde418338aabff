/// The number of a stream. It is never used for another stream again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamNumber(pub u32);

impl StreamNumber {
    /// That of a stream which was removed, and whose number is not known. No stream has it.
    pub(in crate::broker) const REMOVED: Self = Self(u32::MAX);

    /// The group of its keys in the store. Sessions have lower groups.
    pub const fn group(self) -> u64 {
        GROUPS_BEGIN + self.0 as u64
    }

    /// The stream whose keys have this group; `None`: the group is not of a stream.
    pub fn of_group(group: u64) -> Option<Self> {
        group.checked_sub(GROUPS_BEGIN).and_then(|number| u32::try_from(number).ok()).map(Self)
    }
}

const GROUPS_BEGIN: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_stream_is_not_of_a_session() {
        for number in [0, 1, u32::MAX] {
            let group = StreamNumber(number).group();
            assert!(group > u64::MAX >> 1);
            assert_eq!(StreamNumber::of_group(group), Some(StreamNumber(number)));
        }
        for group in [0, 1, u64::MAX >> 1, u64::MAX] {
            assert_eq!(StreamNumber::of_group(group), None);
        }
    }
}
