use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::clock::now;
use super::view::View;
use crate::cluster::beat::Beat;
use crate::cluster::engine::{Beat as Said, Engine};

/// Looks whether another process with this name is alive, before the first beat of this one takes the place of its beats. A process that was killed looks
/// alive for a moment, so this takes about two seconds if there is a beat of one that has not said that it goes.
///
/// # Errors
/// There is one, or the beats can't be read.
pub(super) async fn name_is_free(engine: &dyn Engine, name: &str) -> Result<(), String> {
    let last = async || -> Result<Option<Beat>, String> {
        let said = engine.beats().await.map_err(|error| error.to_string())?.into_iter().find(|said| said.node == name);
        Ok(said.and_then(|said| Beat::decode(&said.bytes)).filter(|beat| beat.hands_over_to.is_none()))
    };
    let Some(before) = last().await? else { return Ok(()) };
    sleep(PERIOD * 2).await;
    match last().await? {
        Some(beat) if (beat.process, beat.number) != (before.process, before.number) => {
            let Beat { advertise, .. } = beat;
            Err(format!(
                "another node of this cluster has the name {name:?} (cluster.node), and is alive at {advertise}"
            ))
        }
        Some(_) | None => Ok(()),
    }
}

/// Sends a beat about once a second, and takes the beats of the other nodes.
pub(super) async fn beat(engine: Arc<dyn Engine>, view: Rc<View>) {
    let mut seconds = interval(PERIOD);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        // If it fails, the next one follows.
        let _acknowledged = beat_once(&*engine, &view).await;
    }
}

/// Sends a beat. If it is acknowledged, takes the beats of all nodes. Returns whether it was.
pub(super) async fn beat_once(engine: &dyn Engine, view: &View) -> bool {
    let bytes = {
        let state = &mut *view.state.borrow_mut();
        state.beat.number += 1;
        state.beat.encode()
    };
    let begun = now();
    if engine.raise(bytes.into()).await.is_err() {
        return false;
    }
    // The time before it was sent, because other nodes may count from then.
    view.state.borrow_mut().went_in = begun;
    let Ok(latest) = engine.beats().await else { return true };
    view.members.borrow_mut().observe(ours(view, latest));
    // That is not forgotten with the owner that has trimmed it.
    let trimmed = view.members.borrow().trimmed();
    view.says(|beat| beat.trimmed = beat.trimmed.max(trimmed));
    view.show_members();
    if let Some(standby) = &view.state.borrow().standby {
        (standby.announce)(view.other_owner());
    }
    true
}

/// Takes the beats of all nodes now, because something is decided by them.
pub(super) async fn look(engine: &dyn Engine, view: &View) {
    let Ok(Ok(latest)) = timeout(PERIOD, engine.beats()).await else { return };
    view.members.borrow_mut().refresh(ours(view, latest));
    view.show_members();
}

/// The beats of this cluster. Those with another number are of a stream that does not exist any more.
fn ours(view: &View, latest: Vec<Said>) -> impl Iterator<Item = (String, Beat)> {
    let is_ours = |beat: &Beat| beat.cluster == view.state.borrow().beat.cluster;
    latest.into_iter().filter_map(move |said| Some((said.node, Beat::decode(&said.bytes).filter(is_ours)?)))
}

const PERIOD: Duration = Duration::from_secs(1);
