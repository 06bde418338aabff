use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::codec::{PacketId, Publish, Qos};
use crate::sink::Order;
use crate::timestamp::WallTime;
use crate::topic::TopicName;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        order: Order::Topic,
        batch_max: 1,
        batch_bytes_max: 1_000,
        batch_wait: Duration::ZERO,
        requests_max: 4,
        unacknowledged_max: 3,
        retry_min: SECOND,
        retry_max: 8 * SECOND,
        retries_max: 2,
        dead_letter_topic: Some(topic("dead")),
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name.to_owned().into()).unwrap()
}

/// The number of a message is its Packet Identifier and its payload; 0: QoS 0.
fn message(name: &str, number: u16) -> Delivery {
    let mut publish = Publish::new(topic(name), number.to_string());
    publish.packet_id = number.try_into().ok().map(PacketId);
    publish.qos = if number == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    Delivery { publish, taken: WallTime(0) }
}

fn number(message: &Delivery) -> u16 {
    message.publish.packet_id.map_or(0, |id| id.0.get())
}

/// A sink with its time.
struct Sink {
    machine: Machine,
    now: Timestamp,
    actions: Vec<Action>,
}

impl Sink {
    fn new(settings: Settings) -> Self {
        Self { machine: Machine::new(settings, 1), now: Timestamp(1_000_000), actions: Vec::new() }
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(self.now, event, &mut self.actions);
        self.machine.check();
    }

    fn arrive(&mut self, messages: &[(&str, u16)]) {
        messages.iter().for_each(|(name, number)| self.handle(Event::Arrived(message(name, *number))));
    }

    /// The requests that were sent, with the numbers of their messages.
    fn sent(&mut self) -> Vec<(RequestId, Vec<u16>)> {
        let mut sent = Vec::new();
        self.actions.retain(|action| {
            let Action::Send { id, messages, .. } = action else { return true };
            sent.push((*id, messages.iter().map(|message| number(message)).collect()));
            false
        });
        sent
    }

    fn one_sent(&mut self) -> RequestId {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0].0
    }

    fn answer(&mut self, id: RequestId, outcome: Outcome) {
        self.handle(Event::Answered(id, outcome));
    }

    fn acknowledged(&mut self) -> Vec<u16> {
        let mut acknowledged = Vec::new();
        self.actions.retain(|action| {
            let Action::Acknowledge(id, _) = action else { return true };
            acknowledged.push(id.0.get());
            false
        });
        acknowledged
    }

    /// Waits until something is due; returns for how long.
    fn wait(&mut self) -> Duration {
        let due = self.machine.deadline().expect("a deadline").max(self.now);
        let waited = due.since(self.now);
        self.now = due;
        self.handle(Event::DeadlinePassed);
        waited
    }
}

fn again() -> Outcome {
    Outcome::Again { reason: "busy".into(), pause: None }
}

fn refused() -> Outcome {
    Outcome::Refused("no".into())
}

#[test]
fn a_message_is_acknowledged_when_it_was_taken_and_not_before() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1)]);
    let id = sink.one_sent();
    assert_eq!(sink.acknowledged(), [0_u16; 0]);
    sink.answer(id, Outcome::Delivered);
    assert_eq!(sink.acknowledged(), [1]);
    assert_eq!((sink.machine.counts().delivered, sink.machine.load()), (1, (0, 0)));
}

#[test]
fn messages_of_a_topic_wait_for_each_other_and_not_for_those_of_others() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1), ("a", 2), ("b", 3)]);
    let sent = sink.sent();
    assert_eq!(sent.iter().map(|(_, numbers)| numbers.clone()).collect::<Vec<_>>(), [[1], [3]]);
    sink.answer(sent[0].0, again());
    sink.answer(sent[1].0, Outcome::Delivered);
    sink.arrive(&[("b", 4)]);
    assert_eq!(sink.sent().pop().unwrap().1, [4], "the failure of a topic is its own");
    let waited = sink.wait();
    assert!(waited >= SECOND / 2 && waited <= SECOND, "{waited:?}");
    let id = sink.one_sent();
    sink.answer(id, Outcome::Delivered);
    assert_eq!(sink.sent().pop().unwrap().1, [2]);
    assert_eq!(sink.acknowledged(), [3, 1]);
}

#[test]
fn with_order_all_there_is_one_request_and_with_none_there_are_as_many_as_allowed() {
    for (order, expected) in [(Order::All, 1), (Order::None, 4)] {
        let mut sink = Sink::new(Settings { order, ..settings() });
        sink.arrive(&[("a", 1), ("b", 2), ("a", 3), ("a", 4), ("c", 5)]);
        assert_eq!(sink.sent().len(), expected, "{order:?}");
    }
}

#[test]
fn a_message_that_is_not_taken_becomes_a_dead_letter_and_then_the_next_of_its_topic_is_sent() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1), ("a", 2)]);
    let id = sink.one_sent();
    sink.answer(id, refused());
    let [Action::Bury { id, message, reason }] = &sink.actions[..] else { panic!("{:?}", sink.actions) };
    assert_eq!((number(message), &**reason), (1, "no"));
    let id = *id;
    sink.handle(Event::Buried(id, Stored::Yes));
    assert_eq!(sink.acknowledged(), [1]);
    assert_eq!(sink.sent().pop().unwrap().1, [2]);
    assert_eq!(sink.machine.counts().dead_letters, 1);
}

#[test]
fn retries_end_and_their_pauses_grow() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1)]);
    let mut id = sink.one_sent();
    for whole in [SECOND, 2 * SECOND] {
        sink.answer(id, again());
        let waited = sink.wait();
        assert!(waited >= whole / 2 && waited <= whole, "{waited:?}");
        id = sink.one_sent();
    }
    sink.answer(id, again());
    assert!(matches!(sink.actions[..], [Action::Bury { .. }]), "{:?}", sink.actions);
    assert_eq!(sink.machine.counts().retries, 2);
}

#[test]
fn without_a_dead_letter_topic_a_message_is_dropped_and_said_to_be() {
    for (setting, name, number) in [(None, "a", 1), (Some(topic("a")), "a", 1), (Some(topic("dead")), "a", 0)] {
        let mut sink = Sink::new(Settings { dead_letter_topic: setting, ..settings() });
        sink.arrive(&[(name, number)]);
        let id = sink.one_sent();
        sink.answer(id, refused());
        assert!(matches!(sink.actions.remove(0), Action::Dropped { .. }));
        assert_eq!(sink.acknowledged(), if number > 0 { vec![number] } else { vec![] });
        assert_eq!((sink.machine.counts().dropped, sink.machine.load()), (1, (0, 0)));
    }
}

#[test]
fn a_dead_letter_that_is_refused_is_tried_again_and_at_last_dropped() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1)]);
    let id = sink.one_sent();
    sink.answer(id, refused());
    for _ in 0..3 {
        let Some(Action::Bury { id, .. }) = sink.actions.pop() else { panic!("no dead letter") };
        assert_eq!(sink.acknowledged(), [0_u16; 0]);
        sink.handle(Event::Buried(id, Stored::No("full".into())));
        if sink.actions.is_empty() {
            sink.wait();
        }
    }
    assert!(matches!(sink.actions.remove(0), Action::Dropped { .. }));
    assert_eq!(sink.acknowledged(), [1]);
}

#[test]
fn one_message_of_a_batch_does_not_take_the_others_with_it() {
    let mut sink = Sink::new(Settings { batch_max: 3, batch_wait: SECOND, ..settings() });
    sink.arrive(&[("a", 1), ("b", 2), ("a", 3)]);
    let sent = sink.sent();
    assert_eq!(sent[0].1, [1, 3, 2]);
    sink.answer(sent[0].0, refused());
    let sent = sink.sent();
    assert_eq!(sent.iter().map(|(_, numbers)| numbers.clone()).collect::<Vec<_>>(), [[1], [2]]);
    sink.answer(sent[0].0, refused());
    sink.answer(sent[1].0, Outcome::Delivered);
    assert_eq!(sink.acknowledged(), [2]);
    let Some(Action::Bury { id, .. }) = sink.actions.pop() else { panic!("no dead letter") };
    sink.handle(Event::Buried(id, Stored::Yes));
    assert_eq!(sink.sent().pop().unwrap().1, [3]);
}

#[test]
fn after_a_refused_batch_each_message_has_all_its_attempts_and_after_an_exhausted_one_a_last_one() {
    for (outcome, expected) in [(refused(), 3), (again(), 1)] {
        let mut sink = Sink::new(Settings { batch_max: 2, batch_wait: SECOND, ..settings() });
        sink.arrive(&[("a", 1), ("a", 2)]);
        let id = sink.one_sent();
        sink.answer(id, outcome);
        let mut single = loop {
            match sink.sent().pop() {
                Some((id, numbers)) if numbers == [1, 2] => sink.answer(id, again()),
                Some((id, numbers)) => {
                    assert_eq!(numbers, [1]);
                    break id;
                }
                None => drop(sink.wait()),
            }
        };
        let mut attempts = 1;
        loop {
            sink.answer(single, again());
            if matches!(sink.actions[..], [Action::Bury { .. }]) {
                break;
            }
            sink.wait();
            single = sink.one_sent();
            attempts += 1;
        }
        assert_eq!(attempts, expected);
    }
}

#[test]
fn a_batch_waits_for_messages_or_bytes_or_its_time() {
    let mut sink = Sink::new(Settings { batch_max: 3, batch_bytes_max: 12, batch_wait: SECOND, ..settings() });
    sink.arrive(&[("a", 1), ("b", 2)]);
    assert_eq!(sink.sent(), []);
    assert_eq!(sink.wait(), SECOND);
    assert_eq!(sink.sent().pop().unwrap().1, [1, 2]);
    sink.arrive(&[("c", 3), ("d", 4), ("e", 5)]);
    assert_eq!(sink.sent().pop().unwrap().1, [3, 4, 5]);
    // Topic and payload have 9 bytes.
    sink.arrive(&[("eight-by", 6), ("eight-bz", 7)]);
    assert_eq!(sink.sent().pop().unwrap().1, [6]);
    assert_eq!(sink.wait(), SECOND);
    assert_eq!(sink.sent().pop().unwrap().1, [7]);
}

#[test]
fn a_receiver_that_asks_for_a_pause_gets_one_from_all_topics() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1)]);
    let id = sink.one_sent();
    sink.answer(id, Outcome::Again { reason: "429".into(), pause: Some(30 * SECOND) });
    sink.arrive(&[("b", 2)]);
    assert_eq!(sink.sent(), []);
    assert_eq!(sink.wait(), 30 * SECOND);
    assert_eq!(sink.sent().len(), 2);
}

#[test]
fn messages_of_qos_0_have_a_bound_of_their_own() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 0); 5]);
    assert_eq!(sink.actions.iter().filter(|action| matches!(action, Action::Dropped { .. })).count(), 2);
    assert_eq!(sink.machine.load(), (3, 1));
    let id = sink.sent()[0].0;
    sink.answer(id, Outcome::Delivered);
    assert_eq!(sink.machine.load(), (2, 1));
}

#[test]
fn dead_letters_on_their_way_are_bounded_and_wake_each_other() {
    let mut sink = Sink::new(Settings { requests_max: 40, ..settings() });
    for number in 1..=40 {
        sink.handle(Event::Arrived(message(&format!("t{number}"), number)));
    }
    for (id, _) in sink.sent() {
        sink.answer(id, refused());
    }
    let mut buried = 0;
    while let Some(Action::Bury { id, .. }) = sink.actions.pop() {
        assert!(sink.machine.burials <= BURIALS_MAX);
        assert_eq!(sink.machine.deadline(), None, "an acknowledgement wakes the next");
        sink.handle(Event::Buried(id, Stored::Yes));
        buried += sink.acknowledged().len();
    }
    assert_eq!((buried, sink.machine.load()), (40, (0, 0)));
}

#[test]
fn answers_to_a_former_connection_are_ignored() {
    let mut sink = Sink::new(settings());
    sink.arrive(&[("a", 1)]);
    let former = sink.one_sent();
    sink.machine.forget();
    sink.machine.check();
    sink.arrive(&[("a", 1)]);
    sink.answer(former, Outcome::Delivered);
    assert_eq!(sink.acknowledged(), [0_u16; 0]);
    let id = sink.one_sent();
    sink.answer(id, Outcome::Delivered);
    assert_eq!(sink.acknowledged(), [1]);
}

#[test]
fn a_lane_exists_only_while_it_is_needed() {
    let mut sink = Sink::new(settings());
    for number in 1..=10_000 {
        sink.handle(Event::Arrived(message(&format!("t{number}"), number)));
        let id = sink.one_sent();
        sink.answer(id, Outcome::Delivered);
        sink.actions.clear();
    }
    assert_eq!((sink.machine.lanes.len(), sink.machine.batches.len()), (0, 0));
}

/// What a checker that knows only the actions has seen.
#[derive(Default)]
struct Seen {
    /// The messages of requests and dead letters that are under way, with the answers that they wait for.
    under_way: HashMap<RequestId, (Vec<u16>, bool)>,
    ended: HashSet<u16>,
    acknowledged: Vec<u16>,
    dropped: HashSet<u16>,
}

fn topics_of(order: Order, names: &HashMap<u16, u8>, number: u16) -> Option<u8> {
    match order {
        Order::Topic => Some(names[&number]),
        Order::All => Some(0),
        Order::None => None,
    }
}

impl Seen {
    fn take(&mut self, actions: &mut Vec<Action>, order: Order, names: &HashMap<u16, u8>) {
        for action in actions.drain(..) {
            match action {
                Action::Send { id, messages, .. } => {
                    let numbers: Vec<u16> = messages.iter().map(|message| number(message)).collect();
                    for place in 0..numbers.len() {
                        let own = topics_of(order, names, numbers[place]);
                        let earlier = (1..numbers[place])
                            .filter(|earlier| own.is_some() && topics_of(order, names, *earlier) == own);
                        for earlier in earlier {
                            assert!(
                                self.ended.contains(&earlier) || numbers[..place].contains(&earlier),
                                "{} overtakes {earlier}",
                                numbers[place]
                            );
                        }
                    }
                    assert!(self.under_way.insert(id, (numbers, false)).is_none());
                }
                Action::Bury { id, message, .. } => {
                    assert!(self.under_way.insert(id, (vec![number(&message)], true)).is_none());
                }
                Action::Dropped { message, .. } => {
                    self.dropped.insert(number(&message));
                    self.ended.insert(number(&message));
                }
                Action::Acknowledge(id, _) => {
                    assert!(self.ended.contains(&id.0.get()), "{} is acknowledged too early", id.0);
                    self.acknowledged.push(id.0.get());
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn order_and_acknowledgements_hold_whatever_the_receiver_does(
        topics in prop::collection::vec(0_u8..4, 1..60),
        choices in prop::collection::vec((0_u8..10, any::<u16>()), 0..300),
        order in prop::sample::select(vec![Order::Topic, Order::None, Order::All]),
        batch_max in 1_usize..5,
        requests_max in 1_usize..4,
        has_dead_letters: bool,
        window in 4_usize..20,
    ) {
        let dead_letter_topic = has_dead_letters.then(|| topic("dead"));
        let wait = if batch_max > 1 { SECOND } else { Duration::ZERO };
        let mut sink = Sink::new(Settings { order, batch_max, batch_wait: wait, requests_max, dead_letter_topic, ..settings() });
        let names: HashMap<u16, u8> = (1..).zip(topics.iter().copied()).collect();
        let mut next = 1_u16;
        let mut seen = Seen::default();
        let endless = choices.into_iter().chain(std::iter::repeat_n((0, 0), 2_000));
        for (what, which) in endless {
            while usize::from(next) <= topics.len() && sink.machine.load().0 < window {
                sink.handle(Event::Arrived(message(&format!("t{}", names[&next]), next)));
                next += 1;
            }
            seen.take(&mut sink.actions, order, &names);
            let mut ids: Vec<_> = seen.under_way.keys().copied().collect();
            ids.sort();
            prop_assert!(sink.machine.load().1 <= requests_max);
            let Some(id) = ids.get(usize::from(which) % ids.len().max(1)).copied() else {
                if sink.machine.deadline().is_none() {
                    break;
                }
                sink.wait();
                continue;
            };
            if what == 9 && sink.machine.deadline().is_some() {
                sink.wait();
                continue;
            }
            let (numbers, is_burial) = seen.under_way.remove(&id).unwrap();
            let is_good = what < 5;
            if is_good {
                seen.ended.extend(&numbers);
            }
            let event = match (is_burial, what) {
                (true, _) if is_good => Event::Buried(id, Stored::Yes),
                (true, _) => Event::Buried(id, Stored::No("full".into())),
                (false, 0..5) => Event::Answered(id, Outcome::Delivered),
                (false, 5..8) => Event::Answered(id, again()),
                (false, _) => Event::Answered(id, refused()),
            };
            sink.handle(event);
            seen.take(&mut sink.actions, order, &names);
        }
        let mut acknowledged = seen.acknowledged;
        acknowledged.sort_unstable();
        prop_assert_eq!(acknowledged, (1..next).collect::<Vec<_>>(), "each once");
        prop_assert_eq!((sink.machine.load(), sink.machine.lanes.len()), ((0, 0), 0));
        let counts = sink.machine.counts();
        prop_assert_eq!(counts.delivered + counts.dead_letters + counts.dropped, topics.len() as u64);
    }
}
