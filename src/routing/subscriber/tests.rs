use super::*;
use crate::routing::ShardId;

#[test]
fn a_session_keeps_its_flags_and_its_rules_wherever_it_moves() {
    let topic = TopicName::try_from("t").unwrap();
    let nothing = || Arc::new(Access::new(vec![]));
    let place = |slot| Location { slot, shard: ShardId(u16::MAX) };
    let new = |access| Subscriber::new(SessionKey(1), "a".into(), place(3), access);

    let subscriber = new(nothing());
    subscriber.set_connected(true);
    subscriber.set_location(place(u32::MAX));
    assert!(!subscriber.may_receive(&topic) && subscriber.is_connected() && !subscriber.is_durable());
    assert_eq!(subscriber.location(), place(u32::MAX));

    let subscriber = new(Arc::new(Access::everything()));
    assert!(subscriber.may_receive(&topic));
    subscriber.set_access(nothing());
    subscriber.set_location(place(4));
    assert!(!subscriber.may_receive(&topic));
    subscriber.set_access(Arc::new(Access::everything()));
    assert!(subscriber.may_receive(&topic));
}
