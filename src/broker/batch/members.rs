//! Reads the messages of a batch, and judges each as if its client had published it alone.

use std::sync::Arc;

use bytestring::ByteString;

use crate::batch::{BatchMessage, Terms, name_of, read};
use crate::broker::connection::terms::Offer;
use crate::broker::ids::ConnectionId;
use crate::broker::mount::mount_application;
use crate::broker::publish::refusal::Refusal;
use crate::broker::receipts::request::{RECEIPT_TO, ReceiptRequest};
use crate::broker::shard::Shard;
use crate::codec::{Message, MessageProperties, MessageProperty, Qos, ReasonCode};
use crate::session::Application;
use crate::topic::TopicName;

/// A message of a batch that its client may publish.
#[derive(Debug)]
pub(in crate::broker) struct BatchMember {
    /// With its final topic.
    pub(in crate::broker) application: Application,
    /// The seconds after which it is published; `None`: at once.
    pub(in crate::broker) delay: Option<u32>,
    /// The receipt that it asks for; a delayed message asks when it is published.
    pub(in crate::broker) receipt: Option<Box<ReceiptRequest>>,
}

/// Why a batch is refused, and the topic that is told to operators.
#[derive(Debug)]
pub(in crate::broker) struct RefusedBatch {
    pub(in crate::broker) refusal: Refusal,
    pub(in crate::broker) topic: ByteString,
}

impl Shard {
    /// The messages of a batch, if the client may publish all of them.
    pub(in crate::broker) fn members_of(
        &self,
        id: ConnectionId,
        batch: &Application,
    ) -> Result<Vec<BatchMember>, RefusedBatch> {
        let whole = |cause: String| RefusedBatch {
            refusal: Refusal::malformed(cause),
            topic: batch.message.topic.as_str().into(),
        };
        if batch.retain {
            return Err(whole("the batch: RETAIN is set for each message, not for the batch".to_owned()));
        }
        if self.settings.receipts.open_max > 0 && batch.message.properties.user_property(RECEIPT_TO).is_some() {
            return Err(whole(format!("the batch: {RECEIPT_TO} is set for each message, not for the batch")));
        }
        let terms = Terms { messages_max: self.settings.batch_messages_max, qos: batch.qos };
        let content_type = content_type(&batch.message.properties);
        let messages = read(&batch.message.payload, content_type.as_deref(), terms);
        let messages = messages.map_err(|malformed| whole(malformed.to_string()))?;
        let offer = self.offer(id);
        let mut receipts = 0;
        let judged = (1..).zip(messages).map(|(number, message)| {
            let topic = message.message.topic.clone();
            let judged = self.judge_member(id, batch, &offer, message).and_then(|member| {
                let receipt = self.receipt_request(id, &member.application, receipts)?;
                receipts += usize::from(receipt.is_some());
                Ok(BatchMember { receipt, ..member })
            });
            judged.map_err(|refusal| RefusedBatch {
                refusal: refusal.of_member(number, &topic),
                topic: topic.as_str().into(),
            })
        });
        judged.collect()
    }

    /// Judges a message as a PUBLISH of the client: the offer of CONNACK, rewrite rules, mount point, delay, limits and access rules, in this
    /// order.
    fn judge_member(
        &self,
        id: ConnectionId,
        batch: &Application,
        offer: &Offer,
        BatchMessage { mut message, qos, retain, message_expiry_interval }: BatchMessage,
    ) -> Result<BatchMember, Refusal> {
        if qos > offer.maximum_qos {
            return Err(Refusal::malformed(format!("its QoS is above the maximum, {}", offer.maximum_qos.level())));
        }
        if retain && !offer.retain_available {
            return Err(Refusal::malformed("retained messages are not available"));
        }
        let is_checked = self.settings.validate_payload_format && message.properties.payload_is_utf8();
        if is_checked && std::str::from_utf8(&message.payload).is_err() {
            return Err(Refusal::malformed("the payload is not UTF-8 although its Payload Format Indicator is 1"));
        }
        if let Some(topic) = self.rewritten_topic(id, &message.topic)? {
            message.topic = topic;
        }
        message.received = batch.message.received;
        let mut application = Application {
            message: Arc::new(message),
            is_topic_copied: true,
            qos,
            retain,
            packet_id: None,
            message_expiry_interval: message_expiry_interval.or(batch.message_expiry_interval),
        };
        let denied = || Refusal::by_rule(String::new());
        let connection = self.connection(id).ok_or_else(denied)?;
        if let Some(mount_point) = connection.access.mount_point() {
            mount_application(mount_point, &mut application, self.settings.delayed_publish)
                .map_err(Refusal::unmountable)?;
        }
        let delay = self.take_delay(&mut application)?.map(|postponed| postponed.seconds);
        let Message { topic, payload, .. } = &*application.message;
        self.judge_publish(connection.sys_publisher(), topic, payload.len())?;
        Ok(BatchMember { application, delay, receipt: None })
    }
}

fn content_type(properties: &MessageProperties) -> Option<ByteString> {
    properties.iter().find_map(|property| match property {
        MessageProperty::ContentType(name) => Some(name),
        MessageProperty::PayloadFormatIndicator(_)
        | MessageProperty::ResponseTopic(_)
        | MessageProperty::CorrelationData(_)
        | MessageProperty::UserProperty(..) => None,
    })
}

impl Refusal {
    /// The payload is no batch, or one of its messages can't be published by anybody.
    pub(in crate::broker) fn malformed(cause: impl Into<ByteString>) -> Self {
        let cause = cause.into();
        let reason_code = ReasonCode::PayloadFormatInvalid;
        Self { reason_code, rule: cause.clone(), sentence: cause, is_limit: true, source: None }
    }

    /// The same for a message of a batch, which is named. The Topic Name of the PUBLISH is valid, so it is the payload that is not.
    fn of_member(self, number: usize, topic: &TopicName) -> Self {
        let is_topic = self.reason_code == ReasonCode::TopicNameInvalid;
        let reason_code = if is_topic { ReasonCode::PayloadFormatInvalid } else { self.reason_code };
        let name = name_of(number, topic);
        let rule = format!("{name}: {}", self.rule).into();
        Self { reason_code, rule, sentence: format!("{name}: {}", self.sentence).into(), ..self }
    }
}

/// What the QoS of a batch has to be: a PUBLISH at QoS 0 has no answer.
pub(in crate::broker) const NEEDS_ANSWER: &str = "a batch needs QoS 1 or 2";

/// The code for a batch at QoS 0, for operators: its client is not answered.
pub(in crate::broker) const UNANSWERED: ReasonCode = ReasonCode::QosNotSupported;

const _: () = assert!(Qos::AtMostOnce as u8 == 0);
