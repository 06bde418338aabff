//! One bridge: when it connects, and where.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::error::BridgeError;
use super::plan::{lacking, rules};
use super::pump::{Finish, Pump};
use super::state::{Bridge, Notes};
use super::subscribed;
use super::subscribing::Subscribing;
use crate::bridge::Side;
use crate::codec::{ClientPacket, Connack, Disconnect, ReasonCode, ServerPacket, Subscription};
use crate::config::{AddressOrder, BridgeAddress, BridgeProtocol, BridgeStart};
use crate::server::bridge_figures::BridgeState;
use crate::server::log::log_line;
use crate::server::packet_link::Reading;

impl Bridge {
    /// Runs until it is stopped, or for ever.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        self.publish(self.figures.counts).await;
        self.tell_state_here("0").await;
        let addresses = self.settings.parsed_addresses();
        loop {
            // From now on messages wait for the other broker, which may be away.
            select! {
                () = self.begin_session_here() => {}
                _ = &mut stopped => break,
            }
            if self.settings.start == BridgeStart::Lazy {
                self.enter(BridgeState::Idle);
                select! {
                    () = self.until_queued() => {}
                    _ = &mut stopped => break,
                }
            }
            self.enter(BridgeState::Connecting);
            let was_connected = match self.connect_and_pass(&addresses, &mut stopped).await {
                Ok(Finish::Stopped) => break,
                Ok(Finish::Idle) => continue,
                Err(was_connected) => was_connected,
            };
            if self.settings.start == BridgeStart::Once && was_connected {
                self.enter(BridgeState::Ended);
                // The figures stay until the bridge is stopped.
                let _ = (&mut stopped).await;
                break;
            }
            select! {
                () = sleep(self.pause(addresses.len())) => {}
                _ = &mut stopped => break,
            }
        }
        self.tell_state_here("0").await;
    }

    /// One attempt, and the connections that it opens. An error is whether they were open.
    async fn connect_and_pass(
        &mut self,
        addresses: &[BridgeAddress],
        stopped: &mut oneshot::Receiver<()>,
    ) -> Result<Finish, bool> {
        let Some(address) = addresses.get(self.next_address % addresses.len().max(1)) else {
            self.failed("", &BridgeError::NoAddress);
            return Err(false);
        };
        let name: Arc<str> = address.to_string().into();
        self.figures.address = Some(Arc::clone(&name));
        let connected = select! {
            connected = self.connect(address) => connected,
            _ = &mut *stopped => return Ok(Finish::Stopped),
        };
        let pair = match connected {
            Ok(pair) => pair,
            Err(error) => {
                if self.settings.bridge_protocol
                    && self.settings.protocol_version == BridgeProtocol::V3_1_1
                    && error.may_be_the_bridge_bit()
                {
                    self.has_bridge_bit = !self.has_bridge_bit;
                }
                self.has_will &= !error.may_be_the_will();
                self.next_address = self.next_address.wrapping_add(1);
                self.failed(&name, &error);
                return Err(false);
            }
        };
        let begun = Instant::now();
        let mut pump = Pump::new(self, pair);
        let ended = pump.run(self, &name, stopped).await;
        self.figures.counts = *pump.counts();
        self.status.publish_bridge(self.figures.clone());
        if begun.elapsed() >= LASTING_MIN {
            self.attempts = 0;
        }
        self.next_address = match self.settings.address_order {
            AddressOrder::FailOver => 0,
            AddressOrder::RoundRobin => self.next_address.wrapping_add(1),
        };
        match ended {
            Ok(finish) => {
                pump.finish().await;
                self.tell_state_here("0").await;
                Ok(finish)
            }
            Err(error) => {
                let was_ready = pump.is_ready();
                // Without DISCONNECT, so that the other broker publishes the state.
                drop(pump);
                match was_ready {
                    true => self.disconnected(&name, &error).await,
                    false => self.failed(&name, &error),
                }
                Err(was_ready)
            }
        }
    }

    async fn disconnected(&mut self, address: &str, error: &BridgeError) {
        let (name, reason) = (&*self.settings.name, error.to_string());
        log_line!(
            BridgeDisconnected { bridge = name, address, reason = &*reason },
            "bridge {name} has lost its connection to {address}: {reason}"
        );
        self.figures.failed(&reason, self.status.now());
        self.tell_state_here("0").await;
    }

    /// Subscribes at this broker, and waits until enough messages are queued there.
    async fn until_queued(&mut self) {
        self.is_subscribed_here = false;
        loop {
            // An operator may have deleted the Session.
            self.begin_session_here().await;
            if !self.is_subscribed_here {
                sleep(self.pause(1)).await;
                continue;
            }
            self.publish(self.figures.counts).await;
            let enough = usize::try_from(self.settings.lazy_threshold).unwrap_or(usize::MAX);
            if self.figures.queued_messages.is_some_and(|queued| queued >= enough) {
                return;
            }
            sleep(LAZY_INTERVAL).await;
        }
    }

    /// Subscribes at this broker, unless that has been done and the Session is still there: to what it does not have, which may be all.
    async fn begin_session_here(&mut self) {
        if self.is_subscribed_here && self.has_session_here().await.unwrap_or(true) {
            return;
        }
        let subscribed = self.subscribe_lacking_here().await;
        self.is_subscribed_here = subscribed.is_ok();
        if let Err(error) = subscribed {
            self.failed("", &error);
        }
    }

    async fn subscribe_lacking_here(&mut self) -> Result<(), BridgeError> {
        let stored = subscribed(&self.queries, &self.settings.name).await;
        let (lacking, unsent) = lacking(&stored, &rules(&self.settings).0);
        self.unsent = unsent;
        let has_session = self.has_session_here().await?;
        if has_session && lacking.is_empty() {
            return Ok(());
        }
        if !has_session {
            self.marks.change(|mark| mark.release_there = true).await?;
        }
        self.subscribe_here(lacking).await
    }

    /// Makes these subscriptions at this broker without a connection to the other one.
    async fn subscribe_here(&mut self, lacking: Vec<Subscription>) -> Result<(), BridgeError> {
        let (mut link, _) = self.connect_here(&Connack::accepted(false)).await?;
        let mut subscribing = Subscribing::new(1, self.settings.dedup_id);
        for packet in subscribing.begin(lacking, &self.stale_here) {
            link.send(&packet);
        }
        let mut notes = Notes::default();
        let answering = async {
            while !subscribing.is_done() {
                match link.next_packet()? {
                    // Messages that come now are not acknowledged, and come again.
                    Some(ServerPacket::Suback(suback)) => {
                        let (refused, again) = subscribing.on_suback(Side::Here, &suback);
                        notes.filters.extend(refused);
                        again.map(|packet| link.send(&packet));
                    }
                    Some(_) => {}
                    None => link.step(Reading::On).await?,
                }
            }
            link.send(&ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection))));
            link.finish().await
        };
        let answered = timeout(SUBSCRIBE_TIMEOUT, answering).await;
        self.say(&mut notes);
        answered.map_err(|_| BridgeError::NoAnswer)?.map_err(BridgeError::Here)
    }

    /// The time until the next attempt: from `backoff_min` to `backoff_max`, doubling with each round of all addresses, and a part of it by chance.
    fn pause(&mut self, addresses: usize) -> Duration {
        let round = self.attempts / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        let longest = self.settings.backoff_min.saturating_mul(1 << round.min(20)).min(self.settings.backoff_max);
        // Of the time, the second half is by chance. Without randomness, all of it.
        let part = f64::from(u16::try_from(getrandom::u64().unwrap_or(u64::MAX) >> 48).unwrap_or(u16::MAX));
        longest.mul_f64(0.5 + 0.5 * part / f64::from(u16::MAX))
    }
}

/// A connection that lasted so long was a good one: the pauses begin with the shortest.
const LASTING_MIN: Duration = Duration::from_secs(10);
/// How often a lazy bridge looks at its queue.
const LAZY_INTERVAL: Duration = Duration::from_secs(1);
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(20);
