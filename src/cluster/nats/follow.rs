use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use tokio::time::timeout;

use super::super::engine::EngineError;
use super::super::request::Found;
use super::api;
use super::connection::Connection;
use super::read::{BYTES_MAX, ENTRIES_MAX};

/// A consumer that stands at a position, and is sent what comes behind it.
#[derive(Debug)]
pub(super) struct Follow {
    stream: String,
    name: String,
    inbox: String,
    subscriber: Subscriber,
    /// The last entry that it returned.
    position: u64,
    /// The number of messages that the consumer has sent.
    delivered: u64,
    /// How many more are on their way at most, without another request.
    asked: usize,
    /// How often nothing came in its time.
    silences: u32,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Entries, at least one.
    Entries(Vec<Found>),
    /// Nothing within a second.
    Nothing,
    /// The consumer is gone, or a message is missing.
    Broken,
}

impl Follow {
    /// Makes a consumer behind this position.
    pub(super) async fn begin(connection: &Connection, stream: &str, after: u64) -> Result<Self, EngineError> {
        let inbox = connection.new_inbox();
        let name = format!("oncemq-{}", inbox.rsplit('.').next().unwrap_or_default());
        let subscriber = connection.subscribe(inbox.clone()).await?;
        let request = json!({
            "stream_name": stream,
            "config": {
                "name": name,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": after.saturating_add(1),
                "ack_policy": "none",
                "replay_policy": "instant",
                "inactive_threshold": nanoseconds(INACTIVE_LIMIT),
                "mem_storage": true,
                "num_replicas": 1,
            },
            "action": "create",
        });
        api::ask(connection, &format!("CONSUMER.CREATE.{stream}.{name}"), request).await?;
        let stream = stream.to_owned();
        Ok(Self { stream, name, inbox, subscriber, position: after, delivered: 0, asked: 0, silences: 0 })
    }

    /// The position behind which it goes on.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Waits about a second for entries, and returns those that are there then.
    ///
    /// # Errors
    /// The request could not be sent.
    pub(super) async fn next(&mut self, connection: &Connection) -> Result<Came, EngineError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < ENTRIES_MAX && bytes < BYTES_MAX {
            if self.asked == 0 {
                self.ask(connection).await?;
            }
            let message = if entries.is_empty() {
                let Ok(message) = timeout(WAIT, self.subscriber.next()).await else {
                    self.silences += 1;
                    return Ok(if self.silences > SILENCES_MAX { Came::Broken } else { Came::Nothing });
                };
                message
            } else {
                let Some(message) = self.subscriber.next().now_or_never() else { break };
                message
            };
            self.silences = 0;
            match message.map(|message| self.take(message)) {
                Some(Taken::Entry(found)) => {
                    bytes += found.bytes.len();
                    entries.push(found);
                }
                Some(Taken::Status) => {}
                Some(Taken::Broken) | None if entries.is_empty() => return Ok(Came::Broken),
                // The next call finds it broken: nothing more comes.
                Some(Taken::Broken) | None => {
                    self.silences = SILENCES_MAX;
                    break;
                }
            }
        }
        Ok(Came::Entries(entries))
    }

    async fn ask(&mut self, connection: &Connection) -> Result<(), EngineError> {
        let request = json!({ "batch": ENTRIES_MAX, "max_bytes": BYTES_MAX, "expires": nanoseconds(EXPIRY) });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.name);
        let sent =
            connection.publish(&subject, Some(self.inbox.clone()), None, request.to_string().into_bytes().into());
        timeout(WAIT, sent).await.map_err(|_| EngineError::TimedOut("a request for entries"))??;
        self.asked = ENTRIES_MAX;
        Ok(())
    }

    fn take(&mut self, message: Message) -> Taken {
        if let Some(status) = message.status {
            return match meaning(status.as_u16(), message.description.as_deref().unwrap_or_default(), self.asked) {
                Meaning::RequestEnded => {
                    self.asked = 0;
                    Taken::Status
                }
                Meaning::Alive => Taken::Status,
                Meaning::Broken => Taken::Broken,
            };
        }
        let Some((position, delivered)) = message.reply.as_deref().and_then(numbers) else { return Taken::Broken };
        if delivered != self.delivered + 1 || position <= self.position {
            return Taken::Broken;
        }
        (self.position, self.delivered) = (position, delivered);
        self.asked = self.asked.saturating_sub(1);
        Taken::Entry(Found { position, bytes: message.payload })
    }

    /// Removes the consumer. Without it, the server does so after half a minute.
    pub(super) async fn end(self, connection: &Connection) {
        // It may be gone already.
        let operation = format!("CONSUMER.DELETE.{}.{}", self.stream, self.name);
        drop(api::ask(connection, &operation, serde_json::Value::Null).await);
    }
}

/// What a message without an entry says about a request for entries.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    RequestEnded,
    Alive,
    Broken,
}

/// `asked`: how many entries of the request did not come yet.
fn meaning(status: u16, text: &str, asked: usize) -> Meaning {
    match (status, text) {
        // By its time.
        (408, _) => Meaning::RequestEnded,
        // By its bytes: the next entry is for another request, if this one had any. One that is larger than all bytes is read elsewhere.
        (409, "Message Size Exceeds MaxBytes") if asked < ENTRIES_MAX => Meaning::RequestEnded,
        // The first is said behind the last entry of a request, which was counted.
        (409, "Batch Completed") | (100, _) => Meaning::Alive,
        // Its leader or its consumer is gone, or nobody answers.
        _ => Meaning::Broken,
    }
}

enum Taken {
    Entry(Found),
    Status,
    Broken,
}

/// The position in the stream, and the number of the message of the consumer, from the subject of its acknowledgement:
/// `$JS.ACK.stream.consumer.deliveries.position.number.time.pending`, or with domain and account behind `ACK` and a last part that is random.
fn numbers(subject: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = subject.strip_prefix("$JS.ACK.")?.split('.').collect();
    let from = match parts.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    Some((parts.get(from)?.parse().ok()?, parts.get(from + 1)?.parse().ok()?))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// For the first entry.
const WAIT: Duration = Duration::from_secs(1);
/// After it, a request ends. Another one is sent then.
const EXPIRY: Duration = Duration::from_secs(5);
/// A request has ended by then, and its end is told.
const SILENCES_MAX: u32 = 7;
const INACTIVE_LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_ends_is_followed_by_another_and_a_consumer_that_is_gone_by_a_new_one() {
        for (status, text, asked, expected) in [
            (408, "Request Timeout", ENTRIES_MAX, Meaning::RequestEnded),
            (408, "Request Timeout", 3, Meaning::RequestEnded),
            (409, "Batch Completed", 0, Meaning::Alive),
            (409, "Batch Completed", ENTRIES_MAX, Meaning::Alive),
            (409, "Message Size Exceeds MaxBytes", 3, Meaning::RequestEnded),
            (409, "Message Size Exceeds MaxBytes", ENTRIES_MAX, Meaning::Broken),
            (409, "Leadership Change", 3, Meaning::Broken),
            (409, "Consumer Deleted", 3, Meaning::Broken),
            (503, "", 3, Meaning::Broken),
            (100, "Idle Heartbeat", 3, Meaning::Alive),
        ] {
            assert_eq!(meaning(status, text, asked), expected, "{status} {text}");
        }
    }

    #[test]
    fn the_numbers_are_found_in_both_forms_of_the_subject() {
        assert_eq!(numbers("$JS.ACK.S.C.1.77.5.1700000000.3"), Some((77, 5)));
        assert_eq!(numbers("$JS.ACK.hub.acc.S.C.1.77.5.1700000000.3"), Some((77, 5)));
        assert_eq!(numbers("$JS.ACK._.acc.S.C.1.77.5.1700000000.3.rnd"), Some((77, 5)));
        for subject in ["", "$JS.ACK.", "$JS.ACK.S.C.1.77.5.17", "$JS.ACK.S.C.1.x.5.17.3", "a.b.S.C.1.77.5.17.3"] {
            assert_eq!(numbers(subject), None, "{subject}");
        }
    }
}
