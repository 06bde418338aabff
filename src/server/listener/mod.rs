//! Listeners: sockets, connection limits, and the PROXY header, TLS and WebSocket handshakes before MQTT begins.

mod accept;
mod accepted;
mod admission;
mod endpoint;
mod foreign;
mod forwarded;
#[cfg(feature = "sim")]
pub mod fuzzing;
mod handshake;
mod open;
mod opening;
mod places;
mod proxy_protocol;
mod quic;
mod shut_down;
mod socket;
mod stream;
mod tcp;
mod tls;
mod unix;
mod web_origin;
mod websocket;

pub(super) use accept::{Acceptor, Early, Rate, log_refused};
pub(super) use accepted::{Accepted, Origin};
pub(super) use admission::{Admission, Permit, Refused};
pub(super) use endpoint::{ClientCertificates, Endpoint};
pub(super) use foreign::{Expected, Foreign, is_peer_gone};
pub(super) use handshake::{Arrival, Established, Handshake, HandshakeError, receive};
pub(super) use open::{ListeningSocket, OpenListener};
pub(super) use places::{Places, Port, is_without_family, log_skipped};
pub(super) use shut_down::shut_down;
pub(crate) use socket::SecondSocket;
pub(super) use socket::{AcceptedSocket, BoundSocket, Place, place_of};
pub(super) use stream::Stream;
pub(super) use tcp::{Options as TcpOptions, canonical};
pub(crate) use tls::Https;
pub use tls::TlsError;
pub(super) use tls::check as check_certificates;
pub(super) use tls::provider as tls_provider;
pub(crate) use unix::{SocketFile, bind as bind_unix_socket};
pub(super) use websocket::WebSocket;

#[cfg(test)]
pub(super) mod tests;
