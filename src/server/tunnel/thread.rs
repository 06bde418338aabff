use std::future::pending;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::arrivals::{Arrivals, Endpoints, Receiver};
use super::bus::TunnelBus;
use super::front::{self, Front, Open};
use super::hub::Hub;
use super::links::keep_links;
use super::nodes::NodeStreams;
use super::pipe::Ready;
use super::roles::{FrontRole, Roles, Targets};
use super::stream::TunnelStream;
use crate::cluster::{Arrived, Bus};
use crate::server::cells::{Cells, Gate};
use crate::server::clock::Clock;
use crate::server::listener::Admission;
use crate::server::log::log_cluster;
use crate::server::shard::mailbox::Mailbox;
use crate::server::status::Status;

/// The thread of the tunnels, and the server's handle to it. When it is dropped, the thread ends.
#[derive(Debug)]
pub(in crate::server) struct Tunnels {
    front: Option<Arc<Front>>,
    /// Where the Sessions of clients are, if they are spread over cells.
    cells: Option<Arc<Cells>>,
    /// What other nodes are asked over, if clients are spread over cells; and until the thread is started, where those of other nodes arrive.
    nodes: Option<(NodeStreams, Option<mpsc::Sender<TunnelStream>>)>,
    /// Until the thread is started: what carries frames, the pipes, and what a front is.
    parts: Option<(TunnelBus, Arc<Ready>, Option<FrontRole>)>,
    end: Option<oneshot::Sender<Answer>>,
}

/// Is sent when the other nodes know that the thread ends.
type Answer = oneshot::Sender<()>;

impl Tunnels {
    /// Those of a standby, of which `owner` names the node that serves, or of the owner, or of the front of the servers of `cells`.
    pub(in crate::server) fn new(
        bus: TunnelBus,
        owner: Option<watch::Receiver<Option<String>>>,
        cells: Option<Arc<Cells>>,
        clock: Clock,
    ) -> Self {
        let ready = Arc::default();
        let targets = match &cells {
            Some(cells) => Some(Targets::Cells { places: cells.watch(), nodes: cells.watch_nodes(), followed: None }),
            None => owner.map(Targets::Owner),
        };
        let (front, role) = targets
            .map(|targets| {
                let (front, channels) = front::new(cells.clone(), &ready, clock);
                (Arc::new(front), FrontRole { targets, channels })
            })
            .unzip();
        let nodes = cells.as_ref().and(front.as_ref()).map(|front| {
            let (nodes, arrivals) = NodeStreams::new(Arc::clone(front));
            (nodes, Some(arrivals))
        });
        Self { front, cells, nodes, parts: Some((bus, ready, role)), end: None }
    }

    /// What other nodes are asked over, if clients are spread over cells.
    pub(in crate::server) fn nodes(&self) -> Option<NodeStreams> {
        self.nodes.as_ref().map(|(nodes, _)| nodes.clone())
    }

    /// For the shards of a standby.
    pub(in crate::server) fn front(&self) -> Option<Arc<Front>> {
        self.front.clone()
    }

    /// Starts the thread of the server with this clock, admission, listeners and mailboxes. `terms`: the most tunnels of a link, and a random number.
    pub(super) fn start(
        &mut self,
        (clock, admission): (Clock, Arc<Admission>),
        (endpoints, mailboxes): (Endpoints, Arc<[Mailbox]>),
        terms: (usize, u64),
        status: Arc<Status>,
    ) -> io::Result<()> {
        let Some((bus, ready, front)) = self.parts.take() else { return Ok(()) };
        let of_nodes = self.nodes.as_mut().and_then(|(_, arrivals)| arrivals.take());
        let receiver = match (&self.cells, of_nodes) {
            (Some(cells), Some(of_nodes)) => Some(Receiver::Cells(Arc::clone(cells), of_nodes)),
            // A standby takes no clients of others.
            _ if front.is_some() => None,
            _ => Some(Receiver::Shards(Gate::new(clock, Arc::clone(&admission), mailboxes))),
        };
        let arrivals = receiver.map(|receiver| Arrivals::new((clock, admission), endpoints, receiver));
        let links = self.front.clone().zip(self.cells.clone());
        let hub = Hub::new(Roles { front, arrivals }, Arc::clone(&ready), terms);
        let (end, ended) = oneshot::channel();
        self.end = Some(end);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            runtime.block_on(async {
                if let Some((front, cells)) = links {
                    tokio::spawn(keep_links(front, cells));
                }
                run(bus, hub, (&ready, ended), (clock, &status)).await;
            });
            runtime.shutdown_background();
        };
        thread::Builder::new().name("tunnels".to_owned()).spawn(run).map(drop)
    }

    /// Ends the thread. Before, what the connections have written last is sent, and the other nodes close their ends.
    pub(in crate::server) async fn end(&mut self) {
        let (answer, answered) = oneshot::channel();
        if let Some(end) = self.end.take()
            && end.send(answer).is_ok()
        {
            let _in_time_or_not = timeout(END_TIMEOUT, answered).await;
        }
    }
}

/// Runs until the server ends. Connects anew if the bus ends.
async fn run(
    bus: TunnelBus,
    mut hub: Hub,
    (ready, mut ended): (&Ready, oneshot::Receiver<Answer>),
    (clock, status): (Clock, &Status),
) {
    let mut last = String::new();
    loop {
        let connected = async {
            let bus = (bus.connect)().await?;
            let frames = bus.frames().await.map_err(|error| error.to_string())?;
            Ok::<_, String>((bus, frames))
        };
        let connected = tokio::select! {
            connected = connected => connected,
            answer = &mut ended => return drop(answer),
        };
        match connected {
            Ok((bus, mut frames)) => {
                last.clear();
                let left = carry(&mut hub, (&*bus, &mut frames), (ready, &mut ended), (clock, status)).await;
                hub.close_all(now(clock), "there is no way to other nodes");
                if let Some(left) = left {
                    send_all(&mut hub, &*bus, clock).await;
                    bus.flush().await;
                    status.publish_tunnels(hub.figures());
                    // The server may not wait for it.
                    let _waited_for = left.map(|answer| answer.send(()));
                    return;
                }
            }
            Err(error) if error == last => {}
            Err(error) => {
                log_cluster(true, &format!("clients cannot be passed to other nodes: {error}"));
                last = error;
            }
        }
        tokio::select! {
            () = sleep(RECONNECT) => {}
            answer = &mut ended => return drop(answer),
        }
    }
}

/// Carries frames until the bus or the server ends. `Some`: the server has.
async fn carry(
    hub: &mut Hub,
    (bus, frames): (&dyn Bus, &mut mpsc::Receiver<Arrived>),
    (ready, ended): (&Ready, &mut oneshot::Receiver<Answer>),
    (clock, status): (Clock, &Status),
) -> Option<Option<Answer>> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wait = hub.roles.arrivals.as_ref().and_then(Arrivals::wait);
        tokio::select! {
            answer = &mut *ended => {
                hub.take();
                send_all(hub, bus, clock).await;
                return Some(answer.ok());
            }
            frame = frames.recv() => {
                let arrived = frame?;
                let now = now(clock);
                hub.receive(now, &arrived);
                for _ in 0..FRAMES_PER_TURN {
                    let Ok(arrived) = frames.try_recv() else { break };
                    hub.receive(now, &arrived);
                }
            }
            () = ready.wait() => {}
            open = next_open(hub.roles.front.as_mut()) => {
                hub.follow(now(clock));
                open.into_iter().for_each(|open| hub.open(open));
                while let Some(FrontRole { channels, .. }) = &mut hub.roles.front
                    && let Ok(open) = channels.opens.try_recv()
                {
                    hub.open(open);
                }
            }
            () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            _ = ticks.tick() => {
                hub.tick(now(clock), bus);
                status.publish_tunnels(hub.figures());
            }
        }
        hub.take();
        send_all(hub, bus, clock).await;
        hub.take_left().into_iter().for_each(|way| bus.leave(way));
    }
}

/// Sends all frames that there are. A link whose frame can't be sent is closed, because the other node misses it.
async fn send_all(hub: &mut Hub, bus: &dyn Bus, clock: Clock) {
    while let Some((index, way, frame)) = hub.next_frame(now(clock), bus) {
        let Some(node) = hub.node(index) else { return };
        if bus.send(node, way, frame).await.is_err() {
            hub.close(now(clock), index, "there is no way to the other node");
        }
    }
}

/// The next client of a front. `None`: the owner, or the place of a cell, has changed.
async fn next_open(front: Option<&mut FrontRole>) -> Option<Open> {
    let Some(FrontRole { targets, channels }) = front else { return pending().await };
    let changed = async {
        match targets {
            Targets::Owner(owner) => owner.changed().await,
            Targets::Cells { places, .. } => places.changed().await,
        }
    };
    tokio::select! {
        Some(open) = channels.opens.recv() => Some(open),
        Ok(()) = changed => None,
        else => pending().await,
    }
}

fn now(clock: Clock) -> u64 {
    u64::try_from(clock.read().elapsed.as_millis()).unwrap_or(u64::MAX)
}

const TICK: Duration = Duration::from_millis(250);
const RECONNECT: Duration = Duration::from_secs(1);
/// The number of received frames after which the answers to them are sent.
const FRAMES_PER_TURN: usize = 32;
/// How long the end of the server waits for the thread: a flush takes a second at most.
const END_TIMEOUT: Duration = Duration::from_secs(3);
