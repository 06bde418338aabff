use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::info;

use crate::routing::ShardId;
use crate::server::connection::task::Connection;
use crate::server::listener::{Accepted, Arrival, Established, Handshake, HandshakeError, Origin, Permit, receive};
use crate::server::report::LineBudget;
use crate::server::shard::driver::{Driver, Parts};
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::server::status::Status;

/// Where a shard publishes what it has counted, and says that it has ended.
#[derive(Debug, Clone)]
pub(in crate::server) struct Upwards {
    pub(in crate::server) status: Arc<Status>,
    /// The shard's number is sent when everyone it served is gone after [`Mail::ShuttingDown`].
    pub(in crate::server) ended: mpsc::Sender<ShardId>,
}

/// Starts a thread that runs a shard and the tasks of its connections. When this returns it has taken over what the last run
/// left; it does nothing with it until it gets the word, since the other shards may have to take over theirs. If the sender is
/// dropped before, the thread ends.
pub(in crate::server) fn start(parts: Parts, upwards: Upwards) -> io::Result<SyncSender<()>> {
    let number = parts.id.0;
    let (started_sender, started) = sync_channel(1);
    let (begin_sender, begin) = sync_channel(1);
    let run = move || {
        let runtime = match Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READERS_MAX)
            .build_local(LocalOptions::default())
        {
            Ok(runtime) => runtime,
            Err(error) => return drop(started_sender.send(Err(error))),
        };
        let mailboxes = Arc::clone(&parts.mailboxes);
        let task = ShardTask {
            id: parts.id,
            driver: Rc::new(RefCell::new(Driver::new(parts))),
            mailboxes,
            upwards,
            lines: Rc::default(),
        };
        drop(started_sender.send(Ok(())));
        if begin.recv().is_ok() {
            runtime.block_on(task.run());
        }
    };
    thread::Builder::new().name(format!("shard-{number}")).spawn(run)?;
    started.recv().map_err(io::Error::other)??;
    Ok(begin_sender)
}

struct ShardTask {
    id: ShardId,
    driver: Rc<RefCell<Driver>>,
    mailboxes: Arc<[Mailbox]>,
    upwards: Upwards,
    /// Of handshakes that failed.
    lines: Rc<RefCell<LineBudget>>,
}

impl ShardTask {
    async fn run(self) {
        spawn_local(keep_deadlines(Rc::clone(&self.driver)));
        spawn_local(every_second(self.id, Rc::clone(&self.driver), Arc::clone(&self.upwards.status)));
        if let Some(mailbox) = self.mailboxes.get(usize::from(self.id.0)) {
            self.read_mail(mailbox).await;
        }
        let snapshot = self.driver.borrow().snapshot();
        self.upwards.status.publish_shard(usize::from(self.id.0), snapshot);
        // Whoever doesn't listen any more doesn't wait either.
        let _ = self.upwards.ended.send(self.id).await;
    }

    /// Until the broker stops and every client has heard it.
    async fn read_mail(&self, mailbox: &Mailbox) {
        let mut mail = Vec::new();
        while !self.driver.borrow().is_drained() {
            mailbox.filled().await;
            loop {
                for shard in mailbox.take(MAIL_PER_TURN, &mut mail) {
                    if let Some(waiting) = self.mailboxes.get(usize::from(shard.0)) {
                        waiting.notify();
                    }
                }
                self.driver.borrow_mut().look_around();
                if mail.is_empty() {
                    break;
                }
                self.on_mail(&mut mail);
                // The connections that got something of it send it before more of it comes.
                yield_now().await;
            }
        }
    }

    fn on_mail(&self, mail: &mut Vec<Mail>) {
        let mut arrivals = Vec::new();
        let mut driver = self.driver.borrow_mut();
        let was_renewing = driver.has_renewals();
        driver.begin_turn();
        for mail in mail.drain(..) {
            arrivals.extend(driver.on_mail(mail));
        }
        driver.end_turn();
        let renews = driver.has_renewals() && !was_renewing;
        drop(driver);
        if renews {
            spawn_local(renew_access(Rc::clone(&self.driver)));
        }
        for accepted in arrivals {
            receive_connection(&self.driver, &self.lines, accepted);
        }
    }
}

/// A connection that a listener handed over.
fn receive_connection(driver: &Rc<RefCell<Driver>>, lines: &Rc<RefCell<LineBudget>>, accepted: Accepted) {
    let origin = accepted.origin();
    match receive(accepted) {
        Ok(Arrival::Established(established)) => begin(driver, established),
        Ok(Arrival::Handshake(handshake)) => {
            spawn_local(finish_handshake(Rc::clone(driver), Rc::clone(lines), origin, handshake));
        }
        Err(error) => report_failure(driver, lines, &error, &origin),
    }
}

/// The short life of a task before it is known to be that of a client.
async fn finish_handshake(
    driver: Rc<RefCell<Driver>>,
    lines: Rc<RefCell<LineBudget>>,
    origin: Origin,
    handshake: Handshake,
) {
    match handshake.await {
        Ok(established) => begin(&driver, established),
        Err(error) => report_failure(&driver, &lines, &error, &origin),
    }
}

fn report_failure(driver: &RefCell<Driver>, lines: &RefCell<LineBudget>, error: &HandshakeError, origin: &Origin) {
    let now = driver.borrow_mut().handshake_failed();
    if lines.borrow_mut().allows(now) {
        info!("connection from {origin} ended in its handshake: {error}");
    }
}

/// Makes a task of a connection whose next byte is MQTT's.
fn begin(driver: &Rc<RefCell<Driver>>, established: Established) {
    let Established { stream, peer, permit } = established;
    if let Some(connection) = Connection::open(driver, stream, peer) {
        let driver = Rc::clone(driver);
        spawn_local(Serving { driver, phase: Phase::Open(connection), _permit: permit });
    }
}

/// The task of a connection. By hand: an `async fn` would make each connection a quarter larger.
struct Serving {
    driver: Rc<RefCell<Driver>>,
    phase: Phase,
    /// Counts it until it is over.
    _permit: Permit,
}

/// How far it has come.
enum Phase {
    Open(Connection),
    Finishing(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Phase::Open(connection) = &mut this.phase {
            let end = ready!(connection.poll(&this.driver, cx));
            if let Phase::Open(connection) = mem::replace(&mut this.phase, Phase::Over) {
                this.phase = connection.finish(&this.driver, end).map_or(Phase::Over, Phase::Finishing);
            }
        }
        match &mut this.phase {
            Phase::Finishing(farewell) => farewell.as_mut().poll(cx),
            Phase::Open(_) | Phase::Over => Poll::Ready(()),
        }
    }
}

/// Tells the shard when its deadlines have come.
async fn keep_deadlines(driver: Rc<RefCell<Driver>>) {
    let mut sleep = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        let deadline = driver.borrow_mut().poll_deadline(cx.waker());
        let Some(deadline) = deadline else { return Poll::<()>::Pending };
        sleep.as_mut().reset(Instant::from_std(deadline));
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

/// After a reload of the access rules, asks again what each client may do, in turns with the other tasks.
async fn renew_access(driver: Rc<RefCell<Driver>>) {
    while driver.borrow().has_renewals() {
        driver.borrow_mut().renew_some_access();
        yield_now().await;
    }
}

/// Publishes what was counted, and looks for transports that take nothing.
async fn every_second(id: ShardId, driver: Rc<RefCell<Driver>>, status: Arc<Status>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let mut driver = driver.borrow_mut();
        driver.sweep();
        status.publish_shard(usize::from(id.0), driver.snapshot());
    }
}

/// Threads that read from the store for one shard, if so many clients at once want what is not in memory.
const READERS_MAX: usize = 4;
/// A batch that takes a millisecond or two. A connection writes once for all that it gets of it: with a small one each message to
/// many receivers would be a write of its own.
const MAIL_PER_TURN: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_holds_for_all_its_life_is_small() {
        // With what the runtime keeps beside it, it fills 256 bytes.
        assert!(size_of::<Serving>() <= 152, "{}", size_of::<Serving>());
    }
}
