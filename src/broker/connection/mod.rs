//! Network Connections: CONNECT, authentication, Keep Alive, flow control and disconnection.

pub(super) mod authenticate;
pub(super) mod backlog;
pub(super) mod cause;
pub(super) mod client_ids;
pub(super) mod connect;
pub(super) mod disconnect;
pub(super) mod establish;
pub(super) mod explain;
pub(super) mod farewell;
pub(super) mod flow_control;
pub(super) mod keep_alive;
pub(super) mod kick;
pub(super) mod last_end;
pub(super) mod packet_effect;
pub(super) mod pause;
pub(super) mod rate;
pub(super) mod rate_limits;
pub(super) mod slow_receiver;
pub(super) mod state;
pub(super) mod table;
pub(super) mod terms;
pub(super) mod waiting;
pub(super) mod will_topic;
