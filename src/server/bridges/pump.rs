//! Passes packets on while both connections of a bridge are open.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::connect::Pair;
use super::error::BridgeError;
use super::keep_alive::{Due, KeepAlive};
use super::plan::{rules, subscriptions};
use super::state::{Bridge, Notes};
use super::subscribing::Subscribing;
use super::transport::Transport;
use crate::bridge::{Congestion, Counts, Relay, Sends, Side};
use crate::codec::{ClientPacket, Disconnect, Publish, ReasonCode, RetainHandling, ServerPacket};
use crate::config::BridgeStart;
use crate::server::packet_link::{Incoming, LinkError, PacketLink, Reading};
use crate::topic::TopicName;

/// Why both connections end without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// The bridge is stopped.
    Stopped,
    /// A lazy bridge has nothing to do.
    Idle,
}

/// Both connections, and what passes between them.
pub(super) struct Pump {
    here: PacketLink<UnixStream>,
    there: PacketLink<Box<dyn Transport>>,
    keep_alive_here: KeepAlive,
    keep_alive_there: KeepAlive,
    relay: Relay,
    subscribing_here: Subscribing,
    subscribing_there: Subscribing,
    /// What arrived before the relay was there.
    early: Vec<(Side, Incoming)>,
    sends: Sends,
    session_present: bool,
    /// Whether all subscriptions are answered, so that whatever is published from now on passes.
    is_ready: bool,
    state_topic: Option<TopicName>,
    /// Whether the other broker has retained messages.
    retain_available: bool,
}

impl Pump {
    /// Subscribes at both brokers.
    pub(super) fn new(bridge: &Bridge, pair: Pair) -> Self {
        let (out, inward) = rules(&bridge.settings);
        let subscriptions = |rules| subscriptions(rules, RetainHandling::SendIfNew);
        let (mut at_here, mut at_there) = (subscriptions(&out), subscriptions(&inward));
        let owed = &bridge.marks.get().owed;
        for subscription in at_here.iter_mut().filter(|one| owed.contains(&one.filter.to_string())) {
            subscription.options.retain_handling = RetainHandling::Send;
        }
        for subscription in &mut at_there {
            subscription.options.qos = subscription.options.qos.min(pair.terms.maximum_qos_here);
        }
        let Pair { here, there, terms, keep_alive_here, keep_alive_there, early, session_present } = pair;
        let retain_available = terms.retain_available;
        let seed = getrandom::u64().unwrap_or(1).to_le_bytes();
        let [a, b, c, d, ..] = seed;
        let mut pump = Self {
            here,
            there,
            keep_alive_here,
            keep_alive_there,
            relay: Relay::new(terms, (out, inward), bridge.figures.counts),
            subscribing_here: Subscribing::new(u16::from_le_bytes([a, b]), bridge.settings.dedup_id),
            subscribing_there: Subscribing::new(u16::from_le_bytes([c, d]), false),
            early,
            sends: Vec::new(),
            session_present,
            is_ready: false,
            state_topic: bridge.state_topic_there(),
            retain_available,
        };
        for packet in pump.subscribing_here.begin(at_here, &bridge.stale_here) {
            pump.here.send(&packet);
        }
        for packet in pump.subscribing_there.begin(at_there, &bridge.stale_there) {
            pump.there.send(&packet);
        }
        pump
    }

    /// Passes packets on until the bridge is stopped, a lazy one is idle, or a connection fails.
    pub(super) async fn run(
        &mut self,
        bridge: &mut Bridge,
        address: &str,
        stopped: &mut oneshot::Receiver<()>,
    ) -> Result<Finish, BridgeError> {
        let mut notes = Notes::default();
        bridge.figures.subscriptions_refused = 0;
        for (side, packet) in std::mem::take(&mut self.early) {
            self.handle(side, packet, &mut notes)?;
        }
        let (mut tick, mut last) = (Instant::now(), (0, Instant::now()));
        loop {
            self.take_packets(&mut notes)?;
            bridge.say(&mut notes);
            if !self.is_ready && self.subscribing_here.is_done() && self.subscribing_there.is_done() {
                self.is_ready = true;
                self.tell_state("1");
                bridge.connected(address, self.session_present).await;
            }
            let now = Instant::now();
            if now >= tick {
                tick = now + TICK;
                self.keep_alive(now)?;
                bridge.publish(*self.relay.counts()).await;
                if self.is_ready {
                    bridge.settle_owed().await?;
                }
                let passed = self.relay.counts().messages_in + self.relay.counts().messages_out;
                if passed != last.0 {
                    last = (passed, now);
                }
                let is_idle = now >= last.1 + bridge.settings.idle_timeout && self.is_flushed();
                if bridge.settings.start == BridgeStart::Lazy && is_idle {
                    return Ok(Finish::Idle);
                }
            }
            let (reads_here, reads_there) = (self.reads_here(), self.reads_there());
            select! {
                result = self.here.step(reads_here) => result.map_err(BridgeError::Here)?,
                result = self.there.step(reads_there) => result.map_err(BridgeError::There)?,
                () = sleep_until(tick) => {}
                _ = &mut *stopped => return Ok(Finish::Stopped),
            }
        }
    }

    /// Handles what was read, as far as there is room for what follows from it.
    fn take_packets(&mut self, notes: &mut Notes) -> Result<(), BridgeError> {
        while self.reads_here() == Reading::On
            && let Some(packet) = self.here.next_incoming().map_err(BridgeError::Here)?
        {
            self.handle(Side::Here, packet, notes)?;
        }
        while self.reads_there() == Reading::On
            && let Some(packet) = self.there.next_incoming().map_err(BridgeError::There)?
        {
            self.handle(Side::There, packet, notes)?;
        }
        Ok(())
    }

    fn handle(&mut self, side: Side, incoming: Incoming, notes: &mut Notes) -> Result<(), BridgeError> {
        match (side, incoming) {
            (_, Incoming::TooLarge(message)) => {
                self.relay.on_too_large(&message.publish, message.size, &mut self.sends);
            }
            (_, Incoming::Packet(ServerPacket::Pingresp | ServerPacket::Unsuback(_))) => return Ok(()),
            (side, Incoming::Packet(ServerPacket::Suback(suback))) => {
                let subscribing = match side {
                    Side::Here => &mut self.subscribing_here,
                    Side::There => &mut self.subscribing_there,
                };
                let (refused, again) = subscribing.on_suback(side, &suback);
                notes.filters.extend(refused);
                self.sends.extend(again.map(|packet| (side, packet)));
            }
            (Side::Here, Incoming::Packet(packet)) => {
                let is_congested = self.there.unsent() > CONGESTED_BYTES;
                let congestion = if is_congested { Congestion::Congested } else { Congestion::None };
                self.relay.on_here(packet, congestion, &mut self.sends)?;
            }
            (Side::There, Incoming::Packet(packet)) => self.relay.on_there(packet, &mut self.sends)?,
        }
        notes.refusal = self.relay.take_refusal().or(notes.refusal.take());
        for (side, packet) in self.sends.drain(..) {
            match side {
                Side::Here => self.here.send(&packet),
                Side::There => self.there.send(&packet),
            };
        }
        Ok(())
    }

    /// Messages of this broker are read while the other one takes what it is sent, and the other way round.
    fn reads_here(&self) -> Reading {
        if self.there.unsent() < UNSENT_BYTES_MAX { Reading::On } else { Reading::Paused }
    }

    fn reads_there(&self) -> Reading {
        if self.here.unsent() < UNSENT_BYTES_MAX { Reading::On } else { Reading::Paused }
    }

    fn keep_alive(&mut self, now: Instant) -> Result<(), BridgeError> {
        let silent = || LinkError::Lost(std::io::ErrorKind::TimedOut.into());
        let is_read = self.reads_there() == Reading::On;
        match self.keep_alive_there.due(now, self.there.last_use(), is_read) {
            Due::Ping => _ = self.there.send(&ClientPacket::Pingreq),
            Due::Silent => return Err(BridgeError::There(silent())),
            Due::Nothing => {}
        }
        let is_read = self.reads_here() == Reading::On;
        match self.keep_alive_here.due(now, self.here.last_use(), is_read) {
            Due::Ping => _ = self.here.send(&ClientPacket::Pingreq),
            Due::Silent => return Err(BridgeError::Here(silent())),
            Due::Nothing => {}
        }
        Ok(())
    }

    /// What has passed.
    pub(super) const fn counts(&self) -> &Counts {
        self.relay.counts()
    }

    /// Whether all subscriptions are answered.
    pub(super) const fn is_ready(&self) -> bool {
        self.is_ready
    }

    fn is_flushed(&self) -> bool {
        self.is_ready && self.here.unsent() == 0 && self.there.unsent() == 0
    }

    /// Publishes the state of the bridge at the other broker.
    fn tell_state(&mut self, state: &'static str) {
        if let Some(topic) = self.state_topic.clone() {
            let retain = self.retain_available;
            let publish = Publish { retain, ..Publish::new(topic, Bytes::from_static(state.as_bytes())) };
            self.there.send(&ClientPacket::Publish(publish));
        }
    }

    /// Ends both connections, as far as the brokers do their part in a short time. Their Sessions stay.
    pub(super) async fn finish(mut self) {
        self.tell_state("0");
        let end = ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection)));
        self.here.send(&end);
        self.there.send(&end);
        let _ended_or_not = tokio::join!(finish(self.here), finish(self.there));
    }
}

async fn finish<S: AsyncRead + AsyncWrite + Unpin>(link: PacketLink<S>) {
    // The other side may be gone.
    let _ended_or_not = timeout(FINISH_TIMEOUT, link.finish()).await;
}

/// How often Keep Alive and the figures are looked at.
const TICK: Duration = Duration::from_secs(1);
/// With so many unsent bytes for the other broker, messages of QoS 0 are dropped.
const CONGESTED_BYTES: usize = 256 << 10;
/// With so many unsent bytes for a broker, nothing is read from the other one. Packets that follow from one read come on top: a message of the
/// Maximum Packet Size at most.
const UNSENT_BYTES_MAX: usize = 1 << 20;
/// For the last bytes, and for a broker to close its side.
const FINISH_TIMEOUT: Duration = Duration::from_millis(500);
