use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::clock::now;
use super::view::View;
use crate::cluster::beat::Beat;
use crate::cluster::engine::Engine;

/// Says about once a second that this node is alive, and looks at what the others say.
pub(super) async fn beat(engine: Arc<dyn Engine>, view: Rc<View>) {
    let mut seconds = interval(PERIOD);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        // Otherwise the next one may.
        let _went_in = beat_once(&*engine, &view).await;
    }
}

/// Raises the number of this node. If that went in, takes the numbers of all nodes. Returns whether it did.
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
    // When it was sent: other nodes count from no later time.
    view.state.borrow_mut().went_in = begun;
    let Ok(latest) = engine.beats().await else { return true };
    // Others are of a stream that is gone.
    let is_ours = |beat: &Beat| beat.cluster == view.state.borrow().beat.cluster;
    let beats = latest.into_iter().filter_map(|said| Some((said.node, Beat::decode(&said.bytes).filter(is_ours)?)));
    view.members.borrow_mut().observe(beats);
    view.show_members();
    if let Some(standby) = &view.state.borrow().standby {
        (standby.announce)(view.owner_address());
    }
    true
}

const PERIOD: Duration = Duration::from_secs(1);
