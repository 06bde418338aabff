//! The JSON form of clients and subscriptions. A value that is unknown or doesn't apply is `null`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::time::rfc_3339;
use crate::broker::{ClientView, ConnectionView, DropReason, LastDisconnect, Owner, SubscriptionView};
use crate::codec::{ReasonCode, RetainHandling};
use crate::server::Status;

#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub(super) struct ClientJson {
    client_id: String,
    /// The user name of the client; while it is away, that of the owner.
    user: Option<String>,
    /// Whether a provider verified the user name.
    verified: bool,
    /// With the port; `null`: it is away, or connected over a Unix socket.
    address: Option<String>,
    listener: Option<String>,
    /// `3.1`, `3.1.1` or `5.0`.
    version: Option<&'static str>,
    /// RFC 3339.
    connected_since: Option<String>,
    /// In seconds; 0: off.
    keep_alive: Option<u16>,
    clean_start: Option<bool>,
    /// In seconds; `null`: the Session doesn't expire.
    session_expiry_interval: Option<u32>,
    /// QoS 1 and 2 messages to the client that are not acknowledged.
    in_flight_out: u32,
    /// QoS 1 and 2 messages of the client whose acknowledgement is not complete.
    in_flight_in: u32,
    /// From the client, on this connection.
    received: Option<TrafficJson>,
    /// To the client, on this connection.
    sent: Option<TrafficJson>,
    /// Messages to the client that were dropped since the start of the broker, by reason.
    dropped: BTreeMap<&'static str, u32>,
    /// The end of the last connection, or of the one before the present one. In a list, `null` if that was of an earlier Session.
    last_disconnect: Option<LastDisconnectJson>,
    owner: OwnerJson,
    /// What its topics are below: the client knows them without it, all others with it. `null`: the client has no mount point.
    mount_point: Option<String>,
    connected: bool,
    connection: Option<ConnectionJson>,
    /// Milliseconds since 1970, by the wall clock.
    disconnected_at_ms: Option<u64>,
    /// `null`: the Session doesn't expire.
    session_expiry_interval_seconds: Option<u32>,
    subscriptions: usize,
    queued_messages: usize,
    queued_bytes: usize,
    /// The greatest number of messages in its queue, and of bytes; `limits.queue_overflow` says what happens beyond.
    queued_messages_max: usize,
    queued_bytes_max: usize,
    in_flight_messages: u32,
    /// The same as `not_authorized` in `dropped`.
    not_authorized_messages: u32,
}

/// What was transferred on a connection.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionTraffic)]
struct TrafficJson {
    /// PUBLISH packets.
    messages: u64,
    /// Bytes of all packets, within TLS.
    bytes: u64,
}

/// How a connection ended.
#[derive(Serialize, ToSchema)]
#[schema(as = LastDisconnect)]
struct LastDisconnectJson {
    /// RFC 3339. After a crash of the broker: when it started again.
    at: String,
    /// `disconnect`, `closed`, `keep-alive`, `takeover`, `protocol-error`, `kicked`, `not-authorized`, `limit`, `shutdown`, or `crash`: the broker
    /// ended without recording it. `null`: it was before the last start of the broker, and the store has the time alone.
    how: Option<&'static str>,
    /// The Reason Code of DISCONNECT; `null`: the transport ended, or it is not known.
    reason_code: Option<u8>,
    /// For people.
    reason: Option<String>,
}

/// Whose the Session is. `user` is `null` for anonymous clients; then `provider` is `anonymous`. `provider` is `null` if it is not known yet.
#[derive(Serialize, ToSchema)]
#[schema(as = SessionOwner)]
struct OwnerJson {
    user: Option<String>,
    provider: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
struct ConnectionJson {
    user: Option<String>,
    user_verified: bool,
    address: Option<String>,
    listener: String,
    protocol_version: &'static str,
    bridge: bool,
    keep_alive_seconds: u16,
    unsent_bytes: usize,
    /// Why the broker doesn't read from the connection; empty if it does.
    paused_because: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ClientSubscription)]
pub(super) struct SubscriptionJson {
    filter: String,
    maximum_qos: u8,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    subscription_identifier: Option<u32>,
    /// Of a subscription to a stream: the first message that neither was sent nor is in the queue.
    stream_next: Option<u64>,
    /// Of a subscription to a stream: how many messages the stream has from there on.
    stream_lag: Option<u64>,
}

impl ClientJson {
    pub(super) fn new(view: ClientView, status: &Status) -> Self {
        let interval = Some(view.session_expiry_interval).filter(|seconds| *seconds != u32::MAX);
        let connection = view.connection.as_ref();
        let user = connection.map_or(view.owner.user(), |connection| connection.user.as_ref());
        let dropped: BTreeMap<_, _> = view.dropped.iter().map(|(reason, count)| (reason.name(), *count)).collect();
        let traffic = |(messages, bytes)| TrafficJson { messages, bytes };
        Self {
            client_id: view.client_id.as_str().to_owned(),
            user: user.map(|user| user.to_string()),
            verified: connection.map_or(view.owner.user().is_some(), |connection| connection.is_verified),
            address: connection.and_then(|connection| Some(connection.address?.to_string())),
            listener: connection.map(|connection| connection.listener.to_string()),
            version: connection.map(|connection| connection.version.name()),
            connected_since: connection.map(|connection| rfc_3339(status.wall_of(connection.connected_at))),
            keep_alive: connection.map(|connection| connection.keep_alive),
            clean_start: connection.map(|connection| connection.clean_start),
            session_expiry_interval: interval,
            in_flight_out: view.in_flight_messages,
            in_flight_in: view.in_flight_in,
            received: connection.map(|connection| traffic((connection.messages.0, connection.bytes.0))),
            sent: connection.map(|connection| traffic((connection.messages.1, connection.bytes.1))),
            not_authorized_messages: dropped.get(DropReason::NotAuthorized.name()).copied().unwrap_or_default(),
            dropped,
            last_disconnect: view.last_disconnect.map(|last| LastDisconnectJson::new(last, status)),
            mount_point: view.owner.mount_point().map(|mount_point| mount_point.to_string()),
            owner: OwnerJson::from(&view.owner),
            connected: view.connection.is_some(),
            connection: view.connection.map(ConnectionJson::from),
            disconnected_at_ms: view.disconnected_at.map(|at| status.wall_of(at).0),
            session_expiry_interval_seconds: interval,
            subscriptions: view.subscriptions,
            queued_messages: view.queued_messages,
            queued_bytes: view.queued_bytes,
            queued_messages_max: view.queued_messages_max,
            queued_bytes_max: view.queued_bytes_max,
            in_flight_messages: view.in_flight_messages,
        }
    }
}

impl LastDisconnectJson {
    fn new(LastDisconnect { at, kind, reason_code, reason }: LastDisconnect, status: &Status) -> Self {
        Self {
            at: rfc_3339(status.wall_of(at)),
            how: kind.name(),
            reason_code: reason_code.map(ReasonCode::number),
            reason: reason.map(|reason| reason.to_string()),
        }
    }
}

impl From<&Owner> for OwnerJson {
    fn from(owner: &Owner) -> Self {
        Self { user: owner.user().map(|user| user.to_string()), provider: owner.provider().map(str::to_owned) }
    }
}

impl From<ConnectionView> for ConnectionJson {
    fn from(view: ConnectionView) -> Self {
        Self {
            user: view.user.map(|user| user.to_string()),
            user_verified: view.is_verified,
            address: view.address.map(|address| address.to_string()),
            listener: view.listener.to_string(),
            protocol_version: view.version.name(),
            bridge: view.is_bridge,
            keep_alive_seconds: view.keep_alive,
            unsent_bytes: view.unsent_bytes,
            paused_because: view.pause_reasons,
        }
    }
}

impl From<SubscriptionView> for SubscriptionJson {
    fn from(SubscriptionView { subscription, id, progress }: SubscriptionView) -> Self {
        let options = subscription.options;
        Self {
            filter: subscription.filter.to_string(),
            maximum_qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: match options.retain_handling {
                RetainHandling::Send => 0,
                RetainHandling::SendIfNew => 1,
                RetainHandling::DoNotSend => 2,
            },
            subscription_identifier: id.map(|id| id.get()),
            stream_next: progress.and_then(|progress| progress.next),
            stream_lag: progress.and_then(|progress| progress.lag),
        }
    }
}
