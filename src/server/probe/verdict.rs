use std::num::NonZeroU32;

/// Whether the probe is well, with hysteresis: it changes after several rounds in a row that say otherwise.
///
/// The first good round is enough for the first verdict; as many failed ones are needed for it as later.
#[derive(Debug)]
pub(super) struct Verdict {
    is_well: Option<bool>,
    /// Rounds in a row that contradict it.
    contrary: u32,
    unready_after: NonZeroU32,
    ready_after: NonZeroU32,
}

impl Verdict {
    pub(super) const fn new(unready_after: NonZeroU32, ready_after: NonZeroU32) -> Self {
        Self { is_well: None, contrary: 0, unready_after, ready_after }
    }

    /// `None` until enough rounds have ended.
    pub(super) const fn is_well(&self) -> Option<bool> {
        self.is_well
    }

    /// Counts a round. Returns whether the verdict has changed.
    pub(super) fn count(&mut self, is_good: bool) -> bool {
        let needed = match (self.is_well, is_good) {
            (Some(true), true) | (Some(false), false) => {
                self.contrary = 0;
                return false;
            }
            (None, true) => 1,
            (Some(false), true) => self.ready_after.get(),
            (None | Some(true), false) => self.unready_after.get(),
        };
        self.contrary = self.contrary.saturating_add(1);
        let changes = self.contrary >= needed;
        if changes {
            self.contrary = 0;
            self.is_well = Some(is_good);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_changes_after_enough_rounds_in_a_row() {
        let three_and_two = || Verdict::new(NonZeroU32::new(3).unwrap(), NonZeroU32::new(2).unwrap());
        let mut verdict = three_and_two();
        let mut after = |rounds: &str| {
            rounds.chars().for_each(|round| _ = verdict.count(round == '+'));
            verdict.is_well()
        };
        assert_eq!(after(""), None);
        assert_eq!(after("+"), Some(true));
        assert_eq!(after("--+--+--"), Some(true));
        assert_eq!(after("-"), Some(false));
        assert_eq!(after("+-+-"), Some(false));
        assert_eq!(after("++"), Some(true));

        let mut verdict = three_and_two();
        assert_eq!([false, false, false, false].map(|round| verdict.count(round)), [false, false, true, false]);
        assert_eq!(verdict.is_well(), Some(false));
    }
}
