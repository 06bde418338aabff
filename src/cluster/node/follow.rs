use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::attending::{Commands, Ended, Followed, attending};
use super::clock::now;
use super::copy::{Sources, fetch};
use super::copying_log::{Copy, PAUSE};
use super::heartbeat::beat_once;
use super::view::View;
use crate::cluster::Role;
use crate::cluster::engine::Engine;

/// Follows the log until this node is the owner, or the process ends.
pub(super) async fn follow(engine: &dyn Engine, view: &View, commands: &mut Commands) -> Followed {
    let (mut fetched, mut sources, mut said) = (None, Sources::default(), String::new());
    loop {
        view.status(|status| status.role = Role::Starting);
        let Attempt { ended, opening, position } = follow_copy(engine, view, commands).await;
        let reason = match ended {
            Ended::Followed(followed) => return followed,
            Ended::Stuck(reason) => reason,
            Ended::Behind(reason) | Ended::Damaged(reason) => {
                if said != reason {
                    view.warn(&format!("the copy of the log has to be fetched anew: {reason}"));
                    said = reason;
                }
                // The owner must not trim what only this copy has, so it is told before the copy is replaced.
                view.says(|beat| (beat.is_candidate, beat.position, beat.sequence) = (false, 0, 0));
                let pause =
                    if fetched.is_some_and(|at: Instant| at.elapsed() < FETCH_PERIOD) { AGAIN } else { Duration::ZERO };
                let told = async {
                    sleep(pause).await;
                    while !beat_once(engine, view).await {
                        sleep(PAUSE).await;
                    }
                };
                if let Err(left) = attending(view, commands, told).await {
                    return left;
                }
                match attending(view, commands, fetch(engine, view, (&mut sources, position))).await {
                    Err(left) => return left,
                    Ok(Ok(node)) => {
                        view.log(&format!("the copy of the log was fetched from node {node}"));
                        fetched = Some(now());
                        said.clear();
                        continue;
                    }
                    Ok(Err(reason)) => reason,
                }
            }
        };
        view.says(|beat| beat.is_candidate = false);
        view.trouble(Some(&reason));
        // It is read again from the beginning.
        let pause = opening.saturating_mul(OPENING_SHARE).clamp(AGAIN, AGAIN_MAX);
        if let Err(left) = attending(view, commands, sleep(pause)).await {
            return left;
        }
    }
}

/// How following a copy ended.
struct Attempt {
    ended: Ended,
    /// How long it took to open the copy.
    opening: Duration,
    /// The position up to which the copy is good; 0: it is not.
    position: u64,
}

async fn follow_copy(engine: &dyn Engine, view: &View, commands: &mut Commands) -> Attempt {
    let begun = now();
    let opened = Copy::open(engine, view, commands).await;
    let opening = begun.elapsed();
    let mut copy = match opened {
        Ok(copy) => copy,
        Err(ended) => return Attempt { ended, opening, position: 0 },
    };
    view.not_damaged();
    let ended = copy.run(engine, view, commands).await.map_or_else(|ended| ended, Ended::Followed);
    let position = match &ended {
        Ended::Damaged(_) => 0,
        Ended::Followed(_) | Ended::Behind(_) | Ended::Stuck(_) => copy.on_disk(),
    };
    Attempt { ended, opening, position }
}

/// A copy that is of no use is not fetched again at once.
const FETCH_PERIOD: Duration = Duration::from_secs(30);
/// How long to wait before a copy that is stuck is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// The pause before a copy is opened again, as a multiple of the time that opening it took.
const OPENING_SHARE: u32 = 10;
const AGAIN_MAX: Duration = Duration::from_secs(60);
