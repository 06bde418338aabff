//! Clients of another user that try to get the Session of a client. Every one must be refused in one turn, and nobody may notice.

use oncemq::broker::{Action, AuthenticationOutcome, ConnectionId, Event, Peer, Report, VerifiedUser};
use oncemq::codec::{ClientId, ClientPacket, Connect, ProtocolVersion, ReasonCode, ServerPacket};
use oncemq::routing::Access;
use oncemq::timestamp::Timestamp;

use crate::world::World;

impl World {
    /// A stranger connects with the Client Identifier of the client of this connection, if it is held: connected or not, or while the Session
    /// moves between shards.
    pub(crate) fn intrude(&mut self, number: usize) {
        if !number.is_multiple_of(4) {
            return; // some are enough, and cost less
        }
        let name = format!("c{}", self.connections[number].client);
        let client_id = ClientId::from(name.as_str());
        let Some(holder) = self.shared.shard_of(&client_id) else { return };
        for shard in [0, usize::from(holder.0)] {
            for user in [Some("stranger"), None] {
                self.intrude_at(shard, (&name, user), number.is_multiple_of(8));
            }
        }
        assert_eq!(self.shared.shard_of(&client_id), Some(holder), "a stranger has changed the holder of {name}");
    }

    fn intrude_at(&mut self, shard: usize, (name, user): (&str, Option<&str>), clean_start: bool) {
        self.strangers += 1;
        let connection = ConnectionId { slot: STRANGER, generation: self.strangers };
        let peer = Peer {
            address: None,
            listener: "tcp".into(),
            certificate_identity: None,
            client_ids: Default::default(),
            is_local: true,
            maximum_packet_size: 1_000,
            link: None,
        };
        let connect = Connect::new(ProtocolVersion::V5, name, clean_start);
        let outcome = AuthenticationOutcome::Granted {
            access: std::sync::Arc::new(Access::everything()),
            user: None,
            verified_user: user.map(verified),
            expires_at: None,
            authentication_data: None,
        };
        let mut seen = Vec::new();
        for event in [
            Event::Opened { connection, peer: Box::new(peer) },
            Event::Packet { connection, packet: ClientPacket::Connect(Box::new(connect)) },
            Event::Authenticated { connection, outcome },
        ] {
            let mut actions = Vec::new();
            self.shards[shard].shard.handle(Timestamp(self.now), event, &mut actions);
            let (own, mut others): (Vec<_>, Vec<_>) = actions.into_iter().partition(|action| is_of(action, connection));
            seen.extend(own);
            self.perform_all(shard, &mut others);
            self.schedule_deadline(shard);
        }
        let is_refusal = |action: &&Action| {
            let Action::Send { packet: ServerPacket::Connack(connack), .. } = action else { return false };
            connack.reason_code == ReasonCode::ClientIdentifierNotValid
        };
        let is_closed =
            matches!(seen.iter().rev().find(|one| !matches!(one, Action::Report(_))), Some(Action::Close { .. }));
        if seen.iter().filter(is_refusal).count() != 1 || !is_closed {
            self.fail(None, format!("a stranger was not refused as {name}: {seen:?}"));
        }
    }
}

/// Whether an action is for the stranger.
fn is_of(action: &Action, stranger: ConnectionId) -> bool {
    match action {
        Action::Send { connection, .. }
        | Action::Close { connection }
        | Action::Reset { connection }
        | Action::Pause { connection }
        | Action::Resume { connection }
        | Action::Authenticate { connection, .. } => *connection == stranger,
        Action::Report(report) => {
            matches!(&**report, Report::Refused { reason_code: ReasonCode::ClientIdentifierNotValid, .. })
        }
        Action::Persist { .. }
        | Action::PersistTogether { .. }
        | Action::Fetch(_)
        | Action::ReadStream(_)
        | Action::Hurry
        | Action::PrepareDelayed(_)
        | Action::Forward { .. }
        | Action::Answer(..)
        | Action::Sampled(_) => false,
    }
}

pub(crate) fn verified(name: &str) -> VerifiedUser {
    VerifiedUser { provider: "password".into(), name: name.into() }
}

/// A slot that no client uses.
const STRANGER: u32 = 200;
