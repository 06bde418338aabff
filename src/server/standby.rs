//! A broker that serves no clients because another server does: it says so to them.

use std::future::pending;
use std::sync::Arc;

use bytestring::ByteString;
use tokio::sync::watch;

/// Which server serves the clients, in place of this one. It can change while this one runs.
///
/// A standby has the listeners and the limits that are configured, and opens no store. Each CONNECT is answered with 0x9C Use another server before
/// anybody is asked who the client is, and the connection is closed. A 5.0 client gets the Server Reference too, if it is known. Without one,
/// the client tries the servers that it knows, until it finds the other one.
#[derive(Debug)]
pub struct Standby {
    owner: watch::Sender<Option<ByteString>>,
}

impl Standby {
    /// `owner`: the Server Reference of the other server, if it is known.
    pub fn new(owner: Option<&str>) -> Arc<Self> {
        Arc::new(Self { owner: watch::Sender::new(owner.map(Into::into)) })
    }

    /// Changes it for later clients.
    pub fn set_owner(&self, owner: Option<&str>) {
        self.owner.send_if_modified(|before| {
            let has_changed = before.as_deref() != owner;
            *before = owner.map(Into::into);
            has_changed
        });
    }

    pub(super) fn watch(&self) -> Owner {
        Owner(self.owner.subscribe())
    }
}

/// The server's end of [`Standby`].
#[derive(Debug)]
pub(super) struct Owner(watch::Receiver<Option<ByteString>>);

impl Owner {
    /// The Server Reference of the other server, if it is known.
    pub(super) fn reference(&self) -> Option<ByteString> {
        self.0.borrow().clone()
    }
}

/// Waits until the other server changes; for ever if this is no standby. Cancel safe.
pub(super) async fn owner_changed(standby: &mut Option<Owner>) {
    let is_changed = match standby {
        Some(Owner(owner)) => owner.changed().await.is_ok(),
        None => false,
    };
    // Nobody changes it any more.
    if !is_changed {
        pending::<()>().await;
    }
}
