use super::*;
use crate::codec::{ClientId, Qos, RetainHandling, Subscription, SubscriptionId, SubscriptionOptions};
use crate::routing::{Access, Location, ShardId, Subscriber, SubscriptionIndex};

struct Group {
    index: SubscriptionIndex,
    sessions: Vec<Arc<Subscriber>>,
    strategy: ShareStrategy,
}

impl Group {
    /// Sessions 0, 10, 20, … all connected.
    fn new(strategy: ShareStrategy, members: u64) -> Self {
        let mut group = Self { index: SubscriptionIndex::new(), sessions: Vec::new(), strategy };
        for number in 0..members {
            group.join(number * 10);
        }
        group
    }

    fn join(&mut self, number: u64) -> &Subscriber {
        let location = Location { shard: ShardId(0), slot: 0 };
        let client_id = ClientId(number.to_string().into());
        let session = Subscriber::new(SessionKey(number), client_id, location, Arc::new(Access::everything()));
        session.set_connected(true);
        let session = Arc::new(session);
        self.index.subscribe(&session, &subscription(Qos::AtLeastOnce), SubscriptionId::new(7), self.strategy);
        self.sessions.push(session);
        self.sessions.last().unwrap()
    }

    fn share(&self) -> Arc<Share> {
        self.index.share(&subscription(Qos::AtLeastOnce).filter, &topic("a")).unwrap()
    }

    /// The members that receive the next messages, each through a new route.
    fn next(&self, messages: usize) -> Vec<u64> {
        (0..messages).map(|_| chosen(&self.share(), None, "a")).collect()
    }

    fn set_connected(&self, number: u64, connected: bool) {
        self.sessions.iter().find(|session| session.key.0 == number).unwrap().set_connected(connected);
    }
}

fn subscription(qos: Qos) -> Subscription {
    let options =
        SubscriptionOptions { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send };
    Subscription { filter: Filter::try_from("$share/g/a").unwrap(), options }
}

fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn chosen(share: &Share, publisher: Option<u64>, text: &str) -> u64 {
    share.choose(publisher.map(SessionKey), &topic(text), None).unwrap().subscriber.key.0
}

#[test]
fn mqtt5_4_8_2_3_the_selected_member_gets_it_according_to_its_own_subscription() {
    let mut group = Group::new(ShareStrategy::RoundRobin, 2);
    group.index.subscribe(&group.sessions[1], &subscription(Qos::AtMostOnce), None, ShareStrategy::RoundRobin);
    let share = group.share();
    let deliveries: Vec<_> =
        (0..2).map(|_| share.choose(None, &topic("a"), None).unwrap().delivery(None).unwrap().clone()).collect();
    assert_eq!(deliveries[0].qos, Qos::AtLeastOnce);
    assert_eq!(deliveries[0].subscription_ids(), [7]);
    assert_eq!(deliveries[1].qos, Qos::AtMostOnce);
    assert!(deliveries[1].subscription_ids().is_empty());
}

#[test]
fn round_robin_goes_on_across_routes_and_changes() {
    let mut group = Group::new(ShareStrategy::RoundRobin, 3);
    assert_eq!(group.next(4), [0, 10, 20, 0]);
    group.join(5);
    assert_eq!(group.next(4), [5, 10, 20, 0]);
    group.index.remove(SessionKey(5));
    assert_eq!(group.next(2), [10, 20]);
    let before = group.share();
    assert_eq!([chosen(&before, None, "a"), group.next(1)[0], chosen(&before, None, "a")], [0, 10, 20]);
}

#[test]
fn round_robin_stays_fair_when_a_member_disconnects() {
    let group = Group::new(ShareStrategy::RoundRobin, 3);
    group.set_connected(10, false);
    assert_eq!(group.next(5), [0, 20, 0, 20, 0]);
    group.set_connected(10, true);
    assert_eq!(group.next(3), [10, 20, 0]);
}

#[test]
fn without_a_connected_member_the_sessions_take_turns_to_queue_it() {
    let strategies = [
        ShareStrategy::RoundRobin,
        ShareStrategy::LeastInFlight,
        ShareStrategy::Sticky,
        ShareStrategy::HashPublisher,
        ShareStrategy::HashTopic,
    ];
    for strategy in strategies {
        let group = Group::new(strategy, 3);
        group.sessions.iter().for_each(|session| session.set_connected(false));
        let taken = group.next(6);
        assert_eq!(taken.len(), 6, "{strategy:?}");
        group.set_connected(20, true);
        assert_eq!(group.next(3), [20; 3], "{strategy:?}: connected members are preferred");
    }
    let group = Group::new(ShareStrategy::RoundRobin, 3);
    group.sessions.iter().for_each(|session| session.set_connected(false));
    assert_eq!(group.next(4), [0, 10, 20, 0]);
}

#[test]
fn least_in_flight_selects_the_fewest_unacknowledged_and_alternates_among_equals() {
    let group = Group::new(ShareStrategy::LeastInFlight, 3);
    assert_eq!(group.next(4), [0, 10, 20, 0]);
    group.sessions[0].set_in_flight(5);
    group.sessions[1].set_in_flight(2);
    group.sessions[2].set_in_flight(3);
    assert_eq!(group.next(2), [10, 10]);
    group.set_connected(10, false);
    assert_eq!(group.next(2), [20, 20]);
}

#[test]
fn sticky_stays_with_a_member_while_it_is_connected() {
    let mut group = Group::new(ShareStrategy::Sticky, 3);
    assert_eq!(group.next(3), [0, 0, 0]);
    group.set_connected(0, false);
    assert_eq!(group.next(2), [10, 10]);
    group.set_connected(0, true);
    group.join(5);
    assert_eq!(group.next(2), [10, 10], "members that reconnect or join do not take over");
    group.index.remove(SessionKey(10));
    assert_eq!(group.next(2), [20, 20]);
}

#[test]
fn the_hashes_keep_a_publisher_or_a_topic_with_one_member() {
    let by_publisher = Group::new(ShareStrategy::HashPublisher, 4).share();
    let by_topic = Group::new(ShareStrategy::HashTopic, 4).share();
    let mut members = [std::collections::BTreeSet::new(), std::collections::BTreeSet::new()];
    for number in 0..100 {
        let member = chosen(&by_publisher, Some(number), "a");
        assert_eq!(chosen(&by_publisher, Some(number), "b"), member);
        members[0].insert(member);
        let text = format!("t/{number}");
        let member = chosen(&by_topic, Some(1), &text);
        assert_eq!(chosen(&by_topic, Some(2), &text), member);
        members[1].insert(member);
    }
    assert_eq!(members.map(|members| members.len()), [4, 4], "all members are used");
}

#[test]
fn mqtt5_4_8_2_the_message_of_an_ended_session_goes_to_another_member() {
    let group = Group::new(ShareStrategy::Sticky, 2);
    let share = group.share();
    let exclude = |number| share.choose(None, &topic("a"), Some(SessionKey(number)));
    assert_eq!(exclude(0).unwrap().subscriber.key.0, 10);
    group.set_connected(10, false);
    assert_eq!(exclude(0).unwrap().subscriber.key.0, 10);
    let alone = Group::new(ShareStrategy::RoundRobin, 1);
    assert!(alone.share().choose(None, &topic("a"), Some(SessionKey(0))).is_none());
}

#[test]
fn the_strategy_of_the_last_subscription_applies_to_the_share() {
    let mut group = Group::new(ShareStrategy::RoundRobin, 2);
    assert_eq!(group.next(2), [0, 10]);
    group.strategy = ShareStrategy::Sticky;
    group.join(20);
    assert_eq!(group.next(2), [20, 20]);
    assert_eq!(group.share().filter().to_string(), "$share/g/a");
}
