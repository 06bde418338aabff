//! Writes sessions and messages as the broker's own records.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::contents::{Content, Contents, MessagePlace};
use super::error::ImportError;
use super::options::{Options, Users};
use super::plan::{Incoming, Plan, PlannedDelivery, PlannedSession, seconds};
use super::report::{RemarkKind, Report};
use super::source::Source;
use super::subscriptions;
use super::target::Target;
use crate::broker::{Addressed, Delay, Durability, Owner, Record, RetainedChange, TopicStreams, WillState};
use crate::codec::{ClientId, Matched, Message, MessageId, MessageProperties, PacketId, Qos, SubscriptionId};
use crate::routing::{Access, Location, SessionKey, ShardId, Subscriber};
use crate::session::{Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// Where the records go; without a target, they are only made.
pub(super) struct Writer<'a> {
    pub(super) contents: &'a Contents,
    pub(super) options: &'a Options,
    /// The name of the file, for errors.
    pub(super) file: &'a Path,
    pub(super) target: Option<&'a mut Target>,
    pub(super) report: &'a mut Report,
}

/// The last numbers that were given.
#[derive(Debug, Default)]
struct Numbers {
    retained: u64,
    delayed: u64,
}

impl Writer<'_> {
    pub(super) fn write(&mut self, plan: &Plan, source: &mut impl Source) -> Result<(), ImportError> {
        for session in &plan.sessions {
            self.session(session)?;
        }
        self.subscriptions(plan)?;
        let arriving = Location { shard: ShardId(0), slot: Location::ARRIVING };
        let access = Arc::new(Access::everything());
        let subscriber = |session: &PlannedSession| {
            Arc::new(Subscriber::new(session.key, session.client_id.clone(), arriving, Arc::clone(&access)))
        };
        let receivers: Vec<_> = plan.sessions.iter().map(subscriber).collect();
        let mut numbers = Numbers::default();
        let (mut deliveries, mut incoming, mut retained) = (&*plan.deliveries, &*plan.incoming, &*plan.retained);
        for (number, place) in (0..).zip(&self.contents.messages) {
            let of_this = split(&mut deliveries, |delivery| delivery.message == number);
            let from_clients = split(&mut incoming, |incoming| incoming.message == number);
            let is_retained = !split(&mut retained, |retained| *retained == number).is_empty();
            if of_this.is_empty() && from_clients.is_empty() && !is_retained {
                continue;
            }
            let content = source.content(place).map_err(|fault| fault.of(self.file))?;
            let of_clients = from_clients.len() as u64;
            let Some(message) = self.message(number, place, &content, source)? else {
                let count = of_this.len() as u64 + of_clients + u64::from(is_retained);
                self.report.remark_several(RemarkKind::TopicInvalid, count, &content.topic);
                continue;
            };
            let message = Accepting { message: Arc::new(message), expires_at: expires_at(place), content: &content };
            if is_retained || !of_this.is_empty() {
                numbers.retained += u64::from(is_retained);
                let number = is_retained.then_some(numbers.retained);
                self.accepted(&message, number, of_this, (plan, &receivers))?;
            }
            for one in from_clients {
                numbers.delayed += 1;
                self.incoming(&message, one, numbers.delayed, plan)?;
            }
        }
        Ok(())
    }

    fn session(&mut self, session: &PlannedSession) -> Result<(), ImportError> {
        let key = session.key;
        self.append(&Record::SessionOpened {
            key,
            client_id: session.client_id.clone(),
            owner: session.owner.clone(),
            session_expiry_interval: session.expiry_interval,
            will: None,
        })?;
        let (session_expiry_interval, at) = session.detached;
        let (will, sent_until) = (WillState::Absent, session.sent_until);
        self.append(&Record::SessionDetached { key, session_expiry_interval, at, will, sent_until })?;
        for sequence in &session.released {
            self.append(&Record::OutboundReleased { key, sequence: *sequence, is_of_link: false })?;
        }
        self.report.sessions += 1;
        self.report.queued += session.released.len() as u64;
        self.report.released += session.released.len() as u64;
        Ok(())
    }

    fn subscriptions(&mut self, plan: &Plan) -> Result<(), ImportError> {
        let contents = self.contents;
        for of_client in contents.subscriptions.chunk_by(|one, other| one.client == other.client) {
            let Some(place) = of_client.first().map(|one| one.client) else { continue };
            let Some(client) = contents.clients.get(place as usize) else { continue };
            match plan.sessions.binary_search_by_key(&place, |session| session.client) {
                Ok(found) => {
                    let key = plan.sessions.get(found).map(|session| session.key);
                    let records = key.map(|key| subscriptions::records(key, of_client, self.report));
                    for record in records.into_iter().flatten() {
                        self.append(&record)?;
                    }
                }
                Err(_) if client.session.is_none() => {
                    self.report.remark_several(RemarkKind::Stray, of_client.len() as u64, &client.id);
                }
                Err(_) => {} // its session is not taken over, which is reported
            }
        }
        Ok(())
    }

    /// The message; `None` if its topic is not valid.
    fn message(
        &self,
        number: u32,
        place: &MessagePlace,
        content: &Content,
        source: &impl Source,
    ) -> Result<Option<Message>, ImportError> {
        let damaged = |what| source.damaged(place, what).of(self.file);
        let topic = std::str::from_utf8(&content.topic).ok().and_then(|topic| TopicName::try_from(topic).ok());
        let Some(topic) = topic else { return Ok(None) };
        let properties = MessageProperties::from_bytes(Bytes::copy_from_slice(&content.properties))
            .map_err(|_| damaged("the message has properties that PUBLISH can't have"))?;
        let qos = Qos::new(content.qos).ok_or(damaged("the message has no QoS"))?;
        // The same at each import of the file, and of no other message.
        let run = u64::from(self.contents.fingerprint) << 32 | self.contents.messages.len() as u64;
        let id = (qos > Qos::AtMostOnce).then(|| MessageId { run, number: u64::from(number) + 1 });
        let message = Message::new(topic, Bytes::copy_from_slice(&content.payload));
        Ok(Some(Message { properties, qos, id, is_noted: id.is_some(), ..message }))
    }

    /// A message that is retained or in queues.
    fn accepted(
        &mut self,
        accepting: &Accepting<'_>,
        retained: Option<u64>,
        deliveries: &[PlannedDelivery],
        (plan, receivers): (&Plan, &[Arc<Subscriber>]),
    ) -> Result<(), ImportError> {
        let Accepting { message, content, .. } = accepting;
        let mut addressed = Vec::with_capacity(deliveries.len());
        for planned in deliveries {
            let place = planned.session as usize;
            let Some((session, to)) = plan.sessions.get(place).zip(receivers.get(place)) else { continue };
            let Some(qos) = Qos::new(planned.qos) else { continue };
            let delivery = Delivery {
                message: Arc::clone(message),
                qos,
                retain: planned.retain,
                expires_at: accepting.expires_at.unwrap_or(Timestamp::NEVER),
                matched: self.matched(planned.subscription_ids),
                place: DeliveryPlace::Record,
            };
            self.report.queued += 1;
            self.report.in_flight += u64::from(planned.sequence < session.sent_until);
            addressed.push(Addressed { to: Arc::clone(to), sequence: planned.sequence, delivery });
        }
        let retained = match retained {
            None => RetainedChange::None,
            Some(number) => {
                self.report.retained += 1;
                let owner = self.user(content).map(Box::new);
                RetainedChange::Set { number, gone: Vec::new(), publisher: publisher(content), owner }
            }
        };
        let effects = Effects { retained, receivers: addressed, ..Effects::default() };
        self.append(&self.record(accepting, effects))
    }

    /// A QoS 2 message from a client: its Packet Identifier is kept, and the broker publishes the message at its start, as a message whose
    /// delay is over.
    fn incoming(
        &mut self,
        accepting: &Accepting<'_>,
        incoming: &Incoming,
        number: u64,
        plan: &Plan,
    ) -> Result<(), ImportError> {
        let session = plan.sessions.get(incoming.session as usize);
        let Some((session, packet_id)) = session.zip(PacketId::new(incoming.packet_id)) else { return Ok(()) };
        let at = self.options.saved();
        let delayed = (!incoming.is_expired).then(|| {
            Box::new(Delay {
                number,
                due: at,
                at,
                retain: accepting.content.retain,
                session: session.key,
                client_id: session.client_id.clone(),
                owner: self.user(accepting.content).unwrap_or_else(|| session.owner.clone()),
            })
        });
        self.report.incoming += 1;
        let effects = Effects { publisher: Some((session.key, packet_id)), delayed, ..Effects::default() };
        self.append(&self.record(accepting, effects))
    }

    /// The record of a message with its effects.
    fn record(&self, accepting: &Accepting<'_>, effects: Effects) -> Record {
        let Effects { publisher, retained, receivers, delayed } = effects;
        Record::Accepted {
            publisher,
            message: Arc::clone(&accepting.message),
            qos: accepting.message.qos,
            at: self.options.saved(),
            expires_at: accepting.expires_at,
            retained,
            deduplicated: None,
            receivers: Arc::new(receivers),
            streams: TopicStreams::new(),
            sequences: None,
            durability: Durability::PowerLoss,
            is_awaited: false,
            instead_of: None,
            delayed,
            receipt: None,
        }
    }

    /// The user who published a message.
    fn user(&self, content: &Content) -> Option<Owner> {
        let user = std::str::from_utf8(&content.source_user).ok();
        let user = user.filter(|user| !user.is_empty() && self.options.users == Users::Stored);
        user.map(|user| Owner::named(user.into()))
    }

    fn matched(&self, place: u32) -> Option<Arc<Matched>> {
        let ids = self.contents.subscription_ids.get(place as usize)?;
        let ids: SmallVec<_> = ids.iter().copied().filter_map(SubscriptionId::new).collect();
        Matched::new(ids, None)
    }

    fn append(&mut self, record: &Record) -> Result<(), ImportError> {
        match &mut self.target {
            Some(target) => target.append(record),
            None => Ok(()),
        }
    }
}

/// A message that becomes a record.
struct Accepting<'a> {
    message: Arc<Message>,
    expires_at: Option<Timestamp>,
    content: &'a Content,
}

/// What a message has become part of.
struct Effects {
    publisher: Option<(SessionKey, PacketId)>,
    retained: RetainedChange,
    receivers: Vec<Addressed>,
    delayed: Option<Box<Delay>>,
}

impl Default for Effects {
    fn default() -> Self {
        Self { publisher: None, retained: RetainedChange::None, receivers: Vec::new(), delayed: None }
    }
}

fn expires_at(place: &MessagePlace) -> Option<Timestamp> {
    (place.expiry_time > 0).then(|| seconds(place.expiry_time))
}

/// The Client Identifier of the publisher, for No Local.
fn publisher(content: &Content) -> Option<ClientId> {
    let id = std::str::from_utf8(&content.source_id).ok().filter(|id| !id.is_empty());
    id.map(ClientId::from)
}

/// Takes the elements from the front for which this holds.
fn split<'a, T>(list: &mut &'a [T], mut is_first: impl FnMut(&T) -> bool) -> &'a [T] {
    let count = list.iter().take_while(|one| is_first(one)).count();
    let (first, rest) = list.split_at_checked(count).unwrap_or_default();
    *list = rest;
    first
}
