//! Network Connections: CONNECT, authentication, Keep Alive, flow control and their end.

pub(super) mod authenticate;
pub(super) mod connect;
pub(super) mod disconnect;
pub(super) mod establish;
pub(super) mod flow_control;
pub(super) mod keep_alive;
pub(super) mod state;
