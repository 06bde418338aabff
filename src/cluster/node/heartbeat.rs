use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::clock::now;
use super::view::View;
use crate::cluster::beat::Beat;
use crate::cluster::engine::Engine;

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
    // Beats with another number are of a stream that does not exist any more.
    let is_ours = |beat: &Beat| beat.cluster == view.state.borrow().beat.cluster;
    let beats = latest.into_iter().filter_map(|said| Some((said.node, Beat::decode(&said.bytes).filter(is_ours)?)));
    view.members.borrow_mut().observe(beats);
    // That is not forgotten with the owner that has trimmed it.
    let trimmed = view.members.borrow().trimmed();
    view.says(|beat| beat.trimmed = beat.trimmed.max(trimmed));
    view.show_members();
    if let Some(standby) = &view.state.borrow().standby {
        (standby.announce)(view.owner_address());
    }
    true
}

const PERIOD: Duration = Duration::from_secs(1);
