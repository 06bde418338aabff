//! Makes the Sessions of both brokers fit each other. Each keeps the Packet Identifiers of messages of QoS 2 that it has received from the other
//! one. If that has lost its Session, these must be released: a new message with the same identifier would be taken for a repeat, and discarded.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::error::BridgeError;
use super::plan::{has_qos_2, local_filters, rules};
use super::state::Bridge;
use crate::bridge::Side;
use crate::codec::{Ack, ClientPacket, PacketId, Qos, ReasonCode, ServerPacket};
use crate::server::log::log_line;
use crate::server::packet_link::{Incoming, PacketLink, Reading};

/// The Sessions of both brokers at a connect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sessions {
    /// Whether this broker had one that the other one knows.
    pub(super) had_here: bool,
    /// Whether the other broker has resumed its own.
    pub(super) present_there: bool,
    /// Whether that one may have begun with an earlier CONNECT, whose answer has not arrived.
    pub(super) is_noted: bool,
    /// Whether the other broker has QoS 2. One that has not may end the connection for PUBREL.
    pub(super) has_qos_2_there: bool,
}

/// What arrived before the bridge was ready for it.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) packets: Vec<(Side, Incoming)>,
    packets_max: usize,
}

impl Early {
    /// Of each side, as much may arrive as is in flight in both directions.
    pub(super) fn new(receive_maximum: NonZeroU16) -> Self {
        let packets_max = EARLY_MIN.max(4 * usize::from(receive_maximum.get()));
        Self { packets: Vec::new(), packets_max }
    }

    fn push(&mut self, side: Side, packet: Incoming) -> Result<(), BridgeError> {
        if matches!(&packet, Incoming::Packet(ServerPacket::Publish(publish)) if publish.qos == Qos::AtMostOnce) {
            return Ok(()); // As if the bridge had connected a moment later.
        }
        if self.packets.len() >= self.packets_max {
            return Err(BridgeError::TooMuch);
        }
        self.packets.push((side, packet));
        Ok(())
    }
}

impl Bridge {
    /// Notes, before CONNECT, that the Session at the other broker may begin with it. Returns whether that was noted before.
    pub(super) async fn note_connect(&mut self, had_here: bool) -> Result<bool, BridgeError> {
        let is_noted = self.marks.get().release_here;
        if had_here && has_qos_2(&rules(&self.settings).1) {
            self.marks.change(|mark| mark.release_here = true).await?;
        }
        Ok(is_noted)
    }

    /// The other broker has refused the CONNECT, so no Session has begun with it.
    pub(super) async fn note_refusal(&mut self, is_noted: bool) -> Result<(), BridgeError> {
        self.marks.change(|mark| mark.release_here = is_noted).await
    }

    /// Notes what follows from the answer to CONNECT, and releases the Packet Identifiers at the other broker if the Session here is new.
    pub(super) async fn release_there<S>(
        &mut self,
        sessions: Sessions,
        there: &mut PacketLink<S>,
        early: &mut Early,
    ) -> Result<(), BridgeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.compare(sessions);
        let (all, unsent) = (local_filters(&self.settings).collect::<HashSet<_>>(), &self.unsent);
        self.marks
            .change(|mark| {
                mark.release_here &= sessions.had_here && (sessions.is_noted || !sessions.present_there);
                match sessions.present_there {
                    true => mark.owed.extend(unsent.iter().map(ToString::to_string)),
                    false => mark.owed.extend(all.iter().cloned()),
                }
                mark.owed.retain(|filter| all.contains(filter));
            })
            .await?;
        self.unsent.clear();
        let is_due = sessions.has_qos_2_there && has_qos_2(&rules(&self.settings).0);
        if !sessions.had_here && sessions.present_there && is_due {
            release(there, Side::There, early).await?;
        }
        Ok(())
    }

    /// Releases the Packet Identifiers here if the Session at the other broker is new. If that may have begun with an earlier CONNECT, it is new unless
    /// the other broker sends something: it repeats what is not acknowledged as soon as it has resumed a Session, and in a new one nothing is
    /// subscribed to. If it has nothing to repeat, no identifier is in use.
    pub(super) async fn release_here<A, B>(
        &mut self,
        sessions: Sessions,
        (here, there): (&mut PacketLink<A>, &mut PacketLink<B>),
        early: &mut Early,
    ) -> Result<(), BridgeError>
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        let is_due = has_qos_2(&rules(&self.settings).1);
        if self.marks.get().release_here && is_due {
            let is_old = sessions.present_there && has_sent(there, early).await?;
            if !is_old {
                release(here, Side::Here, early).await?;
            }
        }
        // Before any message passes: a release after that would double it.
        self.marks
            .change(|mark| {
                mark.release_there = false;
                mark.release_here &= !is_due;
            })
            .await
    }

    /// Says that one of the brokers has no Session, although the other one has.
    fn compare(&mut self, Sessions { had_here, present_there, .. }: Sessions) {
        let name = &*self.settings.name;
        if had_here && !present_there && !self.settings.clean_start {
            self.figures.sessions_lost_there += 1;
            let reason = "the other broker has no session of the bridge";
            log_line!(BridgeSessionLost { bridge = name, reason }, "bridge {name}: {reason}: messages that were on their way may come twice, and what waited there is lost");
        } else if !had_here && present_there {
            self.figures.sessions_lost_here += 1;
            let reason = "this broker has no session of the bridge, although the other one has";
            log_line!(BridgeSessionLost { bridge = name, reason }, "bridge {name}: {reason}: messages that were on their way may come twice");
        }
    }
}

/// Whether the other broker sends messages or PUBREL without a new subscription, before PINGRESP or a while after it.
async fn has_sent<S>(there: &mut PacketLink<S>, early: &mut Early) -> Result<bool, BridgeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    there.send(&ClientPacket::Pingreq);
    let sending = async {
        let mut is_answered = false;
        loop {
            match there.next_incoming().map_err(BridgeError::There)? {
                Some(Incoming::Packet(ServerPacket::Pingresp)) => is_answered = true,
                Some(packet) => {
                    early.push(Side::There, packet)?;
                    return Ok(true);
                }
                None if !is_answered => there.step(Reading::On).await.map_err(BridgeError::There)?,
                None => match timeout(SILENCE, there.step(Reading::On)).await {
                    Ok(step) => step.map_err(BridgeError::There)?,
                    Err(_) => return Ok(false),
                },
            }
        }
    };
    timeout(RELEASE_TIMEOUT, sending).await.map_err(|_| BridgeError::Silent(RELEASE_TIMEOUT.as_secs()))?
}

/// Releases all Packet Identifiers.
async fn release<S>(link: &mut PacketLink<S>, side: Side, early: &mut Early) -> Result<(), BridgeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
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
            match link.next_incoming().map_err(failed)? {
                Some(Incoming::Packet(ServerPacket::Pubcomp(_))) => waiting = waiting.saturating_sub(1),
                Some(packet) => early.push(side, packet)?,
                None => link.step(Reading::On).await.map_err(failed)?,
            }
        }
    };
    timeout(RELEASE_TIMEOUT, releasing).await.map_err(|_| BridgeError::Silent(RELEASE_TIMEOUT.as_secs()))?
}

/// For 65,535 short packets and their answers.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(60);
/// A broker that reads what it repeats from its disk may answer PINGREQ before.
const SILENCE: Duration = Duration::from_secs(5);
/// Packets of a release without an answer.
const RELEASES_MAX: usize = 1_024;
/// A broker of 3.1.1 knows no Receive Maximum.
const EARLY_MIN: usize = 4_096;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::Builder;

    use super::*;
    use crate::codec::ProtocolVersion;
    use crate::server::bridges::connect::connack;

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
            let mut early = Early::new(NonZeroU16::MIN);
            release(&mut link, Side::There, &mut early).await.unwrap();
            early.packets
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (_server, early) = runtime.block_on(async { tokio::join!(answering, releasing) });
        let topics: Vec<_> = early
            .iter()
            .map(|(side, packet)| {
                let Incoming::Packet(ServerPacket::Publish(publish)) = packet else { panic!("{packet:?}") };
                (*side, publish.message.topic.as_str().to_owned())
            })
            .collect();
        assert_eq!(topics, [(Side::There, "a".to_owned())]);
    }
}
