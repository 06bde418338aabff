//! Opens both connections of a bridge.

use std::num::NonZeroU16;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::BridgeError;
use super::keep_alive::KeepAlive;
use super::plan::{connect_there, version};
use super::reconcile::{Early, Sessions};
use super::state::Bridge;
use super::transport::{Transport, open};
use crate::bridge::{BRIDGE_ID, Side, Terms};
use crate::broker::{Answer, Gift, Query};
use crate::codec::{ClientPacket, Connack, Connect, Qos, ReasonCode, ServerPacket};
use crate::config::{BridgeAddress, BridgeProtocol};
use crate::routing::ShardId;
use crate::server::own_client::Kind;
use crate::server::packet_link::{Incoming, LinkError, PacketLink, Reading};

/// Both connections of a bridge.
pub(super) struct Pair {
    pub(super) here: PacketLink<UnixStream>,
    pub(super) there: PacketLink<Box<dyn Transport>>,
    pub(super) terms: Terms,
    pub(super) keep_alive_here: KeepAlive,
    pub(super) keep_alive_there: KeepAlive,
    /// What arrived before the bridge was ready for it.
    pub(super) early: Vec<(Side, Incoming)>,
    /// Whether the other broker has resumed the Session of the bridge.
    pub(super) session_present: bool,
}

impl Bridge {
    /// Connects to the other broker at this address, then to this one.
    pub(super) async fn connect(&mut self, address: &BridgeAddress) -> Result<Pair, BridgeError> {
        let limits = self.own.limits();
        let maximum = self.settings.maximum_packet_size.unwrap_or(limits.maximum_packet_size);
        let receive_maximum = self.settings.inflight_max.min(limits.receive_maximum);
        let mut connect = connect_there(&self.settings, self.has_bridge_bit, (receive_maximum, maximum))?;
        connect.will = connect.will.filter(|_| self.has_will);
        let had_session_here = !self.marks.get().release_there && self.has_session_here().await?;
        let (mut there, is_noted) = self.open_there((address, maximum), connect, had_session_here).await?;
        let answer = timeout(CONNECT_TIMEOUT, connack(&mut there)).await;
        let connack =
            answer.map_err(|_| BridgeError::Silent(CONNECT_TIMEOUT.as_secs()))?.map_err(BridgeError::There)?;
        if connack.reason_code.is_error() {
            self.note_refusal(is_noted).await?;
            let reason = connack.properties.reason_string.as_deref().map(str::to_owned);
            return Err(BridgeError::Refused(connack.reason_code, reason));
        }
        let mut early = Early::new(receive_maximum);
        let sessions = Sessions {
            had_here: had_session_here,
            present_there: connack.session_present,
            is_noted,
            has_qos_2_there: connack.properties.maximum_qos == Qos::ExactlyOnce,
        };
        self.release_there(sessions, &mut there, &mut early).await?;
        let (mut here, connack_here) = self.connect_here(&connack).await?;
        self.release_here(sessions, (&mut here, &mut there), &mut early).await?;
        let keep_alive = |connack: &Connack, own: Duration| {
            let seconds = connack.properties.server_keep_alive.map(|seconds| Duration::from_secs(seconds.into()));
            KeepAlive::new(Some(seconds.unwrap_or(own)).filter(|interval| !interval.is_zero())) // [MQTT-3.1.2-21]
        };
        let ids = connack.properties.user_properties.iter().find(|(name, _)| &**name == BRIDGE_ID);
        let terms = Terms {
            version: version(&self.settings),
            maximum_qos: connack.properties.maximum_qos,
            retain_available: connack.properties.retain_available,
            maximum_packet_size: connack.properties.maximum_packet_size.map(u32::from),
            there_id: ids.map(|(_, id)| id.clone()),
            here_id: Some(self.here_id.clone()).filter(|_| self.settings.protocol_version == BridgeProtocol::V5),
            receive_maximum: connack_here.properties.receive_maximum.unwrap_or(NonZeroU16::MAX),
            maximum_packet_size_here: Some(
                connack_here.properties.maximum_packet_size.map_or(limits.maximum_packet_size, u32::from),
            ),
            maximum_qos_here: connack_here.properties.maximum_qos,
            retain_available_here: connack_here.properties.retain_available,
            adds_dedup_id: self.settings.dedup_id,
        };
        Ok(Pair {
            here,
            there,
            terms,
            keep_alive_here: keep_alive(&connack_here, Duration::ZERO),
            keep_alive_there: keep_alive(&connack, self.settings.keep_alive),
            early: early.packets,
            session_present: connack.session_present,
        })
    }

    /// Connects to the other broker and sends CONNECT. Returns also whether its Session may have begun with an earlier CONNECT.
    async fn open_there(
        &mut self,
        (address, maximum): (&BridgeAddress, u32),
        connect: Connect,
        had_session_here: bool,
    ) -> Result<(PacketLink<Box<dyn Transport>>, bool), BridgeError> {
        let opened = timeout(CONNECT_TIMEOUT, open(address, &self.settings, maximum)).await;
        let stream = opened.map_err(|_| BridgeError::Silent(CONNECT_TIMEOUT.as_secs()))??;
        let is_noted = self.note_connect(had_session_here).await?;
        let mut there = PacketLink::new(stream, version(&self.settings), maximum);
        there.send(&ClientPacket::Connect(Box::new(connect)));
        Ok((there, is_noted))
    }

    /// Connects to this broker. `there` is what the other broker has said, which its messages must fit.
    pub(super) async fn connect_here(&self, there: &Connack) -> Result<(PacketLink<UnixStream>, Connack), BridgeError> {
        let stream = self.own.connect(Kind::Bridge, &self.settings.name, self.settings.local_user());
        let stream = stream.map_err(|error| BridgeError::Here(error.into()))?;
        let mut connect = Kind::Bridge.connect_packet(&self.settings.name);
        let receive_maximum = there.properties.receive_maximum.unwrap_or(NonZeroU16::MAX);
        connect.properties.receive_maximum = self.settings.inflight_max.min(receive_maximum);
        // What can't fit whatever the prefixes are, this broker drops by its own rules. The relay judges the rest.
        let longest = self.settings.topics.iter().map(|topic| topic.local_prefix.len()).max().unwrap_or_default();
        let slack = u32::try_from(longest).unwrap_or(u32::MAX).saturating_add(PROPERTIES_MAX);
        connect.properties.maximum_packet_size =
            there.properties.maximum_packet_size.map(|size| size.saturating_add(slack));
        let mut link = PacketLink::new(stream, connect.version, u32::MAX);
        link.send(&ClientPacket::Connect(Box::new(connect)));
        let connack = timeout(HERE_TIMEOUT, connack(&mut link)).await;
        let connack = connack.map_err(|_| BridgeError::NoAnswer)?.map_err(BridgeError::Here)?;
        if connack.reason_code.is_error() {
            if connack.reason_code == ReasonCode::ClientIdentifierNotValid {
                self.claim_session().await;
            }
            let reason = connack.properties.reason_string.as_deref().map(str::to_owned);
            return Err(BridgeError::RefusedHere(connack.reason_code, reason));
        }
        Ok((link, connack))
    }

    /// Makes the Session here that of the bridge's user, which may have been another one before a reload. Nobody else can have a Session with this
    /// Client Identifier.
    async fn claim_session(&self) {
        let client_id = Kind::Bridge.client_id(&self.settings.name);
        let owner = Kind::Bridge.owner(self.settings.local_user());
        for shard in 0..self.queries.shards() {
            let shard = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
            let gift = Gift { client_id: client_id.clone(), owner: owner.clone(), access: None };
            // The next attempt shows whether it succeeded.
            let _ = self.queries.ask(shard, Query::Give(Box::new(gift))).await;
        }
    }

    /// Whether this broker has the Session of the bridge.
    pub(super) async fn has_session_here(&self) -> Result<bool, BridgeError> {
        let client_id = Kind::Bridge.client_id(&self.settings.name);
        for shard in 0..self.queries.shards() {
            let shard = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
            match self.queries.ask(shard, Query::Client(client_id.clone())).await {
                Ok(Answer::Client(Some(_))) => return Ok(true),
                Ok(_) => {}
                Err(_) => return Err(BridgeError::NoAnswer),
            }
        }
        Ok(false)
    }
}

/// Waits for the answer to CONNECT.
pub(super) async fn connack<S>(link: &mut PacketLink<S>) -> Result<Connack, LinkError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        // The decoder lets nothing precede it but AUTH, for which nobody has asked.
        if let Some(ServerPacket::Connack(connack)) = link.next_packet()? {
            return Ok(*connack);
        }
        link.step(Reading::On).await?;
    }
}

/// For the name service, the connection, TLS and WebSocket together, and again for CONNACK.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For the CONNACK of this broker, which waits for a commit of the store.
const HERE_TIMEOUT: Duration = Duration::from_secs(20);
/// In bytes: properties and identifiers that this broker adds for the bridge.
const PROPERTIES_MAX: u32 = 128;
