use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::{Service, State};
use crate::cluster::copying;
use crate::cluster::engine::{Beat, Condition, Engine, EngineError, Pending, Question, Tail};
use crate::cluster::{Found, Reply, Request};

/// The service as one node reaches it.
pub(in super::super) struct Connection {
    pub(in super::super) service: Arc<Service>,
    pub(in super::super) node: String,
}

impl Connection {
    /// The answer of the service, or that there was none.
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, EngineError> + Send + 'static,
    ) -> Pending<Result<T, EngineError>> {
        self.service.count(&self.node);
        if self.service.line.is_calm() {
            let state = &mut *self.service.state();
            let answer = (!state.cut_off.contains(&self.node)).then(|| work(state));
            return Box::pin(async move {
                match answer {
                    Some(answer) => {
                        sleep(Duration::from_millis(1)).await;
                        answer
                    }
                    None => {
                        sleep(UNANSWERED).await;
                        Err(EngineError::TimedOut("anything"))
                    }
                }
            });
        }
        let answered = self.service.line.send(&self.node, work);
        let (service, node) = (Arc::clone(&self.service), self.node.clone());
        Box::pin(async move {
            let arrived = async {
                let (answer, delay) = answered.await.ok()?;
                sleep(delay).await;
                // The answer is lost, too, if the node is cut off meanwhile.
                (!service.state().cut_off.contains(&node)).then_some(answer)
            };
            let begun = Instant::now();
            if let Ok(Some(answer)) = timeout(PATIENCE, arrived).await {
                return answer;
            }
            sleep(PATIENCE.saturating_sub(begun.elapsed())).await;
            Err(EngineError::TimedOut("anything"))
        })
    }
}

impl Service {
    /// Counts a call. No node calls without end.
    fn count(&self, node: &str) {
        let second = self.begun.elapsed().as_secs();
        let (counted, calls) = &mut self.state().calls;
        if second != std::mem::replace(counted, second) {
            calls.clear();
        }
        let calls = calls.entry(node.to_owned()).or_default();
        *calls += 1;
        assert!(*calls < CALLS_MAX, "node {node} has called {calls} times in second {second}");
    }
}

impl Engine for Connection {
    fn perform(&self, request: Request) -> Pending<Reply> {
        let hidden = self.service.line.hidden();
        let reply = self.call(move |state| Ok(state.perform(request, hidden)));
        Box::pin(async move { reply.await.unwrap_or(Reply::Unknown) })
    }

    fn follow(&self, after: u64) -> Pending<Result<Vec<Found>, EngineError>> {
        let hidden = self.service.line.hidden();
        let found = self.call(move |state| Ok(state.found(after, 256, hidden)));
        Box::pin(async move {
            let found = found.await?;
            if found.is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(found)
        })
    }

    fn trim(&self, below: u64) -> Pending<Result<(), EngineError>> {
        self.call(move |state| {
            let (last, epochs) = (state.last, &state.epochs);
            state.entries.retain(|position, _| *position >= below || *position == last || epochs.contains(position));
            Ok(())
        })
    }

    fn tail(&self) -> Pending<Result<Tail, EngineError>> {
        let tail = self.call(|state| {
            let tail = Tail { bytes: state.bytes(), bytes_max: state.bytes_max, last: state.last, ..Tail::default() };
            Ok((tail, state.tail_delay))
        });
        Box::pin(async move {
            let (tail, delay) = tail.await?;
            sleep(delay).await;
            Ok(tail)
        })
    }

    fn move_leader(&self) -> Pending<Result<(), EngineError>> {
        self.call(|state| {
            state.moves += 1;
            Ok(())
        })
    }

    fn raise(&self, beat: Bytes) -> Pending<Result<u64, EngineError>> {
        let node = self.node.clone();
        self.call(|state| {
            state.places += 1;
            state.beats.insert(node, (state.places, beat));
            Ok(state.places)
        })
    }

    fn beats(&self) -> Pending<Result<Vec<Beat>, EngineError>> {
        self.call(|state| {
            let beat = |(node, (place, bytes)): (&String, &(u64, Bytes))| Beat {
                node: node.clone(),
                place: *place,
                bytes: bytes.clone(),
            };
            Ok(state.beats.iter().map(beat).collect())
        })
    }

    fn forget(&self, node: &str) -> Pending<Result<(), EngineError>> {
        let node = node.to_owned();
        self.call(move |state| {
            state.beats.remove(&node);
            Ok(())
        })
    }

    fn ask(&self, node: &str, question: Bytes) -> Pending<Result<Bytes, EngineError>> {
        let (of, from) = (node.to_owned(), self.node.clone());
        let asked = self.call(move |state| {
            match copying::Question::decode(&question) {
                Ok(copying::Question::Begin) => *state.begun.entry(of.clone()).or_default() += 1,
                Ok(copying::Question::Read { .. }) => {
                    state.read += 1;
                    // One of the first two parts.
                    if state.broken.contains(&from) && state.read.is_multiple_of(2) {
                        return Err(EngineError::TimedOut("a question"));
                    }
                }
                Ok(_) | Err(_) => {}
            }
            let node = state.questions.get(&of).filter(|_| !state.cut_off.contains(&of));
            let (answer, answered) = oneshot::channel();
            let answer = move |bytes| -> Pending<()> {
                let _ = answer.send(bytes);
                Box::pin(async {})
            };
            node.and_then(|node| node.try_send(Question::new(question, answer)).ok())
                .map(|()| answered)
                .ok_or(EngineError::Unattended(of))
        });
        Box::pin(async move {
            let answered = timeout(Duration::from_secs(5), asked.await?).await;
            answered.ok().and_then(Result::ok).ok_or(EngineError::TimedOut("a question"))
        })
    }

    fn questions(&self) -> Pending<Result<mpsc::Receiver<Question>, EngineError>> {
        let node = self.node.clone();
        self.call(|state| {
            let (sender, receiver) = mpsc::channel(64);
            state.questions.insert(node, sender);
            Ok(receiver)
        })
    }

    fn cluster_id(&self) -> u128 {
        7
    }

    fn entry_bytes_max(&self) -> usize {
        // That of a server of NATS with its default.
        (1 << 20) - 256
    }

    fn condition(&self) -> Condition {
        Condition::default()
    }
}

const UNANSWERED: Duration = Duration::from_millis(300);
/// How long a node waits for an answer in a simulation.
const PATIENCE: Duration = Duration::from_secs(2);
/// Calls of a node in a second.
const CALLS_MAX: u32 = 5_000;
