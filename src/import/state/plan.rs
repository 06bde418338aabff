//! Decides what becomes of each session and of each message of it.

use super::contents::{Client, ClientMessage, Contents, Session, State};
use super::error::Fault;
use super::options::{Options, Users};
use super::report::{RemarkKind, Report};
use crate::broker::Owner;
use crate::codec::ClientId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// What is written. Messages are given by their place in the contents.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) sessions: Vec<PlannedSession>,
    /// The messages for sessions, in the order of the messages.
    pub(super) deliveries: Vec<PlannedDelivery>,
    /// The messages from clients, in the order of the messages.
    pub(super) incoming: Vec<Incoming>,
    /// The retained messages, ascending.
    pub(super) retained: Vec<u32>,
}

/// A session that is taken over.
#[derive(Debug)]
pub(super) struct PlannedSession {
    pub(super) key: SessionKey,
    /// The place of its client, ascending.
    pub(super) client: u32,
    pub(super) client_id: ClientId,
    pub(super) owner: Owner,
    /// In seconds; `u32::MAX`: never.
    pub(super) expiry_interval: u32,
    /// The interval that counts since the connection ended, and when that was.
    pub(super) detached: (u32, Timestamp),
    /// Messages before this sequence may have been sent.
    pub(super) sent_until: u64,
    /// The sequences of QoS 2 messages that the client has received.
    pub(super) released: Vec<u64>,
}

/// A message for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlannedDelivery {
    pub(super) sequence: u64,
    pub(super) message: u32,
    /// The place of the session.
    pub(super) session: u32,
    pub(super) subscription_ids: u32,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// A QoS 2 message from a client, which mosquitto had not published yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) message: u32,
    pub(super) session: u32,
    pub(super) packet_id: u16,
    /// Whether it had expired, so that only its Packet Identifier is of use.
    pub(super) is_expired: bool,
}

/// Plans what is written of these contents.
pub(super) fn plan(contents: &Contents, options: &Options, report: &mut Report) -> Result<Plan, Fault> {
    let mut planner = Planner { contents, options, report, plan: Plan::default() };
    let mut messages = contents.client_messages.as_slice();
    for (place, client) in (0..).zip(&contents.clients) {
        let count = messages.partition_point(|message| message.client <= place);
        let (of_client, rest) = messages.split_at_checked(count).unwrap_or_default();
        messages = rest;
        planner.client(place, client, of_client)?;
    }
    planner.retained()?;
    planner.report.remark_several(RemarkKind::Interim, u64::from(contents.is_interim), &[]);
    planner.report.remark_several(RemarkKind::Will, u64::from(contents.wills), &[]);
    let mut plan = planner.plan;
    plan.deliveries.sort_unstable_by_key(|delivery| (delivery.message, delivery.session, delivery.sequence));
    plan.incoming.sort_by_key(|incoming| incoming.message);
    Ok(plan)
}

struct Planner<'a> {
    contents: &'a Contents,
    options: &'a Options,
    report: &'a mut Report,
    plan: Plan,
}

impl Planner<'_> {
    fn client(&mut self, place: u32, client: &Client, messages: &[ClientMessage]) -> Result<(), Fault> {
        let count = messages.len() as u64;
        let Some(session) = &client.session else {
            self.report.remark_several(RemarkKind::Stray, count, &client.id);
            return Ok(());
        };
        match self.session(place, client, session) {
            Ok(planned) => {
                self.plan.sessions.push(planned);
                self.queue(session, messages)
            }
            Err(kind) => {
                self.report.remark(kind, &client.id);
                self.report.remark_several(RemarkKind::MessageOfSession, count, &[]);
                Ok(())
            }
        }
    }

    /// The session without its queue, or why it is left out.
    fn session(&mut self, place: u32, client: &Client, session: &Session) -> Result<PlannedSession, RemarkKind> {
        let id = std::str::from_utf8(&client.id).ok().filter(|id| !id.is_empty() && !id.contains('\0'));
        let id = id.ok_or(RemarkKind::SessionUnnamed)?;
        if self.options.left_out.contains(id) {
            return Err(RemarkKind::SessionLeftOut);
        }
        let detached = self.expiry(session)?;
        if id.starts_with(BRIDGE_PREFIX) {
            self.report.remark(RemarkKind::BridgeLike, &client.id);
        }
        let user = session.user.as_deref().filter(|_| self.options.users == Users::Stored);
        if session.has_foreign_user && self.options.users == Users::Stored {
            self.report.remark(RemarkKind::UserForeign, &client.id);
        }
        self.report.sessions_of_users += u64::from(user.is_some());
        Ok(PlannedSession {
            key: SessionKey(self.plan.sessions.len() as u64 + 1),
            client: place,
            client_id: ClientId::from(id),
            owner: user.map_or(Owner::Unknown, |user| Owner::named(user.into())),
            expiry_interval: session.expiry_interval,
            detached,
            sent_until: 1,
            released: Vec::new(),
        })
    }

    /// The interval that counts since the connection ended, and when that was, or why the session has ended.
    fn expiry(&self, session: &Session) -> Result<(u32, Timestamp), RemarkKind> {
        let Options { now, persistent_client_expiration, .. } = *self.options;
        let (now, saved) = (Timestamp(now.0), self.options.saved());
        let interval = session.expiry_interval;
        let ended = if session.disconnected_at > 0 { seconds(session.disconnected_at).min(now) } else { saved };
        let (interval, at) = match (interval, session.expiry_time) {
            (0, _) => return Err(RemarkKind::SessionEnded),
            (u32::MAX, 0) => match persistent_client_expiration {
                None => return Ok((u32::MAX, ended)),
                Some(interval) => (interval, ended),
            },
            (interval, 0) => (interval, saved),
            // mosquitto has a limit of its own, which it has applied.
            (u32::MAX, deadline) => {
                let left = seconds(deadline).since(saved).as_secs();
                (u32::try_from(left).unwrap_or(u32::MAX - 1), saved)
            }
            (interval, deadline) => (interval, seconds(deadline.saturating_sub(i64::from(interval))).min(now)),
        };
        let is_over = now.since(at).as_secs() >= u64::from(interval);
        if is_over { Err(RemarkKind::SessionExpired) } else { Ok((interval, at)) }
    }

    /// Plans the messages of the last session.
    fn queue(&mut self, session: &Session, messages: &[ClientMessage]) -> Result<(), Fault> {
        let (mut sent, mut waiting) = (Vec::new(), Vec::new());
        let name = self.last_name().to_owned();
        for message in messages {
            if message.is(ClientMessage::INCOMING) {
                self.incoming(message)?;
                continue;
            }
            let is_released = message.qos == 2 && message.state == State::Released;
            let is_sent = is_released || message.state == State::Sent || message.is(ClientMessage::DUP);
            let place = self.contents.message(message.store_id);
            let is_expired = place.is_some_and(|place| self.is_expired(place));
            let kind = match place {
                _ if message.qos == 0 => RemarkKind::QueuedQos0,
                None if !is_released => RemarkKind::MessageMissing,
                Some(_) if is_expired && !is_sent => RemarkKind::QueuedExpired,
                place => {
                    let one = Placed { message: *message, place: place.unwrap_or(usize::MAX), is_released };
                    if is_sent {
                        sent.push(one)
                    } else {
                        waiting.push(one)
                    }
                    continue;
                }
            };
            self.report.remark(kind, name.as_bytes());
        }
        let mut next = u64::from(session.last_packet_id) + 1;
        self.in_flight(sent, &mut waiting, &mut next)?;
        for one in waiting {
            self.deliver(&one, next)?;
            next += 1;
        }
        Ok(())
    }

    /// Gives messages in flight the sequences from which the broker derives the Packet Identifiers that the client knows. Those that have
    /// none of their own are sent as new ones.
    ///
    /// All sequences are within one round of identifiers, in the order in which mosquitto gave the identifiers.
    fn in_flight(&mut self, sent: Vec<Placed>, waiting: &mut Vec<Placed>, next: &mut u64) -> Result<(), Fault> {
        let first = sent.iter().map(|one| one.message.packet_id).find(|id| *id != 0);
        let first = u64::from(first.unwrap_or(1));
        let distance = |one: &Placed| match u64::from(one.message.packet_id) {
            0 => u64::MAX,
            id => (id + PACKET_IDS - first) % PACKET_IDS,
        };
        let mut sent: Vec<_> = sent.into_iter().map(|one| (distance(&one), one)).collect();
        sent.sort_by_key(|(distance, _)| *distance);
        let mut before = None;
        let mut without = Vec::new();
        for (distance, one) in sent {
            if distance == u64::MAX || before == Some(distance) {
                let name = self.last_name().to_owned();
                self.report.remark(RemarkKind::IdentifierTaken, name.as_bytes());
                // The client has a released message already.
                without.extend((!one.is_released).then_some(one));
                continue;
            }
            before = Some(distance);
            let sequence = first + distance;
            *next = sequence + 1;
            if one.is_released {
                self.plan.sessions.last_mut().into_iter().for_each(|session| session.released.push(sequence));
            } else {
                self.deliver(&one, sequence)?;
            }
        }
        if before.is_some() {
            self.plan.sessions.last_mut().into_iter().for_each(|session| session.sent_until = *next);
        }
        waiting.splice(0..0, without);
        Ok(())
    }

    fn deliver(&mut self, one: &Placed, sequence: u64) -> Result<(), Fault> {
        let ClientMessage { qos, subscription_ids, .. } = one.message;
        let (message, session) = (number(one.place)?, number(self.plan.sessions.len() - 1)?);
        let retain = one.message.is(ClientMessage::RETAIN);
        self.plan.deliveries.push(PlannedDelivery { sequence, message, session, subscription_ids, qos, retain });
        Ok(())
    }

    /// A message from a client. Those below QoS 2 are sent again by the client.
    fn incoming(&mut self, message: &ClientMessage) -> Result<(), Fault> {
        let name = self.last_name().to_owned();
        let place = self.contents.message(message.store_id);
        let kind = match place {
            _ if message.qos != 2 || message.packet_id == 0 => RemarkKind::IncomingIncomplete,
            None => RemarkKind::MessageMissing,
            Some(place) => {
                let (session, packet_id) = (number(self.plan.sessions.len() - 1)?, message.packet_id);
                let is_expired = self.is_expired(place);
                self.plan.incoming.push(Incoming { message: number(place)?, session, packet_id, is_expired });
                return Ok(());
            }
        };
        self.report.remark(kind, name.as_bytes());
        Ok(())
    }

    fn retained(&mut self) -> Result<(), Fault> {
        for store_id in &self.contents.retained {
            match self.contents.message(*store_id) {
                None => self.report.remark(RemarkKind::MessageMissing, &[]),
                Some(place) if self.is_expired(place) => self.report.remark(RemarkKind::RetainedExpired, &[]),
                Some(place) => self.plan.retained.push(number(place)?),
            }
        }
        Ok(())
    }

    fn is_expired(&self, place: usize) -> bool {
        let expiry_time = self.contents.messages.get(place).map_or(0, |message| message.expiry_time);
        expiry_time > 0 && seconds(expiry_time).0 <= self.options.now.0
    }

    /// The name of the last session.
    fn last_name(&self) -> &str {
        self.plan.sessions.last().map_or("", |session| session.client_id.as_str())
    }
}

/// A message of a client, with the place of its content.
#[derive(Debug, Clone, Copy)]
struct Placed {
    message: ClientMessage,
    place: usize,
    is_released: bool,
}

fn number(place: usize) -> Result<u32, Fault> {
    u32::try_from(place).map_err(|_| Fault::TooMany)
}

/// A time of mosquitto, in seconds since the Unix epoch.
pub(super) fn seconds(time: i64) -> Timestamp {
    Timestamp(u64::try_from(time).unwrap_or_default().saturating_mul(1_000))
}

/// The number of Packet Identifiers.
const PACKET_IDS: u64 = 65_535;
/// How the Client Identifiers of the local sides of mosquitto's bridges begin, if the configuration names none.
const BRIDGE_PREFIX: &str = "local.";
