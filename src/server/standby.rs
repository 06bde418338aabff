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
    /// The name of its node, if there are nodes.
    node: watch::Sender<Option<String>>,
}

impl Standby {
    /// `owner`: the Server Reference of the other server, if it is known.
    pub fn new(owner: Option<&str>) -> Arc<Self> {
        Arc::new(Self { owner: watch::Sender::new(owner.map(Into::into)), node: watch::Sender::new(None) })
    }

    /// Changes it for later clients.
    pub fn set_owner(&self, owner: Option<&str>) {
        self.owner.send_if_modified(|before| {
            let has_changed = before.as_deref() != owner;
            *before = owner.map(Into::into);
            has_changed
        });
    }

    /// Changes the node to which the clients are passed, if they are. `None`: there is none now, which does not end the connections to the one before.
    pub fn set_node(&self, node: Option<&str>) {
        self.node.send_if_modified(|before| {
            let has_changed = before.as_deref() != node;
            *before = node.map(str::to_owned);
            has_changed
        });
    }

    pub(super) fn watch(&self) -> Owner {
        Owner { reference: self.owner.subscribe(), node: self.node.subscribe() }
    }
}

/// The server's end of [`Standby`].
#[derive(Debug)]
pub(super) struct Owner {
    reference: watch::Receiver<Option<ByteString>>,
    node: watch::Receiver<Option<String>>,
}

impl Owner {
    /// The Server Reference of the other server, if it is known.
    pub(super) fn reference(&self) -> Option<ByteString> {
        self.reference.borrow().clone()
    }

    /// The name of its node, if there are nodes.
    pub(super) fn node(&self) -> watch::Receiver<Option<String>> {
        self.node.clone()
    }
}

/// Waits until the other server changes; for ever if this is no standby. Cancel safe.
pub(super) async fn owner_changed(standby: &mut Option<Owner>) {
    let is_changed = match standby {
        Some(Owner { reference, .. }) => reference.changed().await.is_ok(),
        None => false,
    };
    // Nobody changes it any more.
    if !is_changed {
        pending::<()>().await;
    }
}
