use std::sync::mpsc as blocking;

use tokio::sync::oneshot;

use super::attending::{Begin, Commands, Followed};
use super::interface::{End, Promotion};
use super::ownership::{Ended, Ownership};
use super::view::View;
use crate::cluster::Role;
use crate::cluster::engine::Engine;

/// Is the owner until another node is, the node hands over, or the process ends. Returns whom to tell about the last.
pub(super) async fn own(
    engine: &dyn Engine,
    view: &View,
    commands: &mut Commands,
    (begin, owner): (Begin, &blocking::SyncSender<Promotion>),
) -> Option<oneshot::Sender<()>> {
    let epoch = begin.epoch;
    view.says(|beat| (beat.epoch, beat.hands_over_to) = (epoch, None));
    view.status(|status| (status.role, status.epoch) = (Role::TakingOver, epoch));
    let mut ownership = Ownership::new(view, &begin);
    let ended = match ownership.confirm(engine, commands).await {
        Err(Followed::Left(answer)) => {
            ownership.hand_over(engine, "").await;
            return Some(answer);
        }
        Err(Followed::Owner(_)) => return None,
        Ok(Err(reason)) => {
            ownership.lost(&reason);
            return None;
        }
        Ok(Ok(())) => ownership.serve(engine, commands, (&begin, owner)).await,
    };
    view.state.borrow_mut().store = None;
    match ended {
        Ended::Fenced(reason) => {
            ownership.lost(&reason);
            ownership.end_broker(commands, End::Fenced(reason)).await
        }
        Ended::HandsOver => {
            ownership.hand_over(engine, "").await;
            None
        }
        Ended::Left(answer) => {
            ownership.hand_over(engine, "").await;
            Some(answer)
        }
        Ended::Moved(to) => {
            ownership.hand_over(engine, &to).await;
            None
        }
    }
}
