//! Reads the state of a node, and asks it for changes, from other threads.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::status::{Refusal, Role, Status};

/// A change that a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The owner gives the clients to another node: this one, or the one that has most of the log.
    Move {
        /// The name of the node.
        to: Option<String>,
    },
    /// The node gives up the clients, if it has them, and does not take over by itself until it is told so or starts again.
    Drain,
    /// It takes over again if it has to.
    Undrain,
    /// A node that is gone is not waited for any more.
    Forget {
        /// The name of the node.
        node: String,
    },
}

/// For the admin listener: the state of the node, and requests to it.
#[derive(Debug, Clone)]
pub struct ClusterHandle {
    status: Arc<Mutex<Status>>,
    requests: mpsc::Sender<ClusterRequest>,
}

/// For the node: where its state is published, and where requests arrive.
#[derive(Debug)]
pub struct ClusterControl {
    status: Arc<Mutex<Status>>,
    requests: mpsc::Receiver<ClusterRequest>,
}

/// A request that waits for an answer. It is answered before it is carried out: when the role of the node changes, so does its admin listener.
#[derive(Debug)]
pub struct ClusterRequest {
    /// What is wanted. It was possible when it was asked for.
    pub command: Command,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The state of the cluster does not permit it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node does not answer, or too many requests wait.
    #[error("the node is busy: see its log")]
    Busy,
}

impl ClusterHandle {
    /// Both ends, for a node in this state.
    pub fn new(status: Status) -> (Self, ClusterControl) {
        let status = Arc::new(Mutex::new(status));
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let control = ClusterControl { status: Arc::clone(&status), requests };
        (Self { status, requests: sender }, control)
    }

    /// The state of the node.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the node does.
    pub fn role(&self) -> Role {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).role
    }

    /// Whether the node knows which one serves the clients.
    pub fn has_owner(&self) -> bool {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.role == Role::Owner || status.owner.is_some()
    }

    /// Asks for a change. Returns the node that is to serve the clients, when the change begins; `None`: the owner stays.
    ///
    /// # Errors
    /// It is not possible, or the node does not answer within five seconds.
    pub async fn ask(&self, command: Command) -> Result<Option<String>, CommandError> {
        let to = self.check(&command)?;
        let command = match (command, &to) {
            // What was found is what is done.
            (Command::Move { .. }, Some(node)) => Command::Move { to: Some(node.clone()) },
            (command, _) => command,
        };
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(ClusterRequest { command, answer }).map_err(|_| CommandError::Busy)?;
        match timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(answer)) => answer.map(|()| to).map_err(CommandError::Refused),
            Ok(Err(_)) | Err(_) => Err(CommandError::Busy),
        }
    }

    /// The node that would take over.
    fn check(&self, command: &Command) -> Result<Option<String>, Refusal> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match command {
            Command::Move { to } => status.successor(to.as_deref()).map(|member| Some(member.node.clone())),
            Command::Drain if status.role == Role::Owner => {
                status.successor(None).map(|member| Some(member.node.clone()))
            }
            Command::Drain | Command::Undrain => Ok(None),
            Command::Forget { node } => status.gone(node).map(|()| None),
        }
    }
}

impl ClusterControl {
    /// Changes the state that others see.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The next request; `None`: there will be none. Cancel safe.
    pub async fn next(&mut self) -> Option<ClusterRequest> {
        self.requests.recv().await
    }

    /// The next request that waits already.
    pub fn try_next(&mut self) -> Option<ClusterRequest> {
        self.requests.try_recv().ok()
    }
}

impl ClusterRequest {
    /// Answers that the change begins.
    pub fn accept(self) -> Command {
        // The requester may not wait any more.
        let _ = self.answer.send(Ok(()));
        self.command
    }

    /// Answers that it is not made.
    pub fn refuse(self, refusal: Refusal) {
        let _ = self.answer.send(Err(refusal));
    }
}

/// Requests that wait.
const REQUESTS_MAX: usize = 4;
/// The connection of a request to the admin listener lives for ten seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::status::Member;
    use super::*;

    fn status(role: Role) -> Status {
        let mut status = Status::new("c".to_owned(), "a".to_owned(), "a:1883".to_owned());
        let member = Member { node: "b".to_owned(), is_able: true, is_alive: true, ..Member::default() };
        (status.role, status.members) = (role, vec![member]);
        status
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn a_request_names_the_node_that_was_found_and_is_answered_before_it_is_carried_out() {
        run(async {
            let (handle, mut control) = ClusterHandle::new(status(Role::Owner));
            let node = async {
                let request = control.next().await.unwrap();
                assert_eq!(request.accept(), Command::Move { to: Some("b".to_owned()) });
                let request = control.next().await.unwrap();
                assert_eq!(request.command, Command::Drain);
                request.refuse(Refusal::Other("not now".to_owned()));
            };
            let asks = async {
                assert_eq!(handle.ask(Command::Move { to: None }).await, Ok(Some("b".to_owned())));
                let refused = handle.ask(Command::Drain).await.unwrap_err();
                assert_eq!(refused.to_string(), "not now");
            };
            tokio::join!(node, asks);
        });
    }

    #[test]
    fn what_is_not_possible_is_refused_without_the_node_but_a_standby_can_be_drained() {
        run(async {
            let (handle, mut control) = ClusterHandle::new(status(Role::Standby));
            let refused = handle.ask(Command::Move { to: None }).await.unwrap_err();
            assert_eq!(refused.to_string(), "this node is standby, not the owner");
            let node = async { control.next().await.unwrap().accept() };
            assert_eq!(tokio::join!(handle.ask(Command::Drain), node), (Ok(None), Command::Drain));
            assert!(control.try_next().is_none());
            drop(control);
            assert_eq!(handle.ask(Command::Undrain).await, Err(CommandError::Busy));
        });
    }
}
