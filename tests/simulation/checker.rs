//! Checks of the final state.

use std::collections::BTreeMap;

use oncemq::broker::{Counters, DropReason, Settings};
use oncemq::codec::Qos;

use crate::client::RequestedSubscription;
use crate::groups::Groups;
use crate::ledger::{Ledger, Message, Received};
use crate::presence::{Attempt, Presence};
use crate::receipts::ReceiptLedger;
use crate::refusing::Refused;
use crate::store::Store;
use crate::streams::StreamLedger;
use crate::tap::{SessionTap, Tap};
use crate::world::World;

/// All recorded state of a run that the checks need.
#[derive(Debug)]
pub(crate) struct Checker {
    /// By connection.
    pub(crate) taps: Vec<Tap>,
    /// By client.
    pub(crate) sessions: Vec<SessionTap>,
    pub(crate) presence: Presence,
    pub(crate) ledger: Ledger,
    pub(crate) store: Store,
    pub(crate) streams: StreamLedger,
    pub(crate) refused: Refused,
    pub(crate) groups: Groups,
    pub(crate) receipts: ReceiptLedger,
    /// The number of times that each connection's Will was published.
    pub(crate) wills_seen: BTreeMap<usize, u32>,
    pub(crate) inflight_messages_max: usize,
    committed_at: u64,
    /// The first fault: the client, and a description.
    pub(crate) found: Option<(Option<usize>, String)>,
}

impl Checker {
    pub(crate) fn new(settings: &Settings, clients: usize) -> Self {
        Self {
            taps: Vec::new(),
            sessions: vec![SessionTap::default(); clients],
            presence: Presence::default(),
            ledger: Ledger::default(),
            store: Store::default(),
            streams: StreamLedger::default(),
            refused: Refused::default(),
            groups: Groups::default(),
            receipts: ReceiptLedger::default(),
            wills_seen: BTreeMap::new(),
            inflight_messages_max: usize::from(settings.inflight_messages_max.get()),
            committed_at: 0,
            found: None,
        }
    }

    pub(crate) fn on_commit(&mut self, now: u64, survives: bool) {
        self.committed_at = now;
        self.ledger.on_commit(survives);
    }

    /// Handles a crash of the broker and its restart from stable data.
    pub(crate) fn on_crash(&mut self, now: u64, restart_at: u64) {
        self.presence.crashed(now, self.committed_at, restart_at);
        self.sessions.iter_mut().for_each(SessionTap::on_crash);
        self.ledger.on_crash();
        self.groups.forget();
        self.receipts.on_crash();
    }

    pub(crate) fn on_connect(&mut self, connection: usize, attempt: Attempt) {
        assert_eq!(connection, self.taps.len());
        self.taps.push(Tap::default());
        self.presence.attempts.push(attempt);
    }

    pub(crate) fn find(&mut self, client: usize, text: impl Into<String>) {
        self.found.get_or_insert((Some(client), text.into()));
    }
}

impl World {
    /// Checks the settled state: no exchange is in progress.
    pub(crate) fn check_settled(&mut self) {
        let mut missing = 0;
        let result = self.check_clients().and_then(|()| {
            for client in 0..self.clients.len() {
                missing += self.check_delivered(client).map_err(|text| (Some(client), text))?;
            }
            self.check_batches().map_err(|text| (None, text))?;
            self.check_streams().map_err(|text| (None, text))?;
            self.check_readers()?;
            self.check_consumers()?;
            self.check_groups().map_err(|text| (None, text))?;
            self.check_kept()?;
            self.check_receipts().map_err(|text| (None, text))?;
            self.check_fates()?;
            self.check_refused().map_err(|text| (None, text))?;
            self.check_shares().map_err(|text| (None, text))?;
            self.check_retained().map_err(|text| (Some(0), text))?;
            self.check_all_read().map_err(|text| (None, text))?;
            self.check_answered().map_err(|text| (None, text))?;
            self.check_shards(missing).map_err(|text| (None, text))
        });
        if let Err((client, text)) = result {
            self.fail(client, text);
        }
    }

    fn check_clients(&self) -> Result<(), (Option<usize>, String)> {
        for client in &self.clients {
            let fault = |text: String| Err((Some(client.number), text));
            if !client.is_connected() {
                return fault("could not connect".to_owned());
            }
            if !client.outgoing.is_empty() || !client.waiting.is_empty() {
                return fault(format!("{:?} and {:?} are not acknowledged", client.outgoing, client.waiting));
            }
            if !client.received.is_empty() && !client.uncertain {
                return fault(format!("{:?} are not released", client.received));
            }
            if client.subscriptions.iter().any(|subscription| {
                subscription.until.is_none() && (subscription.ending || subscription.since.is_none())
            }) {
                return fault("SUBSCRIBE or UNSUBSCRIBE is not answered".to_owned());
            }
        }
        let paused = self.connections.iter().find(|connection| connection.is_open() && connection.broker.paused);
        paused.map_or(Ok(()), |connection| Err((Some(connection.client), "still paused".to_owned())))
    }

    /// Checks that every matching message arrived as often as its QoS guarantees. Returns the number of missing
    /// messages that may be dropped.
    fn check_delivered(&self, client: usize) -> Result<u64, String> {
        let mut missing = 0;
        for message in &self.checker.ledger.messages {
            let Some((sent_at, _)) = message.sent_at.filter(|_| !message.clears) else { continue };
            let settled = self.clients[client].subscriptions.iter().filter(|subscription| {
                subscription.filter.share.is_none()
                    && subscription.filter.topic_filter.matches(&message.topic)
                    && subscription.is_settled(sent_at)
                    && !(subscription.no_local && message.publisher == client)
            });
            let Some(granted) = settled.map(|subscription| subscription.qos).max() else { continue };
            let received = self.received(client, message);
            let least = u32::from(granted.min(message.qos) > Qos::AtMostOnce && self.must_arrive(client, message));
            if received.live < least && !self.is_laid_aside(client, message) {
                if !self.mix.drops() {
                    return Err(format!("message {} did not arrive: {message:?}", message.number));
                }
                missing += 1;
            }
        }
        Ok(missing)
    }

    fn received(&self, client: usize, message: &Message) -> Received {
        self.checker.ledger.received.get(&(client, message.number)).copied().unwrap_or_default()
    }

    /// Checks that each client with a settled subscription to both messages of a batch got both or none, also of a batch that was not acknowledged.
    fn check_batches(&self) -> Result<(), String> {
        let messages = &self.checker.ledger.messages;
        if self.mix.drops() || self.mix.expiry {
            return Ok(());
        }
        for (first, second) in messages.iter().filter_map(|message| Some((message, &messages[message.companion?]))) {
            let is_kept = self.mix.keeps(&first.topic) && self.mix.keeps(&second.topic);
            let Some((sent_at, _)) = first.sent_at.filter(|_| is_kept) else { continue };
            for client in &self.clients {
                let gets = |message: &Message| {
                    client.subscriptions.iter().any(|subscription| {
                        subscription.filter.share.is_none()
                            && subscription.filter.topic_filter.matches(&message.topic)
                            && subscription.qos > Qos::AtMostOnce
                            && subscription.is_settled(sent_at)
                            && !subscription.no_local
                    })
                };
                // A client that lost its Session may have lost one of the two messages with it.
                let is_judged = gets(first) && gets(second) && client.has_one_session() && client.survives_crashes();
                let refusals = self.refusals(client.number, first.number) + self.refusals(client.number, second.number);
                let fits = client.profile.maximum_packet_size.is_none() && refusals == 0;
                let [first_count, second_count] =
                    [first, second].map(|message| self.received(client.number, message).live);
                if is_judged && fits && (first_count == 0) != (second_count == 0) {
                    return Err(format!(
                        "client {} got {first_count} and {second_count} copies of the messages {} and {} of a batch",
                        client.number, first.number, second.number
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether the message must arrive.
    fn must_arrive(&self, client: usize, message: &Message) -> bool {
        let fits = self.clients[client].profile.maximum_packet_size.is_none() || message.size < 50;
        message.acknowledged && message.expiry.is_none() && fits && self.mix.keeps(&message.topic)
    }

    /// Checks that each message of a share went to one member, if its members were present all the time.
    fn check_shares(&self) -> Result<(), String> {
        for share in ["one", "two"] {
            let is_member = |subscription: &&RequestedSubscription| {
                subscription.filter.share.as_ref().is_some_and(|name| name.as_str() == share)
            };
            let members = self
                .clients
                .iter()
                .filter(|client| client.subscriptions.iter().any(|subscription| is_member(&subscription)));
            let members: Vec<_> = members.collect();
            // A crash loses the messages of a transient member. A member whose Session ended loses QoS 2 messages that
            // were sent before. [MQTT-4.8.2-5]
            let unbroken = members.iter().all(|client| client.has_one_session());
            for message in &self.checker.ledger.messages {
                let Some((sent_at, _)) = message.sent_at.filter(|_| message.topic.as_str().starts_with("s/")) else {
                    continue;
                };
                let is_settled = members.iter().any(|client| {
                    client
                        .subscriptions
                        .iter()
                        .any(|subscription| is_member(&subscription) && subscription.is_settled(sent_at))
                });
                let received = self
                    .clients
                    .iter()
                    .filter(|client| client.subscriptions.iter().any(|subscription| is_member(&subscription)));
                let received: u32 = received.map(|client| self.received(client.number, message).live).sum();
                let fits = members.iter().all(|client| self.must_arrive(client.number, message));
                let last = self.mix.crash_every.is_none() || members.iter().all(|client| client.survives_crashes());
                let outlives = message.qos == Qos::AtLeastOnce && last;
                let lasting = outlives || message.qos >= Qos::AtLeastOnce && unbroken;
                let must = lasting && is_settled && fits && !self.mix.drops();
                if received < u32::from(must) {
                    return Err(format!("no member of share {share} got message {}", message.number));
                }
                if message.qos != Qos::AtLeastOnce && received > message.copies() {
                    return Err(format!("{received} of share {share} got message {}", message.number));
                }
            }
        }
        Ok(())
    }

    /// Checks the retained messages that the watcher received at the end.
    fn check_retained(&self) -> Result<(), String> {
        let audit = self.clients[0].subscriptions.iter().find(|subscription| subscription.filter.to_string() == "r/#");
        if !audit.is_some_and(|subscription| subscription.is_settled(self.now)) {
            return if self.mix.retained {
                Err("no client subscribed to the retained messages".to_owned())
            } else {
                Ok(())
            };
        }
        let ledger = &self.checker.ledger;
        for message in ledger.messages.iter().filter(|message| message.retain && !message.clears) {
            let payload = message.payload();
            let expected = ledger.retained.get(&message.topic) == Some(&payload);
            let replayed = self.received(0, message).replayed;
            let candidates = ledger.retained_candidates.get(&message.topic);
            if candidates
                .is_some_and(|candidates| replayed == 0 || (replayed == 1 && candidates.contains(&Some(payload))))
            {
                continue;
            }
            if replayed != u32::from(expected) {
                return Err(format!(
                    "message {} is retained: {expected}, and arrived {replayed} times",
                    message.number
                ));
            }
        }
        Ok(())
    }

    fn total(&self) -> Counters {
        let all = self.shards.iter().map(|side| *side.shard.counters());
        all.fold(Counters::default(), |sum, shard| sum + shard)
    }

    fn check_shards(&self, missing: u64) -> Result<(), String> {
        let total = self.total();
        let clients = self.clients.len() as u64;
        let numbers = [
            ("queued messages", total.queued_messages, 0),
            ("queued bytes", total.queued_bytes, 0),
            ("connections", total.connections, clients),
            ("connected Sessions", total.sessions_connected, clients),
            ("Sessions", total.sessions, clients),
            ("protocol errors", total.protocol_errors, 0),
            ("unstable", self.shards.iter().map(|side| side.shard.unstable()).sum(), 0),
        ];
        if let Some((name, is, must)) = numbers.iter().find(|(_, is, must)| is != must) {
            return Err(format!("{name}: {is}, not {must}"));
        }
        let dropped = total.dropped[DropReason::QueueFull as usize];
        if missing > dropped {
            return Err(format!("{missing} messages are missing, but {dropped} were dropped"));
        }
        let store = &self.checker.store.sessions;
        let transient = &self.checker.store.transient;
        if let Some((key, queued)) = store.iter().find(|(key, queued)| !queued.is_empty() && !transient.contains(key)) {
            return Err(format!("the store contains {queued:?} for {key:?}, whose queue is empty"));
        }
        // For a Session that ends with its connection, its Will is stored, and its queue in memory was lost.
        let connections = self.clients.iter().filter_map(|client| client.connection);
        let attempts = connections.map(|number| &self.checker.presence.attempts[number]);
        let (durable, others): (Vec<&Attempt>, Vec<_>) = attempts.partition(|attempt| attempt.expiry > 0);
        let wills = others.iter().filter(|attempt| attempt.will_delay.is_some()).count();
        let transient = store.keys().filter(|key| transient.contains(key)).count();
        if store.len() - transient != durable.len() || !(wills..=others.len()).contains(&transient) {
            let (stored, durable) = (store.len() - transient, durable.len());
            return Err(format!(
                "the store contains {stored} Sessions, not {durable}, and {transient} for their Wills, not {wills}"
            ));
        }
        Ok(())
    }

    /// Checks that all clients have disconnected and all delays have passed.
    pub(crate) fn check_left(&mut self) {
        let total = self.total();
        if total.connections > 0 || total.sessions_connected > 0 {
            let text = format!("{} connections, {} Sessions are left", total.connections, total.sessions_connected);
            self.fail(None, text);
        }
        if self.checker.store.sessions.len() as u64 != total.sessions {
            let text =
                format!("the store contains {} Sessions, not {}", self.checker.store.sessions.len(), total.sessions);
            self.fail(None, text);
        }
        if let Err((client, text)) = self.check_wills() {
            self.fail(Some(client), text);
        }
    }
}
