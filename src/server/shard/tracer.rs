use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::broker::{ClientLabel, ConnectionId, Detail, DetailLevel};
use crate::codec::{ClientId, ClientPacket, PacketId, ReasonCode};
use crate::server::report::{Label, client_line};
use crate::server::shard::traced::Traced;

/// Writes a line for every packet, while the log has the level `trace`: type, length and main fields, never a payload or a password.
#[derive(Debug, Default)]
pub(in crate::server) struct Tracer {
    detail: Detail,
    /// The clients of open connections. The shard forgets a connection before its last packet is sent. Empty while the tracer is off.
    clients: HashMap<ConnectionId, ClientLabel, RandomState>,
}

impl Tracer {
    pub(in crate::server) fn set(&mut self, detail: Detail) {
        self.detail = detail;
        if !self.is_on() {
            self.clients = HashMap::default();
        }
    }

    /// The path of a packet asks this alone while the tracer is off.
    #[inline]
    pub(in crate::server) fn is_on(&self) -> bool {
        self.detail.level() == DetailLevel::Trace
    }

    /// Writes the line of a received packet. `label` is the shard's.
    #[cold]
    pub(in crate::server) fn received(
        &mut self,
        id: ConnectionId,
        label: Option<ClientLabel>,
        packet: &ClientPacket,
        bytes: usize,
    ) {
        let label = label.map(|label| match packet {
            ClientPacket::Connect(connect) if label.client_id.is_none() && !connect.client_id.is_empty() => {
                ClientLabel {
                    client_id: Some(ClientId::from(&*connect.client_id)),
                    version: Some(connect.version.name()),
                    ..label
                }
            }
            ClientPacket::Connect(_)
            | ClientPacket::Publish(_)
            | ClientPacket::Puback(_)
            | ClientPacket::Pubrec(_)
            | ClientPacket::Pubrel(_)
            | ClientPacket::Pubcomp(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::Pingreq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => label,
        });
        let Some(label) = self.known(id, label) else { return };
        let Traced { packet, packet_id, topic, qos, retain, dup, reason_code, words, .. } = &Traced::received(packet);
        client_line!(
            PacketReceived,
            label,
            {
                packet, bytes, packet_id = packet_id.map(PacketId::number), topic = topic.as_deref(), qos, retain, dup,
                reason_code = reason_code.map(ReasonCode::number),
            },
            "{} sent {packet}: {bytes} bytes{words}",
            Label(label)
        );
    }

    /// Writes the line of a packet that was encoded into an output buffer, which now has `length` bytes. `label` is the shard's; `None` once
    /// it has ended the connection.
    #[cold]
    pub(in crate::server) fn sent(
        &mut self,
        id: ConnectionId,
        label: Option<ClientLabel>,
        traced: &Traced,
        length: usize,
    ) {
        let bytes = length.saturating_sub(traced.before);
        let Some(label) = self.known(id, label) else { return };
        if bytes == 0 {
            return; // the version of the client has no such packet
        }
        let Traced { packet, packet_id, topic, qos, retain, dup, reason_code, words, .. } = traced;
        client_line!(
            PacketSent,
            label,
            {
                packet, bytes, packet_id = packet_id.map(PacketId::number), topic = topic.as_deref(), qos, retain, dup,
                reason_code = reason_code.map(ReasonCode::number),
            },
            "{} was sent {packet}: {bytes} bytes{words}",
            Label(label)
        );
    }

    /// Forgets a connection that has ended.
    pub(in crate::server) fn ended(&mut self, id: ConnectionId) {
        if !self.clients.is_empty() {
            self.clients.remove(&id);
        }
    }

    /// The client of a connection by its latest label, if its packets are traced.
    fn known(&mut self, id: ConnectionId, label: Option<ClientLabel>) -> Option<&ClientLabel> {
        match label {
            // Until CONNECT has been handled, the shard knows no Client Identifier.
            Some(label) if label.client_id.is_some() || !self.clients.contains_key(&id) => {
                self.clients.insert(id, label);
            }
            Some(_) | None => {}
        }
        let label = self.clients.get(&id)?;
        self.detail.wants(label.client_id.as_ref()).then_some(label)
    }
}
