//! Encodes and decodes MQTT packets for the integration tests, also malformed ones. It shares no code with the broker.

mod connect;
mod packet;
mod port;
mod publish;
mod stream;
mod version;

pub use connect::Connect;
pub use packet::{
    CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Packet,
    SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, acknowledge, packet, string,
};
pub use port::{free_address, free_port};
pub use publish::Publish;
pub use stream::{Received, Wire};
pub use version::Version;
