use std::collections::{HashMap, VecDeque};

use foldhash::quality::RandomState;

use crate::codec::ClientId;
use crate::routing::SessionKey;

/// The Client Identifiers of Sessions that have left the shard. The oldest are forgotten at [`BYTES_MAX`] bytes.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_key: HashMap<SessionKey, Name, RandomState>,
    /// In the order in which they left first.
    order: VecDeque<SessionKey>,
    bytes: usize,
}

/// A Session that has left the shard.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) client_id: ClientId,
    /// Whether it has ended. If not, it is on another shard.
    pub(super) is_ended: bool,
}

impl Names {
    pub(super) fn add(&mut self, key: SessionKey, client_id: &ClientId, is_ended: bool) {
        let name = Name { client_id: client_id.clone(), is_ended };
        if self.by_key.insert(key, name).is_some() {
            return; // it came back meanwhile
        }
        self.order.push_back(key);
        self.bytes += bytes(client_id);
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.by_key.remove(&oldest).map_or(0, |name| bytes(&name.client_id));
        }
        assert_eq!(self.order.len(), self.by_key.len(), "each name has its place in the order");
    }

    pub(super) fn get(&self, key: SessionKey) -> Option<&Name> {
        self.by_key.get(&key)
    }
}

fn bytes(client_id: &ClientId) -> usize {
    NAME_BYTES + client_id.as_str().len()
}

/// What a name uses beside its text: its places, and what an allocation of its own adds.
const NAME_BYTES: usize = size_of::<(SessionKey, Name)>() + size_of::<SessionKey>() + 48;
/// About 2,000 Sessions.
const BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_names_are_forgotten() {
        let mut names = Names::default();
        names.add(SessionKey(1), &ClientId::from("moved"), false);
        names.add(SessionKey(1), &ClientId::from("moved"), true);
        assert!(names.get(SessionKey(1)).unwrap().is_ended && names.get(SessionKey(2)).is_none());
        for key in 2..10_000 {
            names.add(SessionKey(key), &ClientId::from(format!("client-{key}").as_str()), true);
            assert!(names.bytes <= BYTES_MAX);
        }
        assert!(names.get(SessionKey(1)).is_none() && names.get(SessionKey(9_999)).is_some());
        assert!((1_000..5_000).contains(&names.order.len()), "{}", names.order.len());
        names.add(SessionKey(10_000), &ClientId::from("x".repeat(BYTES_MAX).as_str()), true);
        assert_eq!((names.order.len(), names.bytes), (0, 0), "a name that is too large is not kept");
    }
}
