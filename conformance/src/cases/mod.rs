//! The cases, in a file for each area of the standards.

use crate::case::Case;

mod acks;
mod auth;
mod carrier;
mod connack;
mod connect;
mod connect_properties;
mod data_types;
mod errors;
mod fixed_header;
mod flow_control;
mod ordering;
mod ping_disconnect;
mod properties;
mod publish;
mod publish_properties;
mod qos;
mod restart;
mod retain;
mod session;
mod shared;
mod subscribe;
mod topics;
mod transport;
mod unsubscribe;
mod will;

/// All cases. Their order gives each its Client Identifiers and topics.
pub fn all() -> Vec<&'static Case> {
    let areas: &[&'static [Case]] = &[
        data_types::CASES,
        fixed_header::CASES,
        properties::CASES,
        connect::CASES,
        connect_properties::CASES,
        connack::CASES,
        will::CASES,
        publish::CASES,
        publish_properties::CASES,
        retain::CASES,
        qos::CASES,
        acks::CASES,
        subscribe::CASES,
        unsubscribe::CASES,
        shared::CASES,
        topics::CASES,
        ping_disconnect::CASES,
        auth::CASES,
        session::CASES,
        flow_control::CASES,
        ordering::CASES,
        transport::CASES,
        errors::CASES,
        restart::CASES,
    ];
    areas.iter().flat_map(|cases| cases.iter()).collect()
}
