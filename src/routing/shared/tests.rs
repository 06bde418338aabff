use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::codec::{ClientId, Qos, RetainHandling, Subscription, SubscriptionId, SubscriptionOptions};
use crate::routing::{
    Access, AccessAction, AccessRule, Effect, Location, RuleSource, ShardId, Subscriber, SubscriptionIndex,
};
use crate::routing::{ChosenMember, ShareViews};
use crate::topic::TopicFilter;

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

    fn share(&self) -> Share {
        self.index.share(&subscription(Qos::AtLeastOnce).filter, &topic("a")).unwrap()
    }

    /// The members that receive the next messages, each through a new route.
    fn next(&self, messages: usize) -> Vec<u64> {
        (0..messages).map(|_| chosen(&self.share(), None, "a")).collect()
    }

    fn set_connected(&self, number: u64, connected: bool) {
        self.sessions.iter().find(|session| session.key.0 == number).unwrap().set_connected(connected);
        self.index.refresh_shares(SessionKey(number));
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

#[test]
fn a_copy_of_the_members_is_made_after_many_choices_and_holds_until_they_change() {
    let mut group = Group::new(ShareStrategy::RoundRobin, 3);
    let (mut views, share) = (ShareViews::default(), group.share());
    let mut choose = || {
        views.refresh(&share);
        let chosen = views.choose(&share, None, &topic("a")).unwrap();
        (chosen.subscriber.key.0, matches!(chosen, ChosenMember::Viewed(_)))
    };
    for number in 0..63 {
        assert_eq!(choose(), (number % 3 * 10, false));
    }
    assert_eq!((choose(), choose()), ((0, true), (10, true)));
    group.set_connected(20, false);
    assert_eq!((choose(), choose()), ((0, false), (10, false)));
    group.join(15);
    assert_eq!(choose(), (15, false));
    for _ in 0..62 {
        assert!(!choose().1);
    }
    assert_eq!(choose(), (15, true));
    for number in 100..200 {
        group.join(number);
    }
    assert!((0..200).all(|_| !choose().1), "there are too many members for a copy");
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64),
    Leave(u64),
    Connect(u64, bool),
    Access(u64, u8),
    InFlight(u64, u32),
    Publish {
        publisher: u64,
        topic: u64,
        exclude: Option<u64>,
    },
    /// Through the copies of the members that a shard has.
    PublishViewed {
        publisher: u64,
        topic: u64,
        choices: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = || 0..SESSIONS;
    let step = prop_oneof![
        4 => session().prop_map(Step::Join),
        1 => session().prop_map(Step::Leave),
        4 => (session(), any::<bool>()).prop_map(|(session, connected)| Step::Connect(session, connected)),
        3 => (session(), 0..5_u8).prop_map(|(session, kind)| Step::Access(session, kind)),
        1 => (session(), 0..3_u32).prop_map(|(session, messages)| Step::InFlight(session, messages)),
        6 => (0..9_u64, 0..4_u64, prop::option::weighted(0.2, session()))
            .prop_map(|(publisher, topic, exclude)| Step::Publish { publisher, topic, exclude }),
        6 => (0..9_u64, 0..4_u64, prop::sample::select(vec![1, 80]))
            .prop_map(|(publisher, topic, choices)| Step::PublishViewed { publisher, topic, choices }),
    ];
    prop::collection::vec(step, 0..200)
}

/// Everything, the whole filter, a part of it, a part of it by rules that no other Session has, or nothing of it.
fn access_of(session: u64, kind: u8) -> Access {
    let filters = match kind {
        0 => return Access::everything(),
        1 => vec!["t/#".to_owned()],
        2 => vec!["t/0".to_owned(), "t/1".to_owned()],
        3 => vec![format!("t/{}", session % 4), format!("own/{session}")],
        _ => vec!["other/#".to_owned()],
    };
    let rule = |filter: String| AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(&*filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    Access::new(filters.into_iter().map(rule).collect())
}

/// What a share does, by looking at each member.
struct Model {
    strategy: ShareStrategy,
    turn: u64,
    members: BTreeSet<u64>,
}

impl Model {
    /// The expected choice; `None`: none, or, with a hash, any that is as good as the chosen one.
    fn choose(&mut self, sessions: &[Arc<Subscriber>], topic: &TopicName, exclude: Option<u64>) -> Option<u64> {
        let entitled = sessions.iter().filter(|one| self.members.contains(&one.key.0) && one.access().receive(topic));
        let (before, from): (Vec<_>, Vec<_>) = entitled.partition(|one| one.key.0 < self.turn);
        let candidates: Vec<_> = from.into_iter().chain(before).filter(|one| Some(one.key.0) != exclude).collect();
        let connected = candidates.iter().filter(|one| one.is_connected());
        let chosen = match self.strategy {
            ShareStrategy::LeastInFlight => connected.min_by_key(|one| one.in_flight()),
            ShareStrategy::RoundRobin
            | ShareStrategy::Sticky
            | ShareStrategy::HashPublisher
            | ShareStrategy::HashTopic => connected.into_iter().next(),
        };
        let chosen = chosen.or(candidates.first())?.key.0;
        self.turn = if self.strategy == ShareStrategy::Sticky { chosen } else { chosen + 1 };
        Some(chosen)
    }
}

proptest! {
    #[test]
    fn a_share_chooses_like_a_search_of_all_members(
        strategy in prop::sample::select(vec![
            ShareStrategy::RoundRobin,
            ShareStrategy::LeastInFlight,
            ShareStrategy::Sticky,
            ShareStrategy::HashPublisher,
            ShareStrategy::HashTopic,
        ]),
        is_restricted in any::<bool>(),
        steps in steps(),
    ) {
        let location = Location { shard: ShardId(0), slot: 0 };
        let sessions: Vec<_> = (0..SESSIONS).map(|number| {
            let access = access_of(number, if is_restricted { 3 } else { 0 });
            let client_id = ClientId(number.to_string().into());
            Arc::new(Subscriber::new(SessionKey(number), client_id, location, Arc::new(access)))
        }).collect();
        let at = |number: u64| &sessions[usize::try_from(number).unwrap()];
        let mut subscription = subscription(Qos::AtLeastOnce);
        subscription.filter = Filter::try_from("$share/g/t/+").unwrap();
        let mut index = SubscriptionIndex::new();
        let mut model = Model { strategy, turn: 0, members: BTreeSet::new() };
        // Routes that stay valid while members connect and disconnect, by the topic.
        let mut routes: BTreeMap<u64, Option<Share>> = BTreeMap::new();
        let mut views = ShareViews::default();
        for step in steps {
            match step {
                Step::Join(number) => {
                    index.subscribe(at(number), &subscription, None, strategy);
                    model.members.insert(number);
                    routes.clear();
                }
                Step::Leave(number) => {
                    let left = index.unsubscribe(SessionKey(number), &subscription.filter);
                    prop_assert_eq!(left, model.members.remove(&number));
                    if model.members.is_empty() {
                        model.turn = 0;
                    }
                    routes.clear();
                }
                Step::Connect(number, connected) => {
                    at(number).set_connected(connected);
                    index.refresh_shares(SessionKey(number));
                }
                Step::Access(number, kind) => {
                    at(number).set_access(Arc::new(access_of(number, kind)));
                    index.refresh_shares(SessionKey(number));
                    routes.clear();
                }
                Step::InFlight(number, messages) => at(number).set_in_flight(messages),
                Step::Publish { publisher, topic: number, exclude } => {
                    let topic = topic(&format!("t/{number}"));
                    let route = routes.entry(number).or_insert_with(|| index.share(&subscription.filter, &topic));
                    let choose = || route.as_ref()?.choose(Some(SessionKey(publisher)), &topic, exclude.map(SessionKey));
                    let chosen = choose();
                    let expected = model.choose(&sessions, &topic, exclude);
                    let entitled = sessions.iter().filter(|one| model.members.contains(&one.key.0) && one.access().receive(&topic));
                    prop_assert_eq!(
                        route.as_ref().map(Share::members).unwrap_or_default(),
                        entitled.map(|one| one.key).collect::<Vec<_>>()
                    );
                    let key = chosen.as_ref().map(|chosen| chosen.subscriber.key.0);
                    if matches!(strategy, ShareStrategy::HashPublisher | ShareStrategy::HashTopic) {
                        prop_assert_eq!(key.is_some(), expected.is_some());
                        prop_assert_eq!(key.map(|key| at(key).is_connected()), expected.map(|key| at(key).is_connected()));
                        prop_assert!(key.is_none_or(|key| Some(key) != exclude && at(key).access().receive(&topic)));
                        prop_assert_eq!(key, choose().map(|again| again.subscriber.key.0), "the same again");
                    } else {
                        prop_assert_eq!(key, expected);
                    }
                }
                Step::PublishViewed { publisher, topic: number, choices } => {
                    let topic = topic(&format!("t/{number}"));
                    let route = routes.entry(number).or_insert_with(|| index.share(&subscription.filter, &topic));
                    let Some(share) = route else { continue };
                    for _ in 0..choices {
                        views.refresh(share);
                    }
                    let publisher = Some(SessionKey(publisher));
                    let key = views.choose(share, publisher, &topic).map(|chosen| chosen.subscriber.key.0);
                    if matches!(strategy, ShareStrategy::HashPublisher | ShareStrategy::HashTopic) {
                        let locked = share.choose(publisher, &topic, None);
                        prop_assert_eq!(key, locked.map(|chosen| chosen.subscriber.key.0));
                    } else {
                        prop_assert_eq!(key, model.choose(&sessions, &topic, None));
                    }
                }
            }
        }
    }
}

/// More than the classes of access rules up to which a route names them.
const SESSIONS: u64 = 40;
