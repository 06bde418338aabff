use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::bus::{Arrived, Bus, Way};
use super::super::engine::{EngineError, Pending};
use super::connection::Connection;
use super::names::Names;
use crate::config::Cluster;

/// Frames between nodes as messages of core NATS, over a connection of its own: what many clients send delays neither the log nor signs of life.
#[derive(Debug, Clone)]
pub struct NatsBus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connection: Connection,
    names: Names,
}

impl NatsBus {
    /// Connects to one of the servers.
    ///
    /// # Errors
    /// No server answers, or not as it must. The caller tries again later.
    pub async fn connect(config: &Cluster) -> Result<Self, EngineError> {
        let connection = Connection::new(config).await?;
        Ok(Self(Arc::new(Shared { connection, names: Names::of(config, 0) })))
    }
}

impl Bus for NatsBus {
    fn send(&self, node: &str, _way: Way, frame: Bytes) -> Pending<Result<(), EngineError>> {
        let shared = Arc::clone(&self.0);
        let subject = format!("{}{node}.{}", shared.names.link_prefix, shared.names.node);
        Box::pin(async move {
            shared.connection.check()?;
            let sent = timeout(SEND_LIMIT, shared.connection.publish(&subject, None, None, frame)).await;
            sent.map_err(|_| EngineError::TimedOut("a frame"))?
        })
    }

    fn frames(&self) -> Pending<Result<mpsc::Receiver<Arrived>, EngineError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let prefix = format!("{}{}.", shared.names.link_prefix, shared.names.node);
            let mut subscriber = shared.connection.subscribe(format!("{prefix}*")).await?;
            let (sender, receiver) = mpsc::channel(FRAMES_WAITING_MAX);
            tokio::spawn(async move {
                loop {
                    let message = tokio::select! {
                        message = subscriber.next() => message,
                        () = sender.closed() => return,
                    };
                    let Some(message) = message else { return };
                    let Some(node) = message.subject.strip_prefix(&prefix) else { continue };
                    // Behind it, the subscription loses what it has no room for.
                    let arrived = Arrived { node: node.to_owned(), way: Way::Service, frame: message.payload };
                    if sender.send(arrived).await.is_err() {
                        return;
                    }
                }
            });
            Ok(receiver)
        })
    }

    fn flush(&self) -> Pending<()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let _in_time_or_not = timeout(SEND_LIMIT, shared.connection.flush()).await;
        })
    }
}

/// A node that can't send for so long closes its tunnels.
const SEND_LIMIT: Duration = Duration::from_secs(1);
/// A few are taken at a time.
const FRAMES_WAITING_MAX: usize = 64;
