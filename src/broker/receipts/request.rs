//! A receipt that a client wants.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::persistence::receipt::Originator;
use crate::topic::TopicName;

/// A receipt that a message asks for.
#[derive(Debug, Clone)]
pub(in crate::broker) struct ReceiptRequest {
    pub(in crate::broker) originator: Arc<Originator>,
    /// With the mount point of the originator.
    pub(in crate::broker) to: TopicName,
    /// The Correlation Data of the message.
    pub(in crate::broker) correlation: Option<Bytes>,
}

/// The User Property of a message that asks for a receipt: its topic.
pub(in crate::broker) const RECEIPT_TO: &str = "receipt-to";
