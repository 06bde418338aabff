use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::codec::{Ack, ClientPacket, Publish, ReasonCode, ServerPacket, Suback};
use crate::session::Ended;

#[derive(Debug, Clone)]
enum Step {
    Connect {
        send_maximum: u16,
        waits: bool,
    },
    Disconnect,
    /// Takes a sequence, and delivers one of the taken sequences in any order.
    Deliver {
        qos: Qos,
        which: usize,
    },
    DeliverQos0,
    Publish {
        qos: Qos,
        number: u16,
    },
    Ack {
        kind: u8,
        number: u16,
        fails: bool,
    },
    Respond {
        waits: bool,
    },
    Ping,
    Room(usize),
    Persist(u64),
    /// The store returns the result of a fetch.
    Fetched,
    /// A disconnected Session moves to another shard.
    Move,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    let any_qos = prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    prop_oneof![
        2 => (1..5_u16, any::<bool>()).prop_map(|(send_maximum, waits)| Step::Connect { send_maximum, waits }),
        1 => Just(Step::Disconnect),
        12 => (qos, 0..3_usize).prop_map(|(qos, which)| Step::Deliver { qos, which }),
        2 => Just(Step::DeliverQos0),
        4 => (any_qos, 1..5_u16).prop_map(|(qos, number)| Step::Publish { qos, number }),
        14 => (0..4_u8, 1..30_u16, prop::bool::weighted(0.1)).prop_map(|(kind, number, fails)| Step::Ack { kind, number, fails }),
        3 => any::<bool>().prop_map(|waits| Step::Respond { waits }),
        1 => Just(Step::Ping),
        4 => (0..200_usize).prop_map(Step::Room),
        4 => (0..4_u64).prop_map(Step::Persist),
        4 => Just(Step::Fetched),
        1 => Just(Step::Move),
    ]
}

/// The Session with the state of its owner.
struct Owner {
    session: Session,
    send_maximum: usize,
    connected: bool,
    open: bool,
    last_ticket: u64,
    stable: u64,
    connack_ticket: u64,
    next_sequence: u64,
    taken: Vec<(u64, Qos)>,
    delivered: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// PUBLISH packets of this connection by Packet Identifier.
    in_flight: BTreeMap<u16, Qos>,
    /// Expected SUBACKs in order, each with its ticket.
    responses: VecDeque<(u16, u64)>,
    next_response: u16,
    /// Fetches in progress; the last one is of the Session's current state.
    fetches: VecDeque<(u32, Vec<u64>)>,
    qos: BTreeMap<u64, Qos>,
}

impl Owner {
    /// A Session with or without records in the store.
    fn new(recorded: bool) -> Self {
        let mut session = Session::new(limits(), 1);
        session.set_recorded(recorded);
        Self {
            session,
            send_maximum: 0,
            connected: false,
            open: false,
            last_ticket: 0,
            stable: 0,
            connack_ticket: 0,
            next_sequence: 1,
            taken: Vec::new(),
            delivered: BTreeSet::new(),
            done: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            responses: VecDeque::new(),
            next_response: 1,
            fetches: VecDeque::new(),
            qos: BTreeMap::new(),
        }
    }

    fn ticket(&mut self, waits: bool) -> Option<Ticket> {
        waits.then(|| {
            self.last_ticket += 1;
            Ticket(self.last_ticket)
        })
    }

    fn take(&mut self, step: Step) {
        let event = match step {
            Step::Connect { send_maximum, waits } => {
                self.end();
                self.connected = true;
                self.send_maximum = usize::from(send_maximum);
                let wait = self.ticket(waits);
                self.connack_ticket = wait.unwrap_or_default().0;
                connected(send_maximum, wait)
            }
            Step::Disconnect => return self.end(),
            Step::Deliver { qos, which } => {
                self.taken.push((self.next_sequence, qos));
                self.qos.insert(self.next_sequence, qos);
                self.next_sequence += 1;
                let (sequence, qos) = self.taken.remove(which.min(self.taken.len() - 1));
                self.delivered.insert(sequence);
                Event::Deliver(sequence, delivery(qos))
            }
            Step::DeliverQos0 => Event::DeliverQos0(delivery(Qos::AtMostOnce)),
            Step::Fetched => return self.answer(),
            Step::Move if self.connected => return,
            Step::Move => return self.session.forget_shard(),
            _ if !self.open && !matches!(step, Step::Room(_) | Step::Persist(_)) => return,
            Step::Publish { qos, number } => {
                let packet_id = (qos > Qos::AtMostOnce).then(|| id(number));
                let publish = Publish::new(TopicName::new("t".into()).unwrap(), "x");
                Event::Packet(ClientPacket::Publish(Publish { qos, packet_id, ..publish }))
            }
            Step::Ack { kind, number, fails } => {
                let reason_code = if fails { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
                let ack = Ack::new(id(number), reason_code);
                Event::Packet(match kind {
                    0 => ClientPacket::Puback(ack),
                    1 => ClientPacket::Pubrec(ack),
                    2 => ClientPacket::Pubrel(Ack::new(id(number % 5 + 1), ReasonCode::Success)),
                    _ => ClientPacket::Pubcomp(Ack::new(id(number), ReasonCode::Success)),
                })
            }
            Step::Respond { waits } => {
                let wait = self.ticket(waits);
                self.responses.push_back((self.next_response, wait.unwrap_or_default().0));
                let suback = Suback { packet_id: id(self.next_response), reason_codes: vec![], reason_string: None };
                self.next_response += 1;
                Event::Respond { packet: ServerPacket::Suback(Box::new(suback)), wait }
            }
            Step::Ping => Event::Packet(ClientPacket::Pingreq),
            Step::Room(bytes) => Event::Room(bytes),
            Step::Persist(further) => {
                self.stable = (self.stable + further).min(self.last_ticket);
                Event::Persisted(Ticket(self.stable))
            }
        };
        self.handle(event);
    }

    /// Returns the result of the oldest fetch.
    fn answer(&mut self) {
        let Some((number, sequences)) = self.fetches.pop_front() else { return };
        let messages = sequences.into_iter().map(|sequence| (sequence, Ok(delivery(self.qos[&sequence]))));
        self.handle(Event::Fetched(number, messages.collect()));
    }

    fn end(&mut self) {
        self.connected = false;
        self.open = false;
        self.in_flight.clear();
        self.responses.clear();
        self.handle(Event::Disconnected);
    }

    fn handle(&mut self, event: Event) {
        for action in handle(&mut self.session, event) {
            self.perform(action);
        }
        self.check();
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(packet) => self.sent(packet),
            Action::Publish(application) => {
                let Some(packet_id) = application.packet_id else { return };
                let wait = self.ticket(packet_id.number() % 2 == 0);
                let reason_code = ReasonCode::Success;
                self.handle(Event::Answered { packet_id, qos: application.qos, reason_code, wait, duplicate: false });
            }
            Action::Release(packet_id) => self.respond(ServerPacket::Pubcomp(Ack::new(packet_id, ReasonCode::Success))),
            Action::Released(_, packet_id) => {
                self.respond(ServerPacket::Pubrel(Ack::new(packet_id, ReasonCode::Success)));
            }
            Action::Done(sequence, _) => {
                assert!(self.delivered.contains(&sequence), "complete before it was delivered");
                assert!(self.done.insert(sequence), "done twice");
                self.in_flight.remove(&number(sequence));
            }
            Action::Dropped(..) => {}
            Action::Repeated => panic!("the link does not ask for it"),
            Action::Fetch(number, sequences) => {
                assert!(!sequences.is_empty() && sequences.iter().all(|one| !self.done.contains(one)));
                self.fetches.push_back((number, sequences));
            }
            Action::DroppedStored(..) | Action::Unreadable(..) => {
                unreachable!("there are no dead letters, and every message can be read")
            }
            Action::End(Ended::ByError(_) | Ended::ByClient(_)) => self.end(),
            Action::Subscribe(_) | Action::Unsubscribe(_) | Action::Reauthenticate(_) => unreachable!("not sent"),
            Action::Denied(..) => unreachable!("the rights do not change"),
            Action::Settled(..) => unreachable!("no message is of a group"),
            Action::Refused(_) | Action::Parked(..) | Action::RedeliveryDue | Action::RedeliveryRemoved(_) => {
                unreachable!("what the client refuses is discarded")
            }
        }
    }

    fn respond(&mut self, packet: ServerPacket) {
        let wait = self.ticket(true);
        self.handle(Event::Respond { packet, wait });
    }

    fn sent(&mut self, packet: ServerPacket) {
        if !self.connected {
            return; // an action before this one ended the connection
        }
        if let ServerPacket::Connack(_) = packet {
            assert!(!self.open && self.connack_ticket <= self.stable);
            self.open = true;
            return;
        }
        assert!(self.open, "{packet:?} before CONNACK");
        if let ServerPacket::Publish(publish) = packet {
            let Some(packet_id) = publish.packet_id else { return };
            assert!(self.in_flight.insert(packet_id.number(), publish.qos).is_none(), "identifier in use");
            assert!(self.in_flight.len() <= self.send_maximum, "more than Receive Maximum");
        } else if let ServerPacket::Suback(suback) = packet {
            let (next, ticket) = self.responses.pop_front().unwrap();
            assert_eq!(suback.packet_id.number(), next, "out of order");
            assert!(ticket <= self.stable, "before its record is stable");
        }
    }

    fn check(&self) {
        self.session.check_head();
        let (messages, bytes) = self.session.queued();
        // Messages that arrived early are not in the queue yet.
        let in_order = (1..).take_while(|sequence| self.delivered.contains(sequence)).count();
        assert_eq!(messages, in_order - self.done.len());
        assert!(messages > 0 || bytes == 0);
        assert!(messages <= limits().queued_messages_max.max(self.send_maximum + 30));
        assert!(self.session.unsent() <= messages as u64 + self.done.len() as u64);
        assert!(self.session.in_flight() as usize >= self.in_flight.len());
    }
}

fn number(sequence: u64) -> u16 {
    u16::try_from((sequence - 1) % 65_535 + 1).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_invariants(recorded in any::<bool>(), steps in prop::collection::vec(step(), 1..150)) {
        let mut owner = Owner::new(recorded);
        for step in steps {
            owner.take(step);
        }
    }

    /// A client that acknowledges everything receives every message that was not dropped, and the queue becomes empty.
    #[test]
    fn a_client_that_acknowledges_everything_receives_all_remaining_messages(recorded in any::<bool>(), steps in prop::collection::vec(step(), 1..100)) {
        let mut owner = Owner::new(recorded);
        for step in steps {
            owner.take(step);
        }
        while !owner.taken.is_empty() {
            let (sequence, qos) = owner.taken.remove(0);
            owner.delivered.insert(sequence);
            owner.handle(Event::Deliver(sequence, delivery(qos)));
        }
        owner.take(Step::Connect { send_maximum: 3, waits: false });
        for _ in 0..200 {
            owner.take(Step::Room(10_000));
            owner.take(Step::Persist(u64::from(u16::MAX)));
            while !owner.fetches.is_empty() {
                owner.take(Step::Fetched);
            }
            let in_flight: Vec<(u16, Qos)> = owner.in_flight.iter().map(|(number, qos)| (*number, *qos)).collect();
            for (number, qos) in in_flight {
                let kinds: &[u8] = if qos == Qos::AtLeastOnce { &[0] } else { &[1, 3] };
                for kind in kinds {
                    owner.take(Step::Ack { kind: *kind, number, fails: false });
                }
            }
            for number in 1..=owner.next_sequence {
                if owner.session.queued().0 > 0 && owner.in_flight.is_empty() {
                    // PUBREL was sent again, so only PUBCOMP is missing.
                    owner.take(Step::Ack { kind: 3, number: self::number(number), fails: false });
                }
            }
        }
        prop_assert_eq!(owner.session.queued(), (0, 0));
    }
}
