use crate::timestamp::Timestamp;

/// So many of something in each second.
#[derive(Debug)]
pub(in crate::broker) struct Budget {
    per_second: u32,
    second: u64,
    used: u32,
}

impl Budget {
    pub(in crate::broker) const fn new(per_second: u32) -> Self {
        Self { per_second, second: 0, used: 0 }
    }

    /// Takes one. Returns `false` if none is left in this second.
    pub(in crate::broker) const fn take(&mut self, now: Timestamp) -> bool {
        let second = now.0 / 1_000;
        if second != self.second {
            (self.second, self.used) = (second, 0);
        }
        let is_left = self.used < self.per_second;
        if is_left {
            self.used += 1;
        }
        is_left
    }
}
