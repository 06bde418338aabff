//! Decides whether a client gets the receipt that its message asks for.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::broker::ids::ConnectionId;
use crate::broker::memory::MEMORY_SHORT;
use crate::broker::persistence::receipt::Originator;
use crate::broker::publish::ingress::Denial;
use crate::broker::publish::refusal::Refusal;
use crate::broker::receipts::registry::ReceiptsFull;
use crate::broker::receipts::request::{RECEIPT_TO, ReceiptRequest};
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, Qos, ReasonCode};
use crate::session::Application;
use crate::topic::{MountPoint, TopicName};

impl Shard {
    /// The receipt that a message of a client asks for, if it has QoS 1 or 2. `more`: those that other messages of the same PUBLISH ask for.
    #[inline]
    pub(in crate::broker) fn receipt_request(
        &self,
        id: ConnectionId,
        application: &Application,
        more: usize,
    ) -> Result<Option<Box<ReceiptRequest>>, Refusal> {
        let Application { message, qos, .. } = application;
        if message.properties.is_empty() || *qos == Qos::AtMostOnce {
            return Ok(None);
        }
        match message.properties.user_property(RECEIPT_TO) {
            Some(topic) => self.judge_receipt(id, (topic, message), more),
            None => Ok(None),
        }
    }

    /// Judges a request for a receipt to `topic`.
    #[cold]
    pub(in crate::broker) fn judge_receipt(
        &self,
        id: ConnectionId,
        (topic, message): (&str, &Message),
        more: usize,
    ) -> Result<Option<Box<ReceiptRequest>>, Refusal> {
        let limits = &self.settings.receipts;
        let connection = self.connection(id).filter(|connection| !connection.identity.owner.is_of_broker());
        let Some(connection) = connection.filter(|_| limits.open_max > 0) else { return Ok(None) };
        let to = topic_of(topic, connection.access.mount_point())?;
        if let Some(fault) = self.topic_fault(to.as_str()) {
            return Err(Refusal::of_receipt(ReasonCode::TopicNameInvalid, fault));
        }
        connection.access.publish(&to).map_err(|denied| {
            let rule = ByteString::from(denied.to_string());
            let reason_code = ReasonCode::NotAuthorized;
            Refusal { rule, source: denied.rule, is_limit: false, ..Refusal::of_receipt(reason_code, DENIED) }
        })?;
        let correlation = message.properties.correlation_data();
        if correlation.is_some_and(|data| data.len() > CORRELATION_BYTES_MAX) {
            let limit = format!("the Correlation Data has more than {CORRELATION_BYTES_MAX} bytes");
            return Err(Refusal::of_receipt(ReasonCode::QuotaExceeded, limit));
        }
        let client_id = connection.client_id.clone().unwrap_or_else(|| "".into());
        let originator = Originator { client_id, owner: connection.identity.owner.clone() };
        let name = originator.owner.publisher_name(originator.client_id.as_str());
        let full = self.shared.receipts.check(&name, more, limits).map_err(|full| match full {
            ReceiptsFull::All => "too many are open (receipts.open_max), or they have too many receivers",
            ReceiptsFull::OfClient => {
                "too many of this client are open (receipts.open_per_client_max), or they have too many receivers"
            }
        });
        full.and(if self.is_memory_short() { Err(MEMORY_SHORT) } else { Ok(()) })
            .map_err(|limit| Refusal::of_receipt(ReasonCode::QuotaExceeded, limit))?;
        let correlation = correlation.map(Bytes::copy_from_slice);
        Ok(Some(Box::new(ReceiptRequest { originator: Arc::new(originator), to, correlation })))
    }

    /// Reports and counts a message that is not accepted because of its receipt.
    #[cold]
    pub(in crate::broker) fn receipt_refused(
        &mut self,
        id: ConnectionId,
        application: &Application,
        refusal: Refusal,
        turn: &mut Turn<'_>,
    ) -> Refusal {
        self.counters.receipts_refused += 1;
        let (topic, reason_code) = (application.message.topic.as_str().into(), refusal.reason_code);
        self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule: refusal.rule.clone() }, turn);
        refusal
    }

    /// The receipt that a delayed message asks for, which was judged when it was accepted. It counts, but no limit holds it up.
    pub(in crate::broker) fn receipt_of_delayed(
        &self,
        (message, qos): (&Message, Qos),
        originator: impl FnOnce() -> Originator,
    ) -> Option<Box<ReceiptRequest>> {
        if qos == Qos::AtMostOnce || self.settings.receipts.open_max == 0 {
            return None;
        }
        let topic = message.properties.user_property(RECEIPT_TO)?;
        let originator = Some(originator()).filter(|originator| !originator.owner.is_of_broker())?;
        let to = topic_of(topic, originator.owner.mount_point()).ok()?;
        let correlation = message.properties.correlation_data().map(Bytes::copy_from_slice);
        Some(Box::new(ReceiptRequest { originator: Arc::new(originator), to, correlation }))
    }
}

/// The topic of a receipt that a client calls `topic`.
fn topic_of(topic: &str, mount_point: Option<&MountPoint>) -> Result<TopicName, Refusal> {
    let invalid = |cause: &dyn std::fmt::Display| Refusal::of_receipt(ReasonCode::TopicNameInvalid, cause.to_string());
    if topic.starts_with('$') {
        return Err(invalid(&"a receipt is not published to a topic that begins with $"));
    }
    let topic = TopicName::new(topic.into()).map_err(|error| invalid(&error))?;
    match mount_point {
        Some(mount_point) => mount_point.topic(&topic).map_err(|fault| invalid(&fault)),
        None => Ok(topic),
    }
}

impl Refusal {
    /// The receipt that a message asks for is not possible, so the message is not accepted.
    fn of_receipt(reason_code: ReasonCode, cause: impl Into<ByteString>) -> Self {
        let sentence = ByteString::from(format!("{RECEIPT_TO}: {}", cause.into()));
        Self { reason_code, rule: sentence.clone(), sentence, is_limit: true, source: None }
    }
}

const DENIED: &str = "not authorized to publish to this topic";
/// The Correlation Data is in memory for each open receipt.
const CORRELATION_BYTES_MAX: usize = 256;
