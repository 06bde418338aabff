use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::client::traits::Publisher as _;
use async_nats::connection::State;
use async_nats::message::OutboundMessage;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, ServerAddr, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::engine::{Condition, EngineError};
use super::credentials;
use super::replies::{Replies, Slot};
use crate::config::Cluster;
use crate::server_trust::{ClientTls, NameCheck, client_config};

/// A connection to one of the servers, which is made again whenever it ends, and the requests on it.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    /// What the subjects of all replies begin with.
    inbox: String,
    replies: Arc<Replies>,
    dispatcher: JoinHandle<()>,
    trouble: Mutex<Option<String>>,
}

impl Connection {
    /// Connects to one of the servers.
    ///
    /// # Errors
    /// None of them answers, they do not know this node, or are too old.
    pub(super) async fn new(config: &Cluster) -> Result<Self, EngineError> {
        let addresses: Vec<ServerAddr> = config
            .parsed_addresses()
            .iter()
            .map(|address| address.to_string().parse())
            .collect::<Result<_, _>>()
            .map_err(|error: std::io::Error| EngineError::Unreachable(error.to_string()))?;
        let replies = Arc::new(Replies::default());
        let options = options(config, Arc::clone(&replies))?;
        let client = timeout(CONNECT_LIMIT, options.connect(addresses)).await;
        let client = client.map_err(|_| EngineError::TimedOut("connect"))?;
        let client = client.map_err(|error| EngineError::Unreachable(words(&error)))?;
        check_version(&client.server_info().version)?;
        let inbox = client.new_inbox();
        let subscriber = client.subscribe(format!("{inbox}.*")).await;
        let subscriber = subscriber.map_err(|error| EngineError::Unreachable(error.to_string()))?;
        let dispatcher = tokio::spawn(dispatch(subscriber, Arc::clone(&replies)));
        Ok(Self { client, inbox, replies, dispatcher, trouble: Mutex::default() })
    }

    /// Sends a request, and waits for its reply. The first poll puts it in line.
    pub(super) async fn request(&self, call: Call) -> Result<Message, EngineError> {
        let Call { subject, headers, payload, limit, what } = call;
        self.check()?;
        let mut slot = self.replies.one();
        let exchange = async {
            self.publish(&subject, Some(self.reply_subject(&slot)), headers, payload).await?;
            (&mut slot.receiver).await.map_err(|_| EngineError::Unreachable("it has ended".to_owned()))
        };
        let message = timeout(limit, exchange).await.map_err(|_| EngineError::TimedOut(what))??;
        match message.status {
            Some(StatusCode::NO_RESPONDERS) => Err(EngineError::Unattended(subject)),
            _ => Ok(message),
        }
    }

    /// Sends a request, and returns where its replies arrive, at most this number.
    pub(super) async fn request_many(
        &self,
        call: Call,
        most: usize,
    ) -> Result<Slot<mpsc::Receiver<Message>>, EngineError> {
        let Call { subject, headers, payload, limit, what } = call;
        self.check()?;
        let slot = self.replies.many(most);
        let sent = self.publish(&subject, Some(self.reply_subject(&slot)), headers, payload);
        timeout(limit, sent).await.map_err(|_| EngineError::TimedOut(what))??;
        Ok(slot)
    }

    /// Sends a message.
    pub(super) async fn publish(
        &self,
        subject: &str,
        reply: Option<String>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), EngineError> {
        let message = OutboundMessage { subject: subject.into(), reply: reply.map(Into::into), payload, headers };
        self.client.publish_message(message).await.map_err(|error| EngineError::Unreachable(error.to_string()))
    }

    /// Waits until all messages are with the server.
    pub(super) async fn flush(&self) {
        // It fails only without a connection.
        drop(self.client.flush().await);
    }

    /// Receives the messages with this subject.
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, EngineError> {
        let subscriber = timeout(CONNECT_LIMIT, self.client.subscribe(subject)).await;
        let subscriber = subscriber.map_err(|_| EngineError::TimedOut("subscribe"))?;
        subscriber.map_err(|error| EngineError::Unreachable(error.to_string()))
    }

    /// Connects to one of the servers anew, which may be the same one again.
    pub(super) async fn reconnect(&self) {
        if self.is_connected() {
            // It fails only when the connection has been given up for good.
            drop(self.client.force_reconnect().await);
        }
    }

    /// A subject that no other has.
    pub(super) fn new_inbox(&self) -> String {
        self.client.new_inbox()
    }

    /// The most bytes that a message can have, with its headers.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.client.max_payload()
    }

    /// Remembers why an append was not carried out.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn condition(&self) -> Condition {
        let info = self.client.server_info();
        let server = format!("{} ({}:{}, {})", info.server_name, info.host, info.port, info.version);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The cluster may have another server that is older.
        let version = check_version(&info.version).err().map(|error| error.to_string());
        Condition { server: self.is_connected().then_some(server), trouble: trouble.or(version) }
    }

    /// What is handed over without a connection would be sent when there is one again, however late.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        if self.is_connected() { Ok(()) } else { Err(EngineError::Unreachable("another one is being made".to_owned())) }
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn reply_subject<T>(&self, slot: &Slot<T>) -> String {
        format!("{}.{}", self.inbox, slot.number)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) subject: String,
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
    pub(super) limit: Duration,
    /// What is missing if there is no reply.
    pub(super) what: &'static str,
}

async fn dispatch(mut subscriber: Subscriber, replies: Arc<Replies>) {
    while let Some(message) = subscriber.next().await {
        replies.hand_over(message);
    }
}

fn options(config: &Cluster, replies: Arc<Replies>) -> Result<ConnectOptions, EngineError> {
    let files = ClientTls { trusted: config.ca.as_deref(), identity: config.identity(), name: NameCheck::Required };
    let is_encrypted = config.parsed_addresses().iter().any(|address| address.is_encrypted);
    let tls = match client_config(files) {
        Ok(tls) => Some(tls),
        Err(error) if is_encrypted => return Err(EngineError::Files(error.to_string())),
        // It is for a server on this machine that asks for TLS all the same.
        Err(_) => None,
    };
    let of_auth = config.clone();
    let auth = move |nonce: Vec<u8>| {
        let auth = credentials::auth(&of_auth, &nonce);
        async move { auth }
    };
    let on_event = move |event: Event| {
        if event == Event::Disconnected {
            replies.give_up();
        }
        async {}
    };
    let options = ConnectOptions::with_auth_callback(auth)
        .name(format!("oncemq {}", config.node.as_deref().unwrap_or_default()))
        // It is the operator who says which servers are asked, and by which names they are certified.
        .ignore_discovered_servers()
        .require_tls(is_encrypted)
        .connection_timeout(HANDSHAKE_LIMIT)
        .ping_interval(PING_INTERVAL)
        .client_capacity(COMMANDS_MAX)
        .subscription_capacity(MESSAGES_MAX)
        .max_reconnects(None)
        .reconnect_delay_callback(pause)
        .event_callback(on_event);
    Ok(match tls {
        Some(tls) => options.tls_client_config(tls),
        None => options,
    })
}

/// The pause before an attempt to connect, of which there is one for each server in turn.
fn pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    if attempts <= 1 { Duration::ZERO } else { (PAUSE_MIN * 2_u32.pow(doublings - 1)).min(PAUSE_MAX) }
}

/// The causes of an error in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// From this version on, an acknowledged entry is on the disks of a majority at a bearable price: it syncs the log of its consensus alone, once a batch.
fn check_version(found: &str) -> Result<(), EngineError> {
    let mut numbers = found.trim_start_matches('v').split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let mut next = || numbers.next().flatten();
    let version = (next(), next(), next());
    let is_old = match version {
        (Some(major), Some(minor), Some(patch)) => (major, minor, patch) < VERSION_MIN,
        _ => true,
    };
    if is_old { Err(EngineError::Version { found: found.to_owned(), required: VERSION_MIN_TEXT }) } else { Ok(()) }
}

const VERSION_MIN: (u32, u32, u32) = (2, 15, 1);
const VERSION_MIN_TEXT: &str = "2.15.1";
/// For one server, with TLS.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
/// For the first connection: two servers that are silent, and one that answers.
const CONNECT_LIMIT: Duration = Duration::from_secs(12);
/// A server that stops without an end of its connection is left after three of them.
const PING_INTERVAL: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Messages in line for the connection. The callers bound their bytes; what is beyond waits.
const COMMANDS_MAX: usize = 1_024;
/// Messages that arrived and are not taken yet, for each subscription: more than are ever asked for at a time.
const MESSAGES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_before_the_required_version_is_refused() {
        for version in ["2.15.1", "2.15.2", "2.16.0", "3.0.0", "v2.15.1", "2.15.1-RC.1", "2.100.0"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["2.15.0", "2.15.0-dev", "2.14.9", "1.99.9", "", "2.15", "x"] {
            assert!(check_version(version).is_err(), "{version:?}");
        }
    }

    #[test]
    fn the_pause_between_attempts_grows_and_has_an_end() {
        let pauses: Vec<u128> = [0, 1, 2, 3, 4, 7, 8, 9, 1_000].map(|attempts| pause(attempts).as_millis()).into();
        assert_eq!(pauses, [0, 0, 50, 100, 200, 1_600, 2_000, 2_000, 2_000]);
    }
}
