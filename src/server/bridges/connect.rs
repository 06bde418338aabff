//! Opens both connections of a bridge, and makes sure that their Sessions fit each other.

use std::num::NonZeroU16;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use super::error::BridgeError;
use super::keep_alive::KeepAlive;
use super::plan::{connect_there, has_qos_2, rules, version};
use super::state::Bridge;
use super::transport::{Transport, open};
use crate::bridge::{BRIDGE_ID, Side, Terms};
use crate::broker::{Answer, Gift, Query};
use crate::codec::{Ack, ClientPacket, Connack, PacketId, Qos, ReasonCode, ServerPacket};
use crate::config::{BridgeAddress, BridgeProtocol};
use crate::routing::ShardId;
use crate::server::own_client::Kind;
use crate::server::packet_link::{LinkError, PacketLink, Reading};

/// Both connections of a bridge.
pub(super) struct Pair {
    pub(super) here: PacketLink<UnixStream>,
    pub(super) there: PacketLink<Box<dyn Transport>>,
    pub(super) terms: Terms,
    pub(super) keep_alive_here: KeepAlive,
    pub(super) keep_alive_there: KeepAlive,
    /// What arrived before the bridge was ready for it.
    pub(super) early: Vec<(Side, ServerPacket)>,
    /// Whether the other broker has resumed the Session of the bridge.
    pub(super) session_present: bool,
}

impl Bridge {
    /// Connects to the other broker at this address, then to this one.
    pub(super) async fn connect(&mut self, address: &BridgeAddress) -> Result<Pair, BridgeError> {
        let limits = self.own.limits();
        let maximum = self.settings.maximum_packet_size.unwrap_or(limits.maximum_packet_size);
        let receive_maximum = self.settings.inflight_max.min(limits.receive_maximum);
        let version = version(&self.settings);
        let mut connect = connect_there(&self.settings, self.has_bridge_bit, (receive_maximum, maximum))?;
        connect.will = connect.will.filter(|_| self.has_will);
        let had_session_here = !self.is_new_here && self.has_session_here().await?;
        let opening = async {
            let stream = open(address, &self.settings, maximum).await?;
            let mut there = PacketLink::new(stream, version, maximum);
            there.send(&ClientPacket::Connect(Box::new(connect)));
            let connack = connack(&mut there).await.map_err(BridgeError::There)?;
            Ok::<_, BridgeError>((there, connack))
        };
        let opened = timeout(CONNECT_TIMEOUT, opening).await;
        let (mut there, connack) = opened.map_err(|_| BridgeError::Silent(CONNECT_TIMEOUT.as_secs()))??;
        if connack.reason_code.is_error() {
            let reason = connack.properties.reason_string.as_deref().map(str::to_owned);
            return Err(BridgeError::Refused(connack.reason_code, reason));
        }
        let mut early = Vec::new();
        self.compare_sessions(had_session_here, connack.session_present);
        if !had_session_here && connack.session_present && has_qos_2(&rules(&self.settings).0) {
            release_all(&mut there, Side::There, &mut early).await?;
        }
        let (mut here, connack_here) = self.connect_here(&connack).await?;
        if self.must_release_here {
            release_all(&mut here, Side::Here, &mut early).await?;
            self.must_release_here = false;
        }
        let keep_alive = |connack: &Connack, own: Duration| {
            let seconds = connack.properties.server_keep_alive.map(|seconds| Duration::from_secs(seconds.into()));
            KeepAlive::new(Some(seconds.unwrap_or(own)).filter(|interval| !interval.is_zero())) // [MQTT-3.1.2-21]
        };
        let ids = connack.properties.user_properties.iter().find(|(name, _)| &**name == BRIDGE_ID);
        let terms = Terms {
            version,
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
        self.is_new_here = false;
        Ok(Pair {
            here,
            there,
            terms,
            keep_alive_here: keep_alive(&connack_here, Duration::ZERO),
            keep_alive_there: keep_alive(&connack, self.settings.keep_alive),
            early,
            session_present: connack.session_present,
        })
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
async fn connack<S>(link: &mut PacketLink<S>) -> Result<Connack, LinkError>
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

/// Releases all Packet Identifiers of messages of QoS 2 that a broker may have received in a Session whose other end is not there any more: it
/// would take new messages with these identifiers for repeats, and discard them.
async fn release_all<S>(
    link: &mut PacketLink<S>,
    side: Side,
    early: &mut Vec<(Side, ServerPacket)>,
) -> Result<(), BridgeError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let failed = |error| if side == Side::Here { BridgeError::Here(error) } else { BridgeError::There(error) };
    let (mut ids, mut waiting) = ((1..=u16::MAX).filter_map(PacketId::new), 0_usize);
    let releasing = async {
        loop {
            for id in ids.by_ref().take(RELEASES_MAX - waiting) {
                link.send(&ClientPacket::Pubrel(Ack::new(id, ReasonCode::Success)));
                waiting += 1;
            }
            if waiting == 0 {
                return Ok(());
            }
            match link.next_packet().map_err(failed)? {
                Some(ServerPacket::Pubcomp(_)) => waiting = waiting.saturating_sub(1),
                // As if the bridge had connected a moment later.
                Some(ServerPacket::Publish(publish)) if publish.qos == Qos::AtMostOnce => {}
                Some(_) if early.len() >= EARLY_MAX => return Err(BridgeError::TooMuch),
                Some(packet) => early.push((side, packet)),
                None => link.step(Reading::On).await.map_err(failed)?,
            }
        }
    };
    timeout(RELEASE_TIMEOUT, releasing).await.map_err(|_| BridgeError::Silent(RELEASE_TIMEOUT.as_secs()))?
}

/// For the name service, the connection, TLS, WebSocket and CONNACK together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For the CONNACK of this broker, which waits for a commit of the store.
const HERE_TIMEOUT: Duration = Duration::from_secs(20);
/// For 65,535 short packets and their answers.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(60);
/// Packets of a release without an answer.
const RELEASES_MAX: usize = 1_024;
/// As many as a Session has in flight, in both directions.
const EARLY_MAX: usize = 4_096;
/// In bytes: properties and identifiers that this broker adds for the bridge.
const PROPERTIES_MAX: u32 = 128;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::Builder;

    use super::*;
    use crate::codec::ProtocolVersion;

    /// A broker that answers each PUBREL, and sends a message of its own in between.
    #[test]
    fn every_packet_identifier_is_released_and_messages_that_come_meanwhile_are_kept() {
        let (client, mut server) = tokio::io::duplex(4_096);
        let answering = async move {
            server.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
            for number in 1..=u16::MAX {
                let mut packet = [0; 4];
                server.read_exact(&mut packet).await.unwrap();
                let [high, low] = number.to_be_bytes();
                assert_eq!(packet, [0x62, 2, high, low]);
                if number == 7 {
                    server.write_all(b"\x32\x06\x00\x01a\x00\x09\x00\x30\x04\x00\x01b\x00").await.unwrap();
                }
                server.write_all(&[0x70, 3, high, low, 0x92]).await.unwrap();
            }
            server
        };
        let releasing = async {
            let mut link = PacketLink::new(client, ProtocolVersion::V5, 1_000);
            assert!(!connack(&mut link).await.unwrap().session_present);
            let mut early = Vec::new();
            release_all(&mut link, Side::There, &mut early).await.unwrap();
            early
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (_server, early) = runtime.block_on(async { tokio::join!(answering, releasing) });
        let topics: Vec<_> = early
            .iter()
            .map(|(side, packet)| {
                let ServerPacket::Publish(publish) = packet else { panic!("{packet:?}") };
                (*side, publish.message.topic.as_str().to_owned())
            })
            .collect();
        assert_eq!(topics, [(Side::There, "a".to_owned())]);
    }
}
