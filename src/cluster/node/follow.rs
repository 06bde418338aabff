use std::io;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::copy::fetch;
use super::copying_log::Copy;
use super::interface::Command;
use super::view::View;
use crate::cluster::engine::Engine;
use crate::cluster::members::Cause;
use crate::cluster::place::Place;
use crate::cluster::{Command as Wish, Owner, Refusal, Role};

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
    /// It has to be fetched anew.
    Behind(String),
    /// A person has to do something, or a disk or the engine has to recover. It is tried again after a while.
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

/// Follows the log until this node is the owner, or the process ends.
pub(super) async fn follow(engine: &dyn Engine, view: &View, commands: &mut Commands) -> Followed {
    loop {
        view.status(|status| status.role = Role::Starting);
        let reason = match follow_copy(engine, view, commands).await {
            Ended::Followed(followed) => return followed,
            Ended::Stuck(reason) => reason,
            Ended::Behind(reason) => {
                view.says(|beat| beat.is_candidate = false);
                view.warn(&format!("the copy of the log has to be fetched anew: {reason}"));
                match attending(view, commands, fetch(engine, view)).await {
                    Err(left) => return left,
                    Ok(Ok(())) => {
                        view.log("the copy of the log was fetched from the owner");
                        continue;
                    }
                    Ok(Err(reason)) => reason,
                }
            }
        };
        view.says(|beat| beat.is_candidate = false);
        view.trouble(Some(&reason));
        if let Err(left) = attending(view, commands, sleep(AGAIN)).await {
            return left;
        }
    }
}

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
            done = &mut work => return Ok(done),
            command = commands.recv() => match command {
                Some(Command::Standby(server)) => view.stands_by(server),
                // A broker that was fenced before it served is ended by whoever has fenced it.
                Some(Command::Serving(_) | Command::Stopped) => {}
                Some(Command::Asked(request)) => match request.command {
                    Wish::Move { .. } => {
                        let owner = view.members.borrow().owner().map(|(name, beat)| Owner {
                            node: name.to_owned(),
                            advertise: beat.map(|beat| beat.advertise.clone()),
                        });
                        request.refuse(Refusal::NotOwner { role: Role::Standby, owner });
                    }
                    Wish::Drain => {
                        view.drain(true);
                        request.accept();
                    }
                    Wish::Undrain => {
                        view.drain(false);
                        request.accept();
                    }
                },
                Some(Command::Leave(answer)) => return Err(Followed::Left(answer)),
                // The process has dropped the node without a word.
                None => return Err(Followed::Left(oneshot::channel().0)),
            },
        }
    }
}

async fn follow_copy(engine: &dyn Engine, view: &View, commands: &mut Commands) -> Ended {
    let mut copy = match Copy::open(engine, view, commands).await {
        Ok(copy) => copy,
        Err(ended) => return ended,
    };
    match copy.run(engine, view, commands).await {
        Ok(followed) => Ended::Followed(followed),
        Err(ended) => ended,
    }
}

/// How long to wait before a copy that is stuck is tried again.
const AGAIN: Duration = Duration::from_secs(5);
