//! A node of a cluster: a thread that follows the log, tells the others that it is alive, takes over, and replicates what the broker of this process
//! stores. It runs beside the servers of the process, of which one is a standby and the next one the broker.

mod appending;
mod attending;
mod clock;
mod copy;
mod copying_log;
mod follow;
mod heartbeat;
mod housekeeping;
mod interface;
mod own;
mod ownership;
mod questions;
mod shipping;
mod take_over;
mod texts;
mod upkeep;
mod view;

use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc as blocking};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::engine::Engine;
use super::{ClusterControl, ClusterRequest, Command as Wish, Refusal};
use attending::Followed;
use follow::follow;
use interface::Log;
pub use interface::{BrokerServer, Command, End, Identity, Note, Promotion, StandbyServer, Stop};
use own::own;
use view::View;

/// A running node.
pub struct Node {
    commands: mpsc::Sender<Command>,
    owner: blocking::Receiver<Promotion>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Starts a thread. `connect` connects to the engine; it is called in the thread, and again as long as it fails.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        identity: Identity,
        connect: impl AsyncFn() -> Result<Arc<dyn Engine>, String> + Send + 'static,
        control: ClusterControl,
        log: impl Fn(Note, &str) + Send + 'static,
    ) -> io::Result<Self> {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let own = commands.clone();
        let (sender, owner) = blocking::sync_channel(1);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            let tasks = LocalSet::new();
            tasks.block_on(&runtime, run(identity, connect, (own, received, sender), control, Box::new(log)));
            runtime.shutdown_timeout(END_TIMEOUT);
        };
        let thread = thread::Builder::new().name("cluster".to_owned()).spawn(work)?;
        Ok(Self { commands, owner, thread: Some(thread) })
    }

    /// Tells the node what the process does.
    pub fn tell(&self, command: Command) {
        // Closed: the thread has ended, and the process with it.
        let _ = self.commands.blocking_send(command);
    }

    /// What the broker needs when the node is the owner. Waits for it.
    pub fn promotion(&self) -> Option<Promotion> {
        self.owner.recv().ok()
    }

    /// Tells the others that this node goes, and ends the thread.
    pub fn leave(mut self) {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Leave(answer));
        wait(answered);
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

/// Waits for an answer, at most [`LEAVE_CHECKS`] times [`LEAVE_CHECK`], because a disk may never answer.
fn wait(mut answered: oneshot::Receiver<()>) {
    for _ in 0..LEAVE_CHECKS {
        match answered.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => thread::sleep(LEAVE_CHECK),
            Ok(()) | Err(oneshot::error::TryRecvError::Closed) => return,
        }
    }
}

type Channels = (mpsc::Sender<Command>, mpsc::Receiver<Command>, blocking::SyncSender<Promotion>);

async fn run(
    identity: Identity,
    connect: impl AsyncFn() -> Result<Arc<dyn Engine>, String>,
    (own_commands, mut commands, owner): Channels,
    control: ClusterControl,
    log: Log,
) {
    let connect = async || {
        let engine = connect().await?;
        heartbeat::name_is_free(&*engine, &identity.node).await.map(|()| engine)
    };
    let Some((engine, standby)) = connected(&connect, &mut commands, (&control, &log)).await else { return };
    let view = Rc::new(View::new((identity, engine.cluster_id()), control, log));
    if let Some(standby) = standby {
        view.stands_by(standby);
    }
    tokio::task::spawn_local(heartbeat::beat(Arc::clone(&engine), Rc::clone(&view)));
    tokio::task::spawn_local(pass_on(Arc::clone(&engine), Rc::clone(&view), own_commands));
    tokio::task::spawn_local(questions::answer(Arc::clone(&engine), Rc::clone(&view)));
    loop {
        let left = match follow(&*engine, &view, &mut commands).await {
            Followed::Owner(begin) => own(&*engine, &view, &mut commands, (*begin, &owner)).await,
            Followed::Left(answer) => Some(answer),
        };
        if let Some(answer) = left {
            let _ = answer.send(());
            return;
        }
    }
}

/// Passes the requests of operators to the task of the node, but for those that do not depend on its role.
async fn pass_on(engine: Arc<dyn Engine>, view: Rc<View>, commands: mpsc::Sender<Command>) {
    let mut ticks = tokio::time::interval(REQUEST_PERIOD);
    loop {
        ticks.tick().await;
        let request = view.control.borrow_mut().try_next();
        let Some(request) = request else { continue };
        match &request.command {
            Wish::Forget { node } => {
                let node = node.clone();
                forget(&*engine, &view, request, &node).await;
                continue;
            }
            // The other nodes read it before the operator gets the answer, so that the owner does not hand over to this node.
            Wish::Drain if view.state.borrow().beat.epoch == 0 => {
                view.drain(true);
                heartbeat::beat_once(&*engine, &view).await;
            }
            // The other node may have been drained since its last beat.
            Wish::Move { .. } | Wish::Drain => heartbeat::look(&*engine, &view).await,
            Wish::Undrain => {}
        }
        if commands.send(Command::Asked(request)).await.is_err() {
            return;
        }
    }
}

/// Removes the sign of life of a node that is gone, so that the stream is trimmed without it.
async fn forget(engine: &dyn Engine, view: &View, request: ClusterRequest, node: &str) {
    // It may have come back since the request was made.
    if !view.members.borrow().is_dead(node) {
        return request.refuse(Refusal::Alive(node.to_owned()));
    }
    match engine.forget(node).await {
        Ok(()) => {
            view.log(&format!("node {node} is forgotten, as an operator has asked"));
            request.accept();
            heartbeat::beat_once(engine, view).await;
        }
        Err(error) => request.refuse(Refusal::Other(error.to_string())),
    }
}

/// Connects. `None`: the process ends before. Also returns the server that has started meanwhile.
async fn connected(
    connect: &impl AsyncFn() -> Result<Arc<dyn Engine>, String>,
    commands: &mut mpsc::Receiver<Command>,
    (control, log): (&ClusterControl, &Log),
) -> Option<(Arc<dyn Engine>, Option<StandbyServer>)> {
    let mut standby = None;
    let mut last = String::new();
    loop {
        let attempt = connect();
        tokio::pin!(attempt);
        let failed = loop {
            tokio::select! {
                connected = &mut attempt => match connected {
                    Ok(engine) => {
                        control.update(|status| status.end_trouble(UNREACHED));
                        return Some((engine, standby));
                    }
                    Err(reason) => break reason,
                },
                command = commands.recv() => early(command?, &mut standby)?,
            }
        };
        if failed != last {
            log(Note::Trouble, &format!("{UNREACHED}{failed}"));
            control.update(|status| {
                status.end_trouble(UNREACHED);
                status.add_trouble(format!("{UNREACHED}{failed}"));
            });
            last = failed;
        }
        let pause = tokio::time::sleep(RECONNECT);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                command = commands.recv() => early(command?, &mut standby)?,
            }
        }
    }
}

/// A command before the node is connected. `None`: the process ends.
fn early(command: Command, standby: &mut Option<StandbyServer>) -> Option<()> {
    match command {
        Command::Standby(server) => *standby = Some(server),
        Command::Serving(_) | Command::Stopped => {}
        Command::Asked(request) => {
            request.refuse(Refusal::Other("the node has not reached the log of the cluster yet".to_owned()));
        }
        Command::Leave(answer) => {
            let _ = answer.send(());
            return None;
        }
    }
    Some(())
}

/// How often requests are looked for.
const REQUEST_PERIOD: Duration = Duration::from_millis(100);
const UNREACHED: &str = "the log of the cluster cannot be reached: ";
/// The greatest number of commands in the queue. When it is full, senders wait.
const COMMANDS_MAX: usize = 16;
/// How long a process that ends waits until the others know that: 15 s.
const LEAVE_CHECKS: u32 = 750;
const LEAVE_CHECK: Duration = Duration::from_millis(20);
/// How long to wait before the engine is tried again.
const RECONNECT: Duration = Duration::from_secs(2);
/// How long the thread waits for reads and writes under way when it ends.
const END_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
