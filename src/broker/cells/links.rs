use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::cells::control::{Control, Hello, topic};
use crate::broker::cells::of_shard::ControlLink;
use crate::broker::cells::peer::{LinkPeer, LinkRole};
use crate::broker::cells::queue::{OUT, cell_of_queue};
use crate::broker::cells::state::CellState;
use crate::broker::connection::state::{Connecting, Phase};
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::ids::ConnectionId;
use crate::broker::owner::{Owner, VerifiedUser};
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ClientId, ClientPacket, Connect, Message, OutgoingPublish, ProtocolVersion, ServerPacket};
use crate::routing::{Access, CellId, InterestKey};

/// The Client Identifier of the Session of a link, if it has one.
fn client_id_of(LinkPeer { cell: CellId(cell), role }: LinkPeer) -> Option<ClientId> {
    match role {
        LinkRole::Out => Some(ClientId::from(format!("{OUT}{cell}"))),
        LinkRole::In => Some(ClientId::from(format!("{IN}{cell}"))),
        LinkRole::Control => None,
    }
}

impl Shard {
    /// A connection to the owner of another cell was opened. It needs no CONNECT.
    pub(in crate::broker) fn on_link_opened(&mut self, id: ConnectionId, link: LinkPeer, turn: &mut Turn<'_>) {
        let Some(cell) = self.shared.cell.clone().filter(|cell| cell.others().any(|other| other == link.cell)) else {
            return self.break_off(id, "there is no such cell", turn);
        };
        let client_id = client_id_of(link);
        let Some(connection) = self.connection_mut(id) else { return };
        connection.version = ProtocolVersion::V5;
        connection.access = Arc::new(Access::everything());
        connection.client_id.clone_from(&client_id);
        connection.identity.owner = Owner::link();
        let Some(client_id) = client_id else { return self.begin_control(id, (link.cell, &cell), turn) };
        let mut connect = Connect::new(ProtocolVersion::V5, client_id.as_str(), false);
        connect.properties.session_expiry_interval = u32::MAX;
        let (owner, authentication_data) = (Owner::link(), None);
        let connecting = Connecting { connect, client_id, assigned: false, owner, authentication_data };
        self.claim_session(id, Box::new(connecting), turn);
    }

    fn begin_control(&mut self, id: ConnectionId, (other, cell): (CellId, &CellState), turn: &mut Turn<'_>) {
        // One that is left from before gets no answers.
        let before = self.links.controls.0.iter().find(|link| link.cell == other).map(|link| link.connection);
        if let Some(before) = before {
            self.break_off(before, "the other cell has opened another one", turn);
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Control;
        }
        self.links.controls.0.push(ControlLink { connection: id, cell: other, epoch: None });
        cell.set_control(self.id);
        self.send_control(id, &Control::Hello(own_hello(cell)), turn);
    }

    /// Takes a packet from a control connection.
    pub(in crate::broker) fn on_control(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        let ClientPacket::Publish(publish) = packet else {
            return self.break_off(id, "a control connection has PUBLISH packets only", turn);
        };
        let Some(cell) = self.shared.cell.clone() else { return };
        let Some(link) = self.links.controls.0.iter_mut().find(|link| link.connection == id) else { return };
        let other = link.cell;
        match (Control::decode(publish.message.payload.clone()), link.epoch) {
            (Some(Control::Hello(hello)), None) => {
                let expected =
                    Hello { cell: other, epoch: hello.epoch, last_change: hello.last_change, ..own_hello(&cell) };
                if hello != expected {
                    return self.break_off(id, "the other cell is of another cluster", turn);
                }
                link.epoch = Some(hello.epoch);
                cell.observe(hello.last_change);
                cell.met(other, hello.epoch);
            }
            (Some(Control::Announcement(announcement)), Some(epoch))
                if (announcement.cell, announcement.epoch) == (other, epoch) =>
            {
                let answer = cell.announced(announcement);
                self.send_control(id, &Control::Answer(answer), turn);
            }
            (Some(Control::Answer(answer)), Some(epoch)) => {
                if cell.answered(other, epoch, answer) {
                    self.on_noted(&cell, turn);
                }
            }
            (Some(Control::Permit(message)), Some(_)) => self.on_permit_message((id, other), message, turn),
            _ => return self.break_off(id, "no message that two cells have for each other", turn),
        }
        self.announce_interest(turn);
        self.send_own_permits(turn);
    }

    /// Tells the other cells at control connections of this shard what they do not know yet.
    pub(in crate::broker) fn announce_interest(&mut self, turn: &mut Turn<'_>) {
        let Some(cell) = self.shared.cell.clone() else { return };
        for place in 0..self.links.controls.0.len() {
            let Some(&ControlLink { connection, cell: to, epoch }) = self.links.controls.0.get(place) else { return };
            while let Some(announcement) = epoch.and_then(|epoch| cell.next_announcement(to, epoch)) {
                self.send_control(connection, &Control::Announcement(announcement), turn);
            }
        }
    }

    /// The subscriptions of a Session have changed: all shards with control connections tell the other cells.
    pub(in crate::broker) fn interest_changed(&mut self, turn: &mut Turn<'_>) {
        let Some(cell) = self.shared.cell.clone() else { return };
        for shard in cell.with_control() {
            if shard == self.id {
                self.announce_interest(turn);
            } else {
                let message = ShardMessage(ShardMessageKind::InterestChanged);
                turn.actions.push(Action::Forward { shard, message });
            }
        }
    }

    /// A connection is opened, or ends, which may be one to the owner of another cell.
    pub(in crate::broker) fn link_changed(&self, link: Option<LinkPeer>, is_open: bool) {
        if let (Some(link), Some(cell)) = (link, &self.shared.cell) {
            cell.link_changed(link, is_open);
        }
    }

    /// The end of a connection, which may be a control connection.
    pub(in crate::broker) fn control_ended(&mut self, id: ConnectionId) {
        let links = &mut self.links.controls.0;
        if let Some(place) = links.iter().position(|link| link.connection == id) {
            let ControlLink { cell, .. } = links.remove(place);
            self.shared.deduplication.link_ended(cell);
        }
    }

    /// A Session may be the queue for another cell.
    pub(in crate::broker) fn note_link(&mut self, slot: usize) {
        if let (Some(cell), Some(entry)) = (&self.shared.cell, self.sessions.get(slot))
            && let Some(to) = cell_of_queue(&entry.subscriber)
        {
            let unreceived = entry.session.first_unreceived();
            cell.received(to, unreceived);
            if cell.link_to(to).is_none() && unreceived < entry.subscriber.next_sequence() {
                cell.set_left(to, entry.subscriber.next_sequence());
            }
            cell.set_link(to, &entry.subscriber);
        }
    }

    /// Whether the Session in `slot` is one of a link to another cell.
    pub(in crate::broker) fn is_link(&self, slot: usize) -> bool {
        self.sessions.get(slot).is_some_and(|entry| entry.subscriber.is_link())
    }

    /// What goes over a connection, if it is one to another cell.
    pub(in crate::broker) fn link_of(&self, id: ConnectionId) -> Option<LinkPeer> {
        self.connection(id)?.identity.peer.link
    }

    pub(super) fn send_control(&mut self, connection: ConnectionId, control: &Control, turn: &mut Turn<'_>) {
        let publish = OutgoingPublish::new(Arc::new(Message::new(topic(), control.encode())));
        let packet = ServerPacket::Publish(publish);
        let bytes = self.counters.sending(&packet);
        self.add_unsent(connection, bytes, 0);
        turn.actions.push(Action::Send { connection, packet });
    }
}

fn own_hello(cell: &CellState) -> Hello {
    let terms = &cell.terms;
    let key_check = InterestKey::new(&terms.interest_key).check();
    let last_change = cell.last_change();
    Hello { cell: terms.cell, cells: terms.cells, epoch: terms.epoch, key_check, last_change }
}

impl Owner {
    /// Stands for the provider that verifies links to other cells. The Client Identifiers of their Sessions begin with it and `/`.
    pub const LINK: &str = "$link";

    /// That of the Sessions of links to other cells.
    pub fn link() -> Self {
        Self::of(Some(VerifiedUser { provider: Self::LINK.into(), name: Self::LINK.into() }))
    }

    /// Whether it is that of links to other cells. No configuration can name its provider.
    pub fn is_link(&self) -> bool {
        matches!(self, Self::User(user) if user.provider.as_deref() == Some(Self::LINK))
    }
}

/// What the Client Identifiers of those with the Packet Identifiers from other cells begin with. The number of the other cell follows.
const IN: &str = "$link/from-";
