//! Clients with mount points. The checks know full topics; a client with a mount point has names of its own for them, which are the same in
//! each mount point.

use std::sync::Arc;

use oncemq::codec::{ClientPacket, ServerPacket};
use oncemq::routing::Access;
use oncemq::topic::{Filter, MountPoint, TopicFilter, TopicName};

use crate::world::World;

impl World {
    /// What a client may do.
    pub(crate) fn access_of(&self, client: usize) -> Arc<Access> {
        let mount_point = self.clients[client].profile.mount.map(|mount| MountPoint::new(mount).unwrap());
        Arc::new(Access::everything()).below(mount_point.as_ref())
    }

    /// The packet as its client sends it.
    pub(crate) fn named_by(&self, client: usize, packet: &ClientPacket) -> ClientPacket {
        let mut packet = packet.clone();
        let Some(mount) = self.clients[client].profile.mount else { return packet };
        let inner = |filter: &mut Filter| {
            let text = filter.topic_filter.as_str().strip_prefix(mount).unwrap().to_owned();
            filter.topic_filter = TopicFilter::new(text.into()).unwrap();
        };
        match &mut packet {
            ClientPacket::Publish(publish) => {
                let name = publish.message.topic.as_str().strip_prefix(mount).unwrap().to_owned();
                Arc::make_mut(&mut publish.message).topic = TopicName::new(name.into()).unwrap();
            }
            ClientPacket::Subscribe(subscribe) => {
                subscribe.subscriptions.iter_mut().for_each(|one| inner(&mut one.filter));
            }
            ClientPacket::Unsubscribe(unsubscribe) => unsubscribe.filters.iter_mut().for_each(inner),
            ClientPacket::Connect(connect) => assert!(connect.will.is_none(), "a Will has no name below a mount point"),
            ClientPacket::Puback(_)
            | ClientPacket::Pubrec(_)
            | ClientPacket::Pubrel(_)
            | ClientPacket::Pubcomp(_)
            | ClientPacket::Pingreq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => {}
        }
        packet
    }

    /// The full topic that a client means.
    pub(crate) fn full_topic(&self, client: usize, topic: &TopicName) -> TopicName {
        let mount = self.clients[client].profile.mount.unwrap_or_default();
        TopicName::try_from(format!("{mount}{topic}").as_str()).unwrap()
    }

    /// A packet that a client has received, with full topics.
    pub(crate) fn with_full_topics(&self, client: usize, mut packet: ServerPacket) -> ServerPacket {
        if let ServerPacket::Publish(publish) = &mut packet
            && self.clients[client].profile.mount.is_some()
        {
            let topic = self.full_topic(client, &publish.message.topic);
            Arc::make_mut(&mut publish.message).topic = topic;
        }
        packet
    }
}
