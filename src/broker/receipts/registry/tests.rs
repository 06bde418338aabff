use super::*;
use crate::broker::owner::Owner;
use crate::broker::persistence::receipt::Originator;
use crate::topic::TopicName;

const KEY: SessionKey = SessionKey(3);
const SHARD: ShardId = ShardId(0);
const LIMITS: ReceiptLimits = ReceiptLimits { open_max: 3, per_client_max: 2, age_max: Duration::from_secs(10) };

fn receipt(client: &str, at: u64, places: &[(SessionKey, u64)]) -> Receipt {
    let originator = Originator { client_id: client.into(), owner: Owner::Anonymous };
    let to = TopicName::new("receipts".into()).unwrap();
    Receipt::new((Arc::new(originator), to), (None, "t".into(), None), Timestamp(at), (places.to_vec(), 0))
}

fn open(receipts: &Receipts, client: &str, at: u64, places: &[(SessionKey, u64)]) -> u64 {
    let number = receipts.next_number(Timestamp(at));
    receipts.open(number, receipt(client, at, places), Some((SHARD, Ticket(1))));
    number
}

fn due(receipts: &Receipts, now: u64, stable: u64) -> Vec<u64> {
    receipts.take_due(Timestamp(now), |_| Ticket(stable), 10).into_iter().map(|(number, _)| number).collect()
}

#[test]
fn a_receipt_is_due_when_all_its_copies_have_left_and_their_records_are_stable() {
    let receipts = Receipts::default();
    let number = open(&receipts, "a", 5, &[(KEY, 1), (KEY, 2)]);
    assert!(receipts.may_track(KEY, 1) && receipts.may_track(KEY, 2));
    assert!(receipts.leave((KEY, 9), CopyOutcome::Acknowledged, Timestamp(6)).is_none());
    let first = receipts.leave((KEY, 1), CopyOutcome::Acknowledged, Timestamp(6)).unwrap();
    receipts.settle(first, (SHARD, Ticket(2)), Timestamp(6));
    assert!(!receipts.has_due() && !receipts.may_track(KEY, 1));
    let second = receipts.leave((KEY, 2), CopyOutcome::Refused(0x83), Timestamp(8)).unwrap();
    assert_eq!((first.copy, second.copy, second.receipt), (0, 1, number));
    receipts.settle(second, (ShardId(1), Ticket(3)), Timestamp(8));
    assert!(receipts.has_due());
    assert_eq!(due(&receipts, 8, 2), [] as [u64; 0], "the record of the second copy is not stable");
    let taken = receipts.take_due(Timestamp(8), |_| Ticket(3), 10);
    let (_, taken) = &taken[0];
    assert_eq!(taken.outcomes[..], [(CopyOutcome::Acknowledged, 1), (CopyOutcome::Refused(0x83), 1)]);
    assert_eq!((taken.receivers, taken.unknown(), taken.times), (2, 0, Some((Timestamp(6), Timestamp(8)))));
    assert_eq!(due(&receipts, 8, 3), [] as [u64; 0], "it is taken once");
    receipts.put_back(number, Timestamp(9));
    assert_eq!((due(&receipts, 8, 3).len(), due(&receipts, 9, 3)), (0, vec![number]));
    receipts.close(number);
    assert_eq!((receipts.len(), receipts.has_due()), (0, false));
}

#[test]
fn a_copy_that_moves_is_found_at_its_new_place_only() {
    let receipts = Receipts::default();
    open(&receipts, "a", 5, &[(KEY, 1)]);
    let to = (SessionKey(8), 4);
    let change = receipts.moved((KEY, 1), to).unwrap();
    assert_eq!((change.copy, change.state), (0, CopyState::Queued(to.0, to.1)));
    receipts.settle(change, (SHARD, Ticket(2)), Timestamp(6));
    assert!(!receipts.has_due() && !receipts.may_track(KEY, 1) && receipts.may_track(to.0, to.1));
    receipts.end_session(KEY, None, (SHARD, Ticket(3)), Timestamp(6));
    assert!(!receipts.has_due(), "it is not in the queue of that Session any more");
    receipts.end_session(to.0, None, (SHARD, Ticket(4)), Timestamp(7));
    assert_eq!(due(&receipts, 7, 4).len(), 1);
}

#[test]
fn the_end_of_a_session_concerns_its_own_copies_or_those_that_are_named() {
    let receipts = Receipts::default();
    let first = open(&receipts, "a", 5, &[(KEY, 1)]);
    let second = open(&receipts, "a", 5, &[(KEY, 2)]);
    open(&receipts, "a", 5, &[(SessionKey(4), 1)]);
    receipts.end_session(KEY, Some(&[1, 7]), (SHARD, Ticket(2)), Timestamp(6));
    assert_eq!(due(&receipts, 6, 2), [first]);
    receipts.end_session(KEY, None, (SHARD, Ticket(3)), Timestamp(6));
    assert_eq!(due(&receipts, 6, 3), [second]);
    assert_eq!(second, first + 1, "numbers are not used twice");
}

#[test]
fn an_old_receipt_is_due_and_outcomes_count_until_it_is_closed() {
    let receipts = Receipts::default();
    let number = open(&receipts, "a", 5, &[(KEY, 1)]);
    receipts.expire(Timestamp(10_004), LIMITS.age_max, 10);
    assert!(!receipts.has_due());
    receipts.expire(Timestamp(10_005), LIMITS.age_max, 10);
    receipts.expire(Timestamp(10_006), LIMITS.age_max, 10);
    let unknown = || {
        let taken = receipts.take_due(Timestamp(10_006), |_| Ticket(2), 10);
        taken.iter().map(|(number, receipt)| (*number, receipt.unknown())).collect::<Vec<_>>()
    };
    assert_eq!(unknown(), [(number, 1)]);
    // It could not be published.
    receipts.put_back(number, Timestamp(10_006));
    let change = receipts.leave((KEY, 1), CopyOutcome::Acknowledged, Timestamp(10_006)).unwrap();
    receipts.settle(change, (SHARD, Ticket(2)), Timestamp(10_006));
    assert_eq!(unknown(), [(number, 0)]);
    receipts.close(number);
    assert!(!receipts.may_track(KEY, 1));
}

#[test]
fn the_bounds_are_for_all_and_for_each_originator() {
    let receipts = Receipts::default();
    assert_eq!(receipts.check("client/a", 1, &LIMITS), Ok(()));
    assert_eq!(receipts.check("client/a", 2, &LIMITS), Err(ReceiptsFull::OfClient), "with two others of a batch");
    let first = open(&receipts, "a", 5, &[(KEY, 1)]);
    open(&receipts, "a", 5, &[(KEY, 2)]);
    assert_eq!(receipts.check("client/a", 0, &LIMITS), Err(ReceiptsFull::OfClient));
    assert_eq!(receipts.check("client/b", 0, &LIMITS), Ok(()));
    open(&receipts, "b", 5, &[(KEY, 3)]);
    assert_eq!(receipts.check("client/c", 0, &LIMITS), Err(ReceiptsFull::All));
    receipts.close(first);
    assert!(!receipts.may_track(KEY, 1));
    assert_eq!(receipts.check("client/a", 0, &LIMITS), Ok(()));
}

#[test]
fn the_copies_of_one_originator_are_bounded_as_long_as_its_receipts_are_open() {
    let receipts = Receipts::default();
    let limits = ReceiptLimits { open_max: 10, per_client_max: 10, ..LIMITS };
    let places: Vec<_> = (1..COPIES_OF_CLIENT_MAX as u64).map(|sequence| (KEY, sequence)).collect();
    let first = open(&receipts, "a", 5, &places);
    assert_eq!(receipts.check("client/a", 0, &limits), Ok(()));
    open(&receipts, "a", 5, &[(SessionKey(4), 1)]);
    assert_eq!(receipts.check("client/a", 0, &limits), Err(ReceiptsFull::OfClient));
    assert_eq!(receipts.check("client/b", 0, &limits), Ok(()), "there is room for others");
    let change = receipts.leave((KEY, 1), CopyOutcome::Acknowledged, Timestamp(6)).unwrap();
    receipts.settle(change, (SHARD, Ticket(2)), Timestamp(6));
    assert_eq!(receipts.check("client/a", 0, &limits), Err(ReceiptsFull::OfClient), "it keeps its message");
    receipts.close(first);
    assert_eq!(receipts.check("client/a", 0, &limits), Ok(()));
}
