use std::sync::atomic::{AtomicU32, Ordering};

/// Whether the publisher of a retained message may still publish to its topic: the last answer, and the generation of the access rules for which
/// it holds. It is not a part of the message's value: comparing two messages ignores it.
#[derive(Debug)]
pub struct PublishRight(AtomicU32);

impl PublishRight {
    /// That of a publisher that needs none: the broker itself, an operator, and one that is not known, because an earlier version stored the
    /// message.
    pub const fn always() -> Self {
        Self(AtomicU32::new(ALWAYS))
    }

    /// That of a publisher that is to be judged.
    pub const fn unjudged() -> Self {
        Self(AtomicU32::new(UNJUDGED))
    }

    /// The answer for this generation; `None`: it is not judged yet.
    pub fn at(&self, generation: u64) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            ALWAYS => Some(true),
            state if state == state_of(generation, true) => Some(true),
            state if state == state_of(generation, false) => Some(false),
            _ => None,
        }
    }

    /// Sets the answer for this generation.
    pub fn judge(&self, generation: u64, is_allowed: bool) {
        self.0.store(state_of(generation, is_allowed), Ordering::Relaxed);
    }
}

impl Clone for PublishRight {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}

impl PartialEq for PublishRight {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for PublishRight {}

/// The lowest two bits say what is known, the others for which generation.
const UNJUDGED: u32 = 0;
const DENIED: u32 = 1;
const ALLOWED: u32 = 2;
const ALWAYS: u32 = 3;
const GENERATION_BITS: u64 = 0x3fff_ffff;

const fn state_of(generation: u64, is_allowed: bool) -> u32 {
    (((generation & GENERATION_BITS) as u32) << 2) | if is_allowed { ALLOWED } else { DENIED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_generation() {
        let right = PublishRight::unjudged();
        for generation in [0, 1, 2, GENERATION_BITS, u64::MAX - 1] {
            assert_eq!(right.at(generation), None, "{generation}");
            right.judge(generation, false);
            assert_eq!((right.at(generation), right.at(generation + 1)), (Some(false), None));
            right.judge(generation, true);
            assert_eq!((right.at(generation), right.clone().at(generation)), (Some(true), Some(true)));
        }
        assert_eq!(PublishRight::always().at(7), Some(true));
    }
}
