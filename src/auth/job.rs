use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::exchange::Exchange;
use super::loaded::Generation;
use super::provider::{Request, Verdict};
use super::source::Source;

/// A request that waits for a thread, or for a service, with the callback for the answer.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) respond: Box<dyn FnOnce(Answer) + Send>,
    pub(super) stage: Stage,
    pub(super) ticket: Arc<Ticket>,
    /// Since when it waits for this stage.
    pub(super) since: Instant,
}

/// A place in the chain of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) generation: Generation,
    /// The place of the provider that is asked next.
    pub(super) at: usize,
}

/// A verdict of the pool and the generation of the rules that it used. [`Pool::current`](super::Pool::current) checks whether it is still
/// valid.
#[derive(Debug)]
pub struct Answer {
    pub(super) request: Box<Request>,
    pub(super) verdict: Verdict,
    pub(super) generation: Generation,
}

/// A request that waits for a thread or a service. Dropping it removes the request, or ends the exchange with the service.
#[derive(Debug)]
pub struct Waiting(pub(super) Arc<Ticket>);

/// Where a request waits, and whether its client has gone.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    place: Mutex<Place>,
    gone: Notify,
}

/// Where a request is.
#[derive(Default)]
enum Place {
    /// In no queue: it is being judged, or answered.
    #[default]
    None,
    /// In a queue. The call removes it, if it is still there.
    Queue(Box<dyn FnOnce() + Send>),
    /// Nowhere: its client has gone.
    Gone,
}

impl Ticket {
    /// Puts a request into a queue with `push`, which returns how to remove it, unless its client has gone. Returns whether it has not.
    pub(super) fn enter<R: FnOnce() + Send + 'static>(&self, push: impl FnOnce() -> R) -> bool {
        let mut place = self.place();
        if matches!(*place, Place::Gone) {
            return false;
        }
        *place = Place::Queue(Box::new(push()));
        true
    }

    /// Waits until the client has gone.
    pub(super) async fn gone(&self) {
        self.gone.notified().await;
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let place = std::mem::replace(&mut *self.0.place(), Place::Gone);
        if let Place::Queue(remove) = place {
            remove();
        }
        self.0.gone.notify_one();
    }
}

impl Job {
    /// Calls back with a verdict.
    pub(super) fn answer(self, verdict: Verdict) {
        let generation = self.stage.generation;
        (self.respond)(Answer { request: Box::new(self.request), verdict, generation });
    }

    /// Whose turn it takes in a queue.
    pub(super) fn source(&self) -> Source {
        Source::of(self.request.address)
    }

    /// The bytes of memory that it uses while it waits, at least.
    pub(super) fn weight(&self) -> usize {
        weight(&self.request)
    }
}

pub(super) fn weight(request: &Request) -> usize {
    let user_name = request.user_name.as_ref().map_or(0, |user_name| user_name.len());
    let password = request.password.as_ref().map_or(0, bytes::Bytes::len);
    let data = request.data.as_ref().map_or(0, bytes::Bytes::len);
    let exchange = request.exchange.as_ref().map_or(0, Exchange::weight);
    WEIGHT_MIN + exchange + request.client_id.as_str().len() + user_name + password + data
}

impl fmt::Debug for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Job").field("client_id", &self.request.client_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Queue(_) => "Queue",
            Self::Gone => "Gone",
        })
    }
}

/// The weight of a request without its strings, in bytes.
const WEIGHT_MIN: usize = 640;
