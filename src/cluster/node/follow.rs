use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::attending::{Commands, Ended, Followed, attending};
use super::clock::now;
use super::copy::fetch;
use super::copying_log::{Copy, PAUSE};
use super::heartbeat::beat_once;
use super::view::View;
use crate::cluster::Role;
use crate::cluster::engine::Engine;

/// Follows the log until this node is the owner, or the process ends.
pub(super) async fn follow(engine: &dyn Engine, view: &View, commands: &mut Commands) -> Followed {
    let mut fetched = None;
    loop {
        view.status(|status| status.role = Role::Starting);
        let reason = match follow_copy(engine, view, commands).await {
            Ended::Followed(followed) => return followed,
            Ended::Stuck(reason) => reason,
            Ended::Behind(reason) => {
                view.warn(&format!("the copy of the log has to be fetched anew: {reason}"));
                // The owner must not trim what only this copy has, so it is told before the copy is removed.
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
                fetched = Some(now());
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

/// A copy that is of no use is not fetched again at once.
const FETCH_PERIOD: Duration = Duration::from_secs(30);
/// How long to wait before a copy that is stuck is tried again.
const AGAIN: Duration = Duration::from_secs(5);
