use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::routing::ShardId;
use crate::server::LogEvent;
use crate::server::connection::task::Connection;
use crate::server::listener::{
    Accepted, Acceptor, Arrival, ClientCertificates, Established, Handshake, HandshakeError, Origin, Permit, receive,
};
use crate::server::log::{Whom, allows, cut_text, log_line};
use crate::server::shard::driver::{Driver, Parts, Start};
use crate::server::shard::mailbox::{Listen, Mail, Mailbox};
use crate::server::status::Status;
use crate::server::tunnel::{Front, Passed};

/// A shard thread's handle to the main thread: for its counters, and to report its end.
#[derive(Debug, Clone)]
pub(in crate::server) struct MainHandle {
    pub(in crate::server) status: Arc<Status>,
    /// Gets the shard's number when all its connections have ended after [`Mail::ShuttingDown`].
    pub(in crate::server) ended: mpsc::Sender<ShardId>,
    /// Passes the clients of a standby to the owner.
    pub(in crate::server) front: Option<Arc<Front>>,
}

/// Where the connections of a shard go.
#[derive(Debug, Clone)]
struct Reception {
    driver: Rc<RefCell<Driver>>,
    front: Option<Arc<Front>>,
}

/// Starts a thread that runs a shard and the tasks of its connections. When this returns, the shard has restored its Sessions. The thread
/// then waits for a message on the returned sender, so that the other shards can restore theirs; if the sender is dropped, it ends.
pub(in crate::server) fn start(parts: Parts, main: MainHandle) -> io::Result<SyncSender<()>> {
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
        let id = parts.id;
        let driver = Rc::new(RefCell::new(Driver::new(parts)));
        let task = ShardTask { id, driver, mailboxes, main, acceptor: RefCell::default() };
        drop(started_sender.send(Ok(())));
        if begin.recv().is_ok() {
            runtime.block_on(task.run());
        }
        // Threads that read from the store end when the disk answers.
        runtime.shutdown_background();
    };
    thread::Builder::new().name(format!("shard-{number}")).spawn(run)?;
    // The shard frees what this thread has read for it. Only this thread can return that to the operating system.
    loop {
        match started.recv_timeout(RESTORING_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => allocator::release(),
            result => break result.map_err(io::Error::other)??,
        }
    }
    allocator::release();
    Ok(begin_sender)
}

struct ShardTask {
    id: ShardId,
    driver: Rc<RefCell<Driver>>,
    mailboxes: Arc<[Mailbox]>,
    main: MainHandle,
    /// Accepts connections, if this shard does it itself.
    acceptor: RefCell<Option<Acceptor>>,
}

impl ShardTask {
    async fn run(self) {
        spawn_local(run_timer(Rc::clone(&self.driver)));
        spawn_local(flush_receivers(Rc::clone(&self.driver)));
        spawn_local(every_second(self.id, Rc::clone(&self.driver), Arc::clone(&self.main.status)));
        if self.driver.borrow().has_renewals() {
            spawn_local(renew_access(Rc::clone(&self.driver)));
        }
        if let Some(mailbox) = self.mailboxes.get(usize::from(self.id.0)) {
            self.read_mail(mailbox).await;
        }
        let snapshot = self.driver.borrow().snapshot(busy());
        self.main.status.publish_shard(usize::from(self.id.0), snapshot);
        // The main thread doesn't receive after the drain timeout.
        let _ = self.main.ended.send(self.id).await;
    }

    /// Handles mail until the broker stops and all connections of this shard have ended.
    async fn read_mail(&self, mailbox: &Mailbox) {
        let mut mail = Vec::new();
        while !self.driver.borrow().is_drained() {
            mailbox.wait().await;
            loop {
                for shard in mailbox.take(MAIL_PER_TURN, &mut mail) {
                    if let Some(waiting) = self.mailboxes.get(usize::from(shard.0)) {
                        waiting.notify();
                    }
                }
                self.driver.borrow_mut().update_congestion();
                if mail.is_empty() {
                    break;
                }
                self.on_mail(&mut mail);
                // Receivers write their output before the next batch.
                yield_now().await;
            }
        }
    }

    fn on_mail(&self, mail: &mut Vec<Mail>) {
        let mut starts = Vec::new();
        let mut driver = self.driver.borrow_mut();
        let was_renewing = driver.has_renewals();
        driver.begin_turn();
        for mail in mail.drain(..) {
            if let (Some(front), Mail::AccessReloaded | Mail::ListenersRemoved(_)) = (&self.main.front, &mail) {
                front.review();
            }
            starts.extend(driver.on_mail(mail));
        }
        driver.end_turn();
        if driver.is_shutting_down() {
            self.acceptor.take();
            driver.tell_detached();
        }
        let (renews, ends) = (driver.has_renewals() && !was_renewing, driver.begins_endings());
        drop(driver);
        if renews {
            spawn_local(renew_access(Rc::clone(&self.driver)));
        }
        if ends {
            spawn_local(end_connections(Rc::clone(&self.driver)));
        }
        for start in starts {
            match start {
                Start::Connection(accepted) => receive_connection(&self.reception(), accepted),
                Start::Listeners(listen) => self.listen(*listen),
            }
        }
    }

    fn reception(&self) -> Reception {
        Reception { driver: Rc::clone(&self.driver), front: self.main.front.clone() }
    }

    /// Accepts connections on this thread until the broker stops.
    fn listen(&self, listen: Listen) {
        let Listen { clock, admission, sockets, early, started } = listen;
        let reception = self.reception();
        let acceptor = || Acceptor::new(clock, admission, move |accepted| receive_connection(&reception, accepted));
        // The main thread waits for the answer.
        let _ = started.send(self.acceptor.borrow_mut().get_or_insert_with(acceptor).listen(sockets, early));
    }
}

/// Starts the task of an accepted connection, or its handshake.
fn receive_connection(reception: &Reception, accepted: Accepted) {
    let origin = accepted.origin();
    match receive(accepted) {
        Ok(Arrival::Established(established)) => begin(reception, established, origin),
        Ok(Arrival::Handshake(handshake)) => {
            spawn_local(finish_handshake(reception.clone(), origin, handshake));
        }
        Err(error) => report_failure(&reception.driver, &error, &origin),
    }
}

/// Completes the handshakes of a connection, then starts its task.
async fn finish_handshake(reception: Reception, origin: Origin, handshake: Handshake) {
    match handshake.await {
        Ok(established) => begin(&reception, established, origin),
        Err(error) => report_failure(&reception.driver, &error, &origin),
    }
}

fn report_failure(driver: &RefCell<Driver>, error: &HandshakeError, origin: &Origin) {
    let address = origin.address();
    if error.is_probe() {
        driver.borrow_mut().probed();
        let (reason, address) = (error.to_string(), address.map(tracing::field::display));
        log_line!(Probed { address, listener = origin.listener(), reason = &*reason }, "probe from {origin}: {reason}");
        return;
    }
    let now = driver.borrow_mut().handshake_failed();
    let whom = Whom { client_id: None, address: address.map(|address| address.ip()) };
    if allows(LogEvent::HandshakeFailed, whom, now) {
        let reason = error.to_string();
        log_line!(
            HandshakeFailed { address = address.map(tracing::field::display), listener = origin.listener(), reason = &*cut_text(&reason) },
            "connection from {origin} ended in its handshake: {}",
            cut_text(&reason)
        );
    }
}

/// Starts the task of a connection whose handshakes are complete. At a standby that passes its clients to the owner, that is done if there is one.
fn begin(reception: &Reception, mut established: Established, origin: Origin) {
    let Reception { driver, front } = reception;
    let Established { stream, permit, certificates, .. } = &mut established;
    if permit.is_void() {
        return report_failure(driver, &HandshakeError::ListenerRemoved, &origin);
    }
    // A reload that ended during the handshake has not seen the connection.
    let is_void =
        |certificates: &mut Box<ClientCertificates>| certificates.are_revoked() || !certificates.verify(stream);
    if certificates.as_mut().is_some_and(is_void) {
        return report_failure(driver, &HandshakeError::Revoked, &origin);
    }
    let Some(front) = front.clone() else { return serve(driver, established, Bytes::new(), &origin) };
    let driver = Rc::clone(driver);
    spawn_local(async move {
        match front.pass(established).await {
            Passed::Over => {}
            Passed::Back(established, read) => serve(&driver, established, read, &origin),
            Passed::Failed(error) => report_failure(&driver, &error, &origin),
        }
    });
}

/// Starts the task of a connection that this broker answers. `read`: what was read of it before.
fn serve(driver: &Rc<RefCell<Driver>>, established: Established, read: Bytes, origin: &Origin) {
    let Established { stream, peer, permit, certificates } = established;
    if let Some(connection) = Connection::open(driver, stream, peer) {
        let connection = connection.after(read);
        if let Some(certificates) = certificates {
            driver.borrow_mut().set_certificates(connection.id(), certificates);
        }
        driver.borrow_mut().set_accepted(connection.id(), origin.accepted_at());
        if let Some(user) = origin.own_user() {
            driver.borrow_mut().set_own(connection.id(), Arc::clone(user));
        }
        let driver = Rc::clone(driver);
        spawn_local(ConnectionTask { driver, phase: Phase::Open(connection), _permit: permit });
    }
}

/// The task of a connection. A hand-written future: that of an `async fn` uses a quarter more memory per connection.
struct ConnectionTask {
    driver: Rc<RefCell<Driver>>,
    phase: Phase,
    /// Counts the connection until the task ends.
    _permit: Permit,
}

/// The phase of a connection's task.
enum Phase {
    Open(Connection),
    /// Writes the last output and closes the transport.
    Closing(Pin<Box<dyn Future<Output = ()>>>),
    Ended,
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if let Phase::Open(connection) = &mut this.phase {
            let end = ready!(connection.poll(&this.driver, cx));
            if let Phase::Open(connection) = mem::replace(&mut this.phase, Phase::Ended) {
                this.phase = connection.finish(&this.driver, end).map_or(Phase::Ended, Phase::Closing);
            }
        }
        match &mut this.phase {
            Phase::Closing(closing) => closing.as_mut().poll(cx),
            Phase::Open(_) | Phase::Ended => Poll::Ready(()),
        }
    }
}

/// The timer task: handles the deadlines of the shard.
async fn run_timer(driver: Rc<RefCell<Driver>>) {
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

/// Lets the receivers of turns with many receivers write, slice by slice, in turns with the other tasks.
pub(in crate::server) async fn flush_receivers(driver: Rc<RefCell<Driver>>) {
    loop {
        let flushed = |cx: &mut Context<'_>| {
            if driver.borrow_mut().flush_some(cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(flushed).await;
        yield_now().await;
    }
}

/// After a reload, judges every client again, in turns with the other tasks.
async fn renew_access(driver: Rc<RefCell<Driver>>) {
    while driver.borrow().has_renewals() {
        driver.borrow_mut().renew_some_access();
        yield_now().await;
    }
}

/// Ends the connections of removed listeners, some at a time, so that their clients don't all come back at once.
async fn end_connections(driver: Rc<RefCell<Driver>>) {
    while driver.borrow_mut().end_some_connections() {
        sleep(ENDINGS_PAUSE).await;
    }
}

/// Once a second, publishes the counters and runs [`Driver::sweep`].
async fn every_second(id: ShardId, driver: Rc<RefCell<Driver>>, status: Arc<Status>) {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let mut driver = driver.borrow_mut();
        driver.sweep();
        status.publish_shard(usize::from(id.0), driver.snapshot(busy()));
    }
}

/// How long the thread of the current runtime was not idle since its start. The runtime measures it in any case.
fn busy() -> Duration {
    Handle::current().metrics().worker_total_busy_duration(0)
}

/// The pause between [`Driver::end_some_connections`].
const ENDINGS_PAUSE: Duration = Duration::from_millis(20);
/// Maximum number of threads per shard that read messages from the store; more reads wait for a free thread.
const READERS_MAX: usize = 4;

/// While a shard restores its Sessions, memory that is not used any more is returned so often.
const RESTORING_INTERVAL: Duration = Duration::from_millis(20);
/// Weight of one batch, which takes one or two milliseconds. A connection writes once per batch, so a smaller batch would need more
/// writes for messages to many receivers.
const MAIL_PER_TURN: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_connection_is_small() {
        // With the runtime's header, it fits into 256 bytes.
        assert!(size_of::<ConnectionTask>() <= 152, "{}", size_of::<ConnectionTask>());
    }
}
