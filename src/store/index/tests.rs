use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Change {
    Put(Key),
    Delete(Key),
    End(u64),
}

fn change() -> impl Strategy<Value = Change> {
    let id = prop_oneof![8 => 0u64..40, 2 => 100u64..400, 1 => any::<u64>(), 1 => u64::MAX - 3..=u64::MAX];
    let key = (0u64..3, 0u8..5, id).prop_map(|(group, kind, id)| Key { group, kind, id });
    prop_oneof![6 => key.clone().prop_map(Change::Put), 4 => key.prop_map(Change::Delete), 1 => (0u64..3).prop_map(Change::End)]
}

fn entry(change: &Change) -> Decoded<'static> {
    let mut entry = Decoded { length: 30, ..Decoded::default() };
    match change {
        Change::Put(key) => entry.puts.push(*key),
        Change::Delete(key) => entry.deletes.push(*key),
        Change::End(group) => entry.ends = Some(*group),
    }
    entry
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_map(changes in prop::collection::vec(change(), 0..400)) {
        let mut index = Index::default();
        let mut model = BTreeMap::new();
        for (at, change) in changes.iter().enumerate() {
            let at = u32::try_from(at).unwrap();
            index.apply(&entry(change), at % 7, at);
            match change {
                Change::Put(key) => drop(model.insert(*key, (at % 7, at))),
                Change::Delete(key) => drop(model.remove(key)),
                Change::End(group) => model.retain(|key, _| key.group != *group),
            }
        }
        let keys = changes.iter().filter_map(|change| match change {
            Change::Put(key) | Change::Delete(key) => Some(*key),
            Change::End(_) => None,
        });
        for key in keys {
            let place = index.get(key).map(|place| (place.segment, place.offset));
            prop_assert_eq!(place, model.get(&key).copied());
        }
        prop_assert_eq!(index.keys(), model.len() as u64);
        prop_assert_eq!(index.live_bytes(), 30 * model.len() as u64);
        for (segment, usage) in index.segments() {
            let live = model.values().filter(|(of, _)| *of == segment).count() as u64;
            prop_assert_eq!((usage.live_keys, usage.live_bytes), (live, 30 * live));
        }
    }
}

#[test]
fn a_queue_with_one_old_message_does_not_keep_the_memory_of_the_others() {
    let mut index = Index::default();
    let key = |id| Key { group: 1, kind: 0, id };
    for id in 1..=100_000 {
        index.apply(&entry(&Change::Put(key(id))), 0, 0);
    }
    for id in 2..100_000 {
        index.apply(&entry(&Change::Delete(key(id))), 0, 0);
    }
    let Some(Ids::Many { ids, .. }) = index.groups.get(&1).unwrap().get(0) else { panic!("there are two keys") };
    assert!(ids.places_held() < 1000, "{} places", ids.places_held());
    assert!(index.get(key(1)).is_some() && index.get(key(100_000)).is_some());
}

/// The goal is 48 bytes; a deque that has just grown has space for twice as many elements.
const _: () = assert!(2 * size_of::<Place>() <= 48);
