//! All clients, and what they sent and received.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;
use tokio::time::sleep;

use crate::client::Client;
use crate::now;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    clients: usize,
    /// When each client was served last since it lost its connection; `None`: it has no connection.
    served: RefCell<Vec<Option<Instant>>>,
    /// When each lost its connection last.
    lost: RefCell<Vec<Option<Instant>>>,
    losses: Cell<usize>,
    refused: Cell<usize>,
    /// How often a client was told 0x8B.
    told: Cell<usize>,
    messages: RefCell<Vec<Message>>,
    in_flight: Cell<usize>,
    /// Publishers publish: since all clients are subscribed, until the end.
    publishes: Cell<bool>,
}

struct Message {
    target: usize,
    qos: u8,
    is_acknowledged: bool,
    copies: usize,
}

impl World {
    /// Starts the tasks of so many clients.
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Rc<Self> {
        let world = Rc::new(Self {
            address,
            clients,
            served: RefCell::new(vec![None; clients]),
            lost: RefCell::new(vec![None; clients]),
            losses: Cell::new(0),
            refused: Cell::new(0),
            told: Cell::new(0),
            messages: RefCell::default(),
            in_flight: Cell::new(0),
            publishes: Cell::new(false),
        });
        for number in 0..clients {
            spawn_local(Client::new(Rc::clone(&world), number).run());
        }
        world
    }

    /// Whether this client publishes: at most [`PUBLISHERS`] do.
    pub(crate) fn publishes(&self, number: usize) -> bool {
        number.is_multiple_of(self.clients.div_ceil(PUBLISHERS))
    }

    /// The time between two messages of a client.
    pub(crate) const fn pause(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// Adds a message of a client: its number, the client that it is for, and its QoS. `None` at the end.
    pub(crate) fn send(&self, from: usize) -> Option<(usize, usize, u8)> {
        if !self.publishes.get() {
            return None;
        }
        let mut messages = self.messages.borrow_mut();
        let number = messages.len();
        let (target, qos) = ((from * 7 + number * 13) % self.clients, if number.is_multiple_of(3) { 1 } else { 2 });
        messages.push(Message { target, qos, is_acknowledged: false, copies: 0 });
        self.in_flight.set(self.in_flight.get() + 1);
        Some((number, target, qos))
    }

    pub(crate) fn target(&self, message: usize) -> usize {
        self.messages.borrow()[message].target
    }

    pub(crate) fn acknowledged(&self, message: usize) {
        self.messages.borrow_mut()[message].is_acknowledged = true;
    }

    pub(crate) fn finished(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
    }

    pub(crate) fn received(&self, client: usize, number: usize) {
        let message = &mut self.messages.borrow_mut()[number];
        assert_eq!(message.target, client, "message {number}");
        message.copies += 1;
        assert!(
            message.qos == 1 || message.copies == 1,
            "message {number} was delivered {} times at QoS 2",
            message.copies
        );
    }

    pub(crate) fn served(&self, client: usize) {
        self.served.borrow_mut()[client] = Some(now());
    }

    pub(crate) fn left(&self, client: usize) {
        if self.served.borrow_mut()[client].take().is_some() {
            self.losses.set(self.losses.get() + 1);
            self.lost.borrow_mut()[client] = Some(now());
        }
    }

    pub(crate) fn told(&self, reason_code: u8) {
        assert_eq!(reason_code, 0x8B);
        self.told.set(self.told.get() + 1);
    }

    pub(crate) fn add_refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }

    /// How many connects were refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.get()
    }

    /// How many connections ended.
    pub(crate) fn lost(&self) -> usize {
        self.losses.get()
    }

    /// Whether a client was told why its connection ended.
    pub(crate) fn were_told(&self) -> bool {
        self.told.get() > 0
    }

    pub(crate) fn is_served(&self) -> bool {
        self.served.borrow().iter().all(Option::is_some)
    }

    /// Waits until every client has lost its connection this often.
    pub(crate) async fn all_lost(&self, times: usize) {
        let end = now() + Duration::from_secs(30);
        while self.losses.get() < self.clients * times {
            assert!(now() < end, "{} connections ended", self.losses.get());
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until every client is subscribed, then lets them publish.
    pub(crate) async fn begin(&self) {
        self.all_served(Duration::from_secs(60)).await;
        self.publishes.set(true);
    }

    /// Waits until every client is served.
    pub(crate) async fn all_served(&self, patience: Duration) {
        let end = now() + patience;
        while !self.is_served() {
            let served = self.served.borrow().iter().flatten().count();
            assert!(now() < end, "{served} of {} clients are served", self.clients);
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// How long the last hand-over took.
    pub(crate) fn figures(&self) -> String {
        let (served, lost) = (self.served.borrow(), self.lost.borrow());
        let mut outages: Vec<Duration> =
            served.iter().zip(lost.iter()).filter_map(|(served, lost)| Some((*served)? - (*lost)?)).collect();
        outages.sort_unstable();
        let all = lost.iter().flatten().min().zip(served.iter().flatten().max()).map(|(first, last)| *last - *first);
        let mut text = format!("{} clients served again in {:?}", outages.len(), all.unwrap_or_default());
        let at = |share: usize| outages.get((outages.len() * share / 100).min(outages.len().saturating_sub(1)));
        let _ = write!(text, "; without service: median {:?}, 99 % {:?}", at(50), at(99));
        text
    }

    /// Waits until all messages have arrived, and a little longer for duplicates.
    pub(crate) async fn settle(&self, patience: Duration) {
        self.publishes.set(false);
        let end = now() + patience;
        let missing = || {
            let messages = self.messages.borrow();
            messages.iter().position(|message| message.is_acknowledged && message.copies == 0)
        };
        while self.in_flight.get() > 0 || missing().is_some() || !self.is_served() {
            assert!(
                now() < end,
                "{} in flight; message {:?} was acknowledged and is lost",
                self.in_flight.get(),
                missing()
            );
            sleep(Duration::from_millis(5)).await;
        }
        sleep(SILENCE).await;
    }

    pub(crate) fn summary(&self) -> String {
        let messages = self.messages.borrow();
        let copies: usize = messages.iter().map(|message| message.copies).sum();
        format!("{} messages, {copies} deliveries, {} connects refused", messages.len(), self.refused.get())
    }
}

/// So many clients publish ten messages a second.
const PUBLISHERS: usize = 60;
/// How long to wait for duplicates.
const SILENCE: Duration = Duration::from_millis(300);
