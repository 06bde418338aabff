/// How many members a share has in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ShareCounts {
    /// Those that may receive messages of its Topic Filter.
    pub members: u32,
    /// Those of them that are connected, possibly with others.
    pub connected: u32,
}

impl ShareCounts {
    /// Whether other cells that were told `self` must be told `counts`: if one of the numbers begins or ceases to be 0, or has changed by more than a quarter.
    pub(super) fn differs(self, counts: Self) -> bool {
        let is_news = |told: u32, now: u32| (told == 0) != (now == 0) || told.abs_diff(now) > told / 4;
        is_news(self.members, counts.members) || is_news(self.connected, counts.connected)
    }
}
