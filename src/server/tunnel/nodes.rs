use std::fmt;
use std::future::pending;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc};

use super::front::Front;
use super::stream::TunnelStream;
use crate::cluster::tunnel::{Destination, Opening};

/// Byte streams between the processes of two nodes, through tunnels: for what one asks the other that is not about one client. Only a node of the cluster can
/// open one. Cheap to clone.
#[derive(Clone)]
pub struct NodeStreams {
    front: Arc<Front>,
    arrived: Arc<Mutex<mpsc::Receiver<TunnelStream>>>,
}

impl NodeStreams {
    /// Those of a front, and where the ones of other nodes arrive.
    pub(super) fn new(front: Arc<Front>) -> (Self, mpsc::Sender<TunnelStream>) {
        let (arrivals, arrived) = mpsc::channel(ARRIVED_MAX);
        (Self { front, arrived: Arc::new(Mutex::new(arrived)) }, arrivals)
    }

    /// Opens one to a node, when there is a link to it. If that node refuses it, or the link is lost, it ends. `None`: this process ends. Cancel safe.
    pub async fn open(&self, node: Arc<str>) -> Option<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
        let to = Destination::Node;
        let opening = Opening { is_local: true, to, ..Opening::default() }.encode()?;
        self.front.open(opening, to, Some(node)).await
    }

    /// The next one that another node has opened. Those that nobody accepts are refused. Cancel safe.
    pub async fn accept(&self) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
        match self.arrived.lock().await.recv().await {
            Some(stream) => stream,
            None => pending().await,
        }
    }
}

impl fmt::Debug for NodeStreams {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NodeStreams").finish_non_exhaustive()
    }
}

/// Streams that wait to be accepted. Further ones are refused.
const ARRIVED_MAX: usize = 16;
/// Streams of one link at a time, beside clients.
pub(super) const NODE_STREAMS_MAX: usize = 64;
