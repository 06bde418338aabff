//! What the parts of a bridge share, and what they say about it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::time::timeout;

use super::error::BridgeError;
use super::marks::{MarkStore, Marks};
use super::plan::local_filters;
use super::subscribing::RefusedFilter;
use crate::bridge::{Counts, Refusal, Side, in_words};
use crate::broker::{Answer, ClientView, OperatorMessage, Query, TopicQuery};
use crate::codec::{ClientId, Message, Qos};
use crate::config::{self, BridgeProtocol};
use crate::routing::ShardId;
use crate::server::LogEvent;
use crate::server::bridge_figures::{BridgeFigures, BridgeState};
use crate::server::log::{Whom, allows, log_line};
use crate::server::own_client::{Kind, OwnClients};
use crate::server::queries::Queries;
use crate::server::status::Status;
use crate::topic::{Filter, TopicName};

/// A bridge.
pub(super) struct Bridge {
    pub(super) settings: config::Bridge,
    pub(super) own: OwnClients,
    pub(super) queries: Queries,
    pub(super) status: Arc<Status>,
    /// How this broker calls itself.
    pub(super) here_id: ByteString,
    /// Filters of earlier settings, at this broker and at the other one.
    pub(super) stale_here: Vec<String>,
    pub(super) stale_there: Vec<String>,
    /// Whether it has subscribed here, so that messages wait for the other broker.
    pub(super) is_subscribed_here: bool,
    /// Filters here that were not subscribed to for the other broker, which has not been sent their retained messages.
    pub(super) unsent: Vec<Filter>,
    /// What is to be done for the Sessions of both brokers.
    pub(super) marks: Marks,
    pub(super) figures: BridgeFigures,
    /// Whether CONNECT has the bridge bit.
    pub(super) has_bridge_bit: bool,
    /// Whether CONNECT has a Will, unless the settings say otherwise.
    pub(super) has_will: bool,
    /// The shard that had the Session here the last time.
    shard: u16,
    /// Which address is tried next.
    pub(super) next_address: usize,
    /// Attempts since the last connection that lasted.
    pub(super) attempts: u32,
}

/// What a bridge is to say about the last packets.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) filters: Vec<RefusedFilter>,
    pub(super) refusal: Option<Refusal>,
}

impl Bridge {
    pub(super) fn new(
        settings: config::Bridge,
        (own, queries, status): (OwnClients, Queries, Arc<Status>),
        (here_id, marks): (ByteString, MarkStore),
        (stale_here, stale_there): (Vec<String>, Vec<String>),
    ) -> Self {
        let (marks, damage) = Marks::read(marks, &settings.name, local_filters(&settings));
        if let Some(damage) = damage {
            let (bridge, reason) = (&*settings.name, &*damage.to_string());
            log_line!(
                BridgeMarkDamaged { bridge, reason },
                "bridge {bridge}: {reason}: messages that were on their way may come twice, and retained ones again"
            );
        }
        let figures = BridgeFigures::new(&settings.name, status.now());
        let is_old = settings.protocol_version == BridgeProtocol::V3_1_1;
        let has_bridge_bit = settings.bridge_protocol && is_old;
        Self {
            settings,
            own,
            queries,
            status,
            here_id,
            stale_here,
            stale_there,
            is_subscribed_here: false,
            unsent: Vec::new(),
            marks,
            figures,
            has_bridge_bit,
            has_will: true,
            shard: 0,
            next_address: 0,
            attempts: 0,
        }
    }

    /// Says that both connections are open and all subscriptions answered.
    pub(super) async fn connected(&mut self, address: &str, session_present: bool) {
        self.figures.connects += 1;
        self.enter(BridgeState::Connected);
        let name = &*self.settings.name;
        let resumed = if session_present { ", and its session there is resumed" } else { "" };
        log_line!(
            BridgeConnected { bridge = name, address, session_present },
            "bridge {name} is connected to {address}{resumed}"
        );
        self.tell_state_here("1").await;
    }

    /// Logs what a broker has refused.
    pub(super) fn say(&mut self, notes: &mut Notes) {
        let name = &*self.settings.name;
        for refused in notes.filters.drain(..) {
            self.figures.subscriptions_refused += 1;
            let (by, reason) = (whose(refused.by), in_words(refused.reason_code, None));
            let topic = &*refused.filter;
            log_line!(
                BridgeRefused { bridge = name, topic, reason = &*reason },
                "bridge {name}: {by} broker refuses the subscription to {topic}: {reason}"
            );
        }
        if let Some(refusal) = notes.refusal.take()
            && allows(LogEvent::BridgeRefused, Whom::default(), self.status.now())
        {
            let (by, reason) = (whose(refusal.by), in_words(refusal.reason_code, refusal.reason.as_deref()));
            log_line!(
                BridgeRefused { bridge = name, reason = &*reason },
                "bridge {name}: {by} broker refuses a message: {reason}"
            );
        }
    }

    pub(super) fn enter(&mut self, state: BridgeState) {
        self.figures.enter(state, self.status.now());
        self.status.publish_bridge(self.figures.clone());
    }

    /// Publishes the figures.
    pub(super) async fn publish(&mut self, counts: Counts) {
        self.figures.counts = counts;
        // A shard that takes its time must not hold up the messages.
        self.figures.queued_messages = timeout(QUERY_PATIENCE, self.queued()).await.unwrap_or_default();
        self.status.publish_bridge(self.figures.clone());
    }

    /// Where its state is published at the other broker.
    pub(super) fn state_topic_there(&self) -> Option<TopicName> {
        let topic = self.settings.state_topic().filter(|_| !self.settings.notifications_local_only)?;
        TopicName::new(topic.into()).ok()
    }

    /// Publishes its state at this broker.
    pub(super) async fn tell_state_here(&self, state: &'static str) {
        let topic = self.settings.state_topic().and_then(|topic| TopicName::new(topic.into()).ok());
        let Some(topic) = topic else { return };
        let message = Message::new(topic, Bytes::from_static(state.as_bytes()));
        let (qos, retain) = (Qos::AtLeastOnce, true);
        let message = OperatorMessage { message, qos, retain, message_expiry_interval: None };
        let query = Query::Topics(TopicQuery::Publish(Box::new(message)));
        // A shard that doesn't answer has other troubles.
        let _ = self.queries.ask(ShardId(0), query).await;
    }

    /// The messages in the queue of its Session here.
    async fn queued(&mut self) -> Option<usize> {
        self.session_here(Query::Client).await.map(|session| session.queued_messages)
    }

    /// When the other broker has been sent the retained messages that are owed, or they are in the queue, notes that they are not owed any more.
    pub(super) async fn settle_owed(&mut self) -> Result<(), BridgeError> {
        if self.marks.get().owed.is_empty() {
            return Ok(());
        }
        let session = timeout(QUERY_PATIENCE, self.session_here(Query::StableClient)).await.ok().flatten();
        if session.is_some_and(|session| !session.is_replaying) {
            self.marks.change(|mark| mark.owed.clear()).await?;
        }
        Ok(())
    }

    async fn session_here(&mut self, query: fn(ClientId) -> Query) -> Option<Box<ClientView>> {
        let client_id = Kind::Bridge.client_id(&self.settings.name);
        let shards = u16::try_from(self.queries.shards()).unwrap_or(u16::MAX);
        for number in [self.shard].into_iter().chain(0..shards) {
            let answer = self.queries.ask(ShardId(number), query(client_id.clone())).await;
            if let Ok(Answer::Client(Some(session))) = answer {
                self.shard = number;
                return Some(session);
            }
        }
        None
    }

    /// Logs and counts an attempt to connect that failed.
    pub(super) fn failed(&mut self, address: &str, error: &BridgeError) {
        self.figures.failures += 1;
        let (name, reason) = (&*self.settings.name, error.to_string());
        if allows(LogEvent::BridgeFailed, Whom::default(), self.status.now()) {
            log_line!(
                BridgeFailed { bridge = name, address, reason = &*reason },
                "bridge {name} cannot connect to {address}: {reason}"
            );
        }
        self.figures.failed(&reason, self.status.now());
        self.status.publish_bridge(self.figures.clone());
    }
}

const fn whose(side: Side) -> &'static str {
    match side {
        Side::Here => "this",
        Side::There => "the other",
    }
}

/// A shard answers within milliseconds.
const QUERY_PATIENCE: Duration = Duration::from_millis(100);
