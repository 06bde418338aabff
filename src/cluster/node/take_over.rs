use std::collections::VecDeque;
use std::io;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::attending::{Begin, Commands, Ended, attending};
use super::clock::now;
use super::copying_log::{Broken, Copy, PAUSE, no_copy};
use super::texts::{describe, explain};
use super::view::View;
use crate::cluster::engine::Engine;
use crate::cluster::members::{Cause, Decision};
use crate::cluster::place::Place;
use crate::cluster::{Commit, Lost, Reply, Role, Takeover};

impl Copy {
    /// Why this node should take over now.
    pub(super) fn is_due(&mut self, view: &View) -> Option<Cause> {
        let mine = view.state.borrow().beat.clone();
        match view.members.borrow().decide(&mine) {
            Decision::Follow => self.take_over = None,
            Decision::TakeOver { after, cause } => {
                let (due, cause) = self.take_over.get_or_insert_with(|| (now() + after, cause));
                if *due <= now() {
                    return Some(cause.clone());
                }
            }
        }
        None
    }

    /// Becomes the owner, unless another node is faster.
    pub(super) async fn take_over(
        &mut self,
        engine: &dyn Engine,
        view: &View,
        commands: &mut Commands,
        cause: Cause,
    ) -> Result<Option<Begin>, Ended> {
        let since = now();
        view.log(&format!("takes over: {}", explain(&cause)));
        view.status(|status| status.role = Role::TakingOver);
        self.take_over = None;
        // With the number of another node, this one would take the entry of that node for its own.
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        let nonce = u128::from_le_bytes(nonce);
        let mut takeover = Takeover::new(view.identity.cell, view.identity.node.clone(), nonce, self.reader);
        let epoch = loop {
            match (takeover.epoch(), takeover.lost()) {
                (Some(epoch), _) => break epoch,
                (_, Some(Lost::Rival(epoch))) => {
                    view.log(&format!("another node was faster: epoch {epoch}"));
                    return Ok(None);
                }
                (_, Some(Lost::Trouble(_))) if self.is_own => return Err(no_copy(&view.identity.home)),
                (_, Some(Lost::Trouble(trouble))) => return Err(Ended::Behind(describe(trouble))),
                (None, None) => {}
            }
            for (name, request) in takeover.take_requests() {
                let reply = attending(view, commands, engine.perform(request)).await?;
                if reply == Reply::Unknown {
                    attending(view, commands, sleep(PAUSE)).await?;
                }
                let commits = takeover.reply(name, reply);
                if self.is_own && !commits.is_empty() {
                    return Err(no_copy(&view.identity.home));
                }
                self.append_commits(view, commands, commits).await?;
            }
        };
        self.reader = takeover.reader();
        // Parts of a batch that the former owner did not finish are not part of the log.
        self.assembly.clear();
        self.whole.0 = self.reader;
        self.synced_reader = None;
        self.is_own = false;
        self.sync(view).await?;
        let sequence = self.whole.1;
        if let Some(follower) = self.follower.take() {
            spawn_blocking(move || follower.close()).await.map_err(io::Error::other)?;
        }
        let place = Place { cluster: self.cluster, reader: self.reader };
        Ok(Some(Begin { epoch, place, sequence, cause, since }))
    }

    async fn append_commits(
        &mut self,
        view: &View,
        commands: &mut Commands,
        commits: Vec<Commit>,
    ) -> Result<(), Ended> {
        let mut batches = VecDeque::new();
        let mut sequence = self.whole.1;
        for commit in commits {
            match self.push(commit, &mut sequence) {
                Ok(batch) => batches.extend(batch.map(|batch| (batch, None))),
                Err(Broken::Ended(ended)) => return Err(ended),
                Err(Broken::Trouble(trouble)) => return Err(Ended::Behind(describe(trouble))),
            }
        }
        self.whole.1 = sequence;
        self.append(view, commands, batches).await
    }
}
