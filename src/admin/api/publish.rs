//! `/publish`: publishes a message as the operator.

use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::handler::Handler as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::failure::{ErrorJson, Failure};
use super::json::Json;
use super::parameters::Body;
use super::state::ApiState;
use super::table::Routes;
use super::topics::{ANY_SHARD, topic_of};
use crate::admin::caller::Caller;
use crate::broker::{Answer, OperatorMessage, Publication, Query, TopicAnswer, TopicQuery, Unpublished};
use crate::codec::{Message, MessageProperties, MessageProperty, Qos};
use crate::server::QueryError;

pub(super) fn operator_routes() -> Routes {
    Routes::new().add(__path_publish, publish.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
}

/// A message. It has `payload`, `payload_base64` or neither.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    topic: String,
    /// A text.
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    /// Seconds.
    message_expiry_interval: Option<u32>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_base64: Option<String>,
    /// Pairs of name and value.
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Publication)]
struct PublicationJson {
    /// The number of Sessions that it was sent to or queued for.
    matched: usize,
    /// The identity of the message, which subscribers can ask for; `null` at QoS 0.
    message_id: Option<String>,
}

/// Publishes a message. The response follows when a client's PUBLISH would be acknowledged: at QoS 1 and 2 when the message is as durable as its
/// topic requires, at QoS 0 at once, with `retain` when the retained message is.
///
/// The access rules of clients do not apply, but the limits do: nothing is published below `$SYS`. Where a client would be paused, or told
/// 0x97 Quota exceeded, the message is not accepted, and the response is 503. A `dedup-id` among the User Properties has no effect.
#[utoipa::path(
    post, path = "/publish", request_body = NewMessage,
    responses(
        (status = 200, description = "It was accepted", body = PublicationJson),
        (status = 403, description = "Nobody may publish it", body = ErrorJson),
        (status = 503, description = "There is no room for it now, or the broker did not answer in time", body = ErrorJson),
    )
)]
async fn publish(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewMessage>,
) -> Result<Json<PublicationJson>, Failure> {
    let (topic, what) =
        (new.topic.clone(), format!("publish at QoS {}{}", new.qos, if new.retain { ", retained" } else { "" }));
    let outcome = publish_message(&state, new).await;
    state.audit.record(&caller, &what, &topic, &outcome);
    outcome.map(Json)
}

async fn publish_message(state: &ApiState, new: NewMessage) -> Result<PublicationJson, Failure> {
    let query = Query::Topics(TopicQuery::Publish(Box::new(new.message()?)));
    let answer = state.queries.ask(ANY_SHARD, query).await.map_err(|error| match error {
        QueryError::TimedOut(_) => Failure::unavailable(format!("{error} in time; the message may have been accepted")),
        QueryError::Ended(_) => Failure::from(error),
    })?;
    let Answer::Topics(TopicAnswer::Published(outcome)) = answer else { return Err(Failure::unexpected_answer()) };
    match outcome {
        Ok(Publication { matched, message_id }) => {
            Ok(PublicationJson { matched, message_id: message_id.map(|id| id.to_string()) })
        }
        Err(Unpublished::Refused(reason)) => Err(Failure::forbidden(reason)),
        Err(Unpublished::Busy(reason)) => Err(Failure::unavailable(reason)),
    }
}

impl NewMessage {
    fn message(self) -> Result<OperatorMessage, Failure> {
        let properties = self.properties()?;
        let topic = topic_of(&self.topic)?;
        let payload: Bytes = match (self.payload, self.payload_base64) {
            (Some(text), None) => text.into(),
            (None, Some(base64)) => decoded("payload_base64", &base64)?,
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => return Err(Failure::bad_request("payload and payload_base64 exclude each other")),
        };
        let qos = match self.qos {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(Failure::bad_request("qos must be from 0 to 2")),
        };
        let message = Message { properties, ..Message::new(topic, payload) };
        let (retain, message_expiry_interval) = (self.retain, self.message_expiry_interval);
        Ok(OperatorMessage { message, qos, retain, message_expiry_interval })
    }

    fn properties(&self) -> Result<MessageProperties, Failure> {
        let content_type = self.content_type.as_deref().map(|value| text("content_type", value)).transpose()?;
        let response_topic = self.response_topic.as_deref().map(topic_of).transpose()?;
        let correlation = self.correlation_data_base64.as_deref();
        let correlation = correlation.map(|base64| decoded("correlation_data_base64", base64)).transpose()?;
        if correlation.as_ref().is_some_and(|data| data.len() > usize::from(u16::MAX)) {
            return Err(Failure::bad_request("correlation_data_base64 must be at most 65,535 bytes"));
        }
        let user_properties = self.user_properties.iter().map(|(name, value)| {
            let (name, value) = (text("a user property", name)?, text("a user property", value)?);
            Ok(MessageProperty::UserProperty(name, value))
        });
        let user_properties: Vec<_> = user_properties.collect::<Result<_, Failure>>()?;
        let properties = content_type.map(MessageProperty::ContentType).into_iter();
        let response_topic = response_topic.map(|topic| MessageProperty::ResponseTopic(topic.as_str().into()));
        let properties = properties.chain(response_topic).chain(correlation.map(MessageProperty::CorrelationData));
        Ok(MessageProperties::from_properties(properties.chain(user_properties)))
    }
}

/// A text as MQTT permits it. [MQTT-1.5.4-2]
fn text(name: &str, value: &str) -> Result<ByteString, Failure> {
    if value.len() > usize::from(u16::MAX) || value.contains('\0') {
        return Err(Failure::bad_request(format!("{name} must have at most 65,535 bytes, and no U+0000")));
    }
    Ok(value.into())
}

fn decoded(name: &str, base64: &str) -> Result<Bytes, Failure> {
    let bytes = STANDARD.decode(base64).map_err(|error| Failure::bad_request(format!("{name}: {error}")))?;
    Ok(bytes.into())
}

/// A payload of 3 MiB in base64. A larger message is for a client.
const BODY_BYTES_MAX: usize = 4 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> Result<OperatorMessage, Failure> {
        serde_json::from_str::<NewMessage>(json).unwrap().message()
    }

    #[test]
    fn a_body_becomes_a_message_with_its_properties() {
        let body = r#"{"topic":"a/b","payload_base64":"AP8=","qos":2,"retain":true,"message_expiry_interval":60,
            "content_type":"x","response_topic":"r","correlation_data_base64":"/w==","user_properties":[["k","v"],["k","w"]]}"#;
        let OperatorMessage { message, qos, retain, message_expiry_interval } = message(body).unwrap();
        assert_eq!(
            (&*message.payload, qos, retain, message_expiry_interval),
            (&[0, 255][..], Qos::ExactlyOnce, true, Some(60))
        );
        let properties: Vec<_> = message.properties.iter().collect();
        let user = |value: &'static str| MessageProperty::UserProperty("k".into(), value.into());
        let correlation = MessageProperty::CorrelationData(Bytes::from_static(&[255]));
        let [content_type, response_topic] =
            [MessageProperty::ContentType("x".into()), MessageProperty::ResponseTopic("r".into())];
        assert_eq!(properties, [content_type, response_topic, correlation, user("v"), user("w")]);
        let bare = self::message(r#"{"topic":"t"}"#).unwrap();
        assert!(bare.message.payload.is_empty() && bare.message.properties.is_empty());
    }

    #[test]
    fn what_no_client_could_send_is_refused() {
        for fields in [
            r#""topic":"a/+""#,
            r#""topic":"""#,
            r#""topic":"t","qos":3"#,
            r#""topic":"t","payload":"x","payload_base64":"eA==""#,
            r#""topic":"t","payload_base64":"x""#,
            r#""topic":"t","response_topic":"r/#""#,
            r#""topic":"t","content_type":"\u0000""#,
            r#""topic":"t","user_properties":[["\u0000","v"]]"#,
        ] {
            assert!(message(&format!("{{{fields}}}")).is_err(), "{fields}");
        }
        assert!(serde_json::from_str::<NewMessage>(r#"{"topic":"t","other":1}"#).is_err());
    }
}
