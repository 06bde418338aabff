use std::io;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::interface::Command;
use super::view::View;
use crate::cluster::members::Cause;
use crate::cluster::place::Place;
use crate::cluster::{Command as Wish, Refusal, Role};

/// How following ended.
pub(super) enum Followed {
    /// This node is the owner.
    Owner(Box<Begin>),
    /// The process ends.
    Left(oneshot::Sender<()>),
}

/// Where an owner begins.
pub(super) struct Begin {
    pub(super) epoch: u64,
    pub(super) place: Place,
    /// The log sequence behind its copy.
    pub(super) sequence: u64,
    pub(super) cause: Cause,
    /// When it began to take over.
    pub(super) since: Instant,
}

/// Why a copy does not go on.
pub(super) enum Ended {
    Followed(Followed),
    /// It has to be fetched anew, because the stream does not have what follows.
    Behind(String),
    /// The same, because it is damaged.
    Damaged(String),
    /// An operator has to act, or a disk or the engine has to recover. It is tried again after a while.
    Stuck(String),
}

impl From<Followed> for Ended {
    fn from(followed: Followed) -> Self {
        Self::Followed(followed)
    }
}

/// A failed write or read of the copy.
impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Stuck(format!("the copy of the log cannot be written: {error}"))
    }
}

pub(super) type Commands = mpsc::Receiver<Command>;

/// Does some work, and carries out commands meanwhile.
///
/// # Errors
/// The process ends.
pub(super) async fn attending<T>(
    view: &View,
    commands: &mut Commands,
    work: impl Future<Output = T>,
) -> Result<T, Followed> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            command = commands.recv() => match command {
                Some(Command::Standby(server)) => view.stands_by(server),
                // A broker that was fenced before it served is ended by whoever has fenced it.
                Some(Command::Serving(_) | Command::Stopped) => {}
                Some(Command::Asked(request)) => match request.command {
                    Wish::Move { .. } => {
                        request.refuse(Refusal::NotOwner { role: Role::Standby, owner: view.owner() });
                    }
                    Wish::Drain => {
                        view.drain(true);
                        request.accept();
                    }
                    Wish::Undrain => {
                        view.drain(false);
                        request.accept();
                    }
                    // It is carried out before it comes here.
                    Wish::Forget { .. } => {}
                },
                Some(Command::Leave(answer)) => return Err(Followed::Left(answer)),
                // The process has dropped the node.
                None => return Err(Followed::Left(oneshot::channel().0)),
            },
        }
    }
}
