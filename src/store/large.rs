//! Shares large bodies that are in memory: many readers of one body read it once.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::ids::Position;

/// The large bodies that are in use, by the position of their entry.
///
/// They are not kept in memory by it: a body is freed with the last of its readers' bytes.
#[derive(Default)]
pub(super) struct LargeBodies([Mutex<Alive>; STRIPES]);

#[derive(Default)]
struct Alive {
    bodies: HashMap<Position, Weak<Front>, RandomState>,
    /// At this number of bodies, those that are not in use any more are removed.
    sweep_at: usize,
}

/// The front and the body of an entry.
struct Front(Vec<u8>);

/// The owner of the bytes that readers have.
struct Owner(Arc<Front>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

impl LargeBodies {
    /// The bytes at a position: those in use, or those that `read` returns. Others that need the same bytes wait meanwhile.
    pub(super) fn get_or_read(
        &self,
        position: Position,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Bytes> {
        let stripe = usize::try_from(position.0 % STRIPES as u64).unwrap_or(0);
        let Some(stripe) = self.0.get(stripe) else { return read().map(Bytes::from) };
        let mut alive = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(front) = alive.bodies.get(&position).and_then(Weak::upgrade) {
            return Ok(Bytes::from_owner(Owner(front)));
        }
        let front = Arc::new(Front(read()?));
        if alive.bodies.len() >= alive.sweep_at {
            alive.bodies.retain(|_, front| front.strong_count() > 0);
            alive.sweep_at = (2 * alive.bodies.len()).max(SWEEP_MIN);
        }
        alive.bodies.insert(position, Arc::downgrade(&front));
        Ok(Bytes::from_owner(Owner(front)))
    }
}

/// A read waits for the reads of about one in so many other bodies.
const STRIPES: usize = 31;

const SWEEP_MIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_use_is_not_read_again_and_is_freed_with_its_last_bytes() {
        let bodies = LargeBodies::default();
        let first = bodies.get_or_read(Position(7), || Ok(vec![1; 100])).unwrap();
        let part = first.slice(90..);
        drop(first);
        let again = bodies.get_or_read(Position(7), || panic!("it is in use")).unwrap();
        assert_eq!(again.as_ptr_range().end, part.as_ptr_range().end);
        drop((part, again));
        assert_eq!(bodies.get_or_read(Position(7), || Ok(vec![2; 100])).unwrap(), [2; 100][..]);
    }

    #[test]
    fn the_table_does_not_grow_with_bodies_that_were_freed() {
        let bodies = LargeBodies::default();
        let kept: Vec<_> =
            (0..10).map(|at| bodies.get_or_read(Position(at * STRIPES as u64), || Ok(vec![1; 9])).unwrap()).collect();
        for position in 10..10_000 {
            bodies.get_or_read(Position(position * STRIPES as u64), || Ok(vec![1; 9])).unwrap();
        }
        assert!(bodies.0[0].lock().unwrap().bodies.len() < 40);
        bodies.get_or_read(Position(0), || panic!("it is in use")).unwrap();
        drop(kept);
    }

    #[test]
    fn a_failed_read_is_tried_again() {
        let bodies = LargeBodies::default();
        assert!(bodies.get_or_read(Position(7), || Err(io::ErrorKind::InvalidData.into())).is_err());
        assert_eq!(bodies.get_or_read(Position(7), || Ok(vec![2; 3])).unwrap(), [2; 3][..]);
    }
}
