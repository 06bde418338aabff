//! The JSON form of clients and subscriptions. A value that is unknown or doesn't apply is `null`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::{ClientView, ConnectionView, Owner, SubscriptionView};
use crate::codec::RetainHandling;
use crate::server::Status;

#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
pub(super) struct ClientJson {
    client_id: String,
    owner: OwnerJson,
    connected: bool,
    connection: Option<ConnectionJson>,
    /// Milliseconds since 1970, by the wall clock.
    disconnected_at_ms: Option<u64>,
    /// `null`: the Session doesn't expire.
    session_expiry_interval_seconds: Option<u32>,
    subscriptions: usize,
    queued_messages: usize,
    queued_bytes: usize,
    in_flight_messages: u32,
    not_authorized_messages: u64,
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
}

impl ClientJson {
    pub(super) fn new(view: ClientView, status: &Status) -> Self {
        let interval = view.session_expiry_interval;
        Self {
            client_id: view.client_id.as_str().to_owned(),
            owner: OwnerJson::from(&view.owner),
            connected: view.connection.is_some(),
            connection: view.connection.map(ConnectionJson::from),
            disconnected_at_ms: view.disconnected_at.map(|at| status.wall_of(at).0),
            session_expiry_interval_seconds: (interval != u32::MAX).then_some(interval),
            subscriptions: view.subscriptions,
            queued_messages: view.queued_messages,
            queued_bytes: view.queued_bytes,
            in_flight_messages: view.in_flight_messages,
            not_authorized_messages: view.not_authorized_messages,
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
    fn from(SubscriptionView { subscription, id }: SubscriptionView) -> Self {
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
        }
    }
}
