//! Ends a broker from another thread, while its process goes on.

use std::future::pending;
use std::sync::Arc;

use bytestring::ByteString;
use tokio::select;
use tokio::sync::watch;

use super::cells::Cells;

/// Why a broker is to end, while its process goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was a standby, and the process is to serve the clients.
    Promoted,
    /// Another server has taken over, and what this one stores does not count any more. It ends at once, and waits for nothing that it has stored.
    Fenced {
        /// How that was found.
        reason: String,
        /// The Server Reference of the other server, if it is known.
        owner: Option<String>,
    },
    /// Another server is to take over, with all that this one has stored.
    Moved {
        /// The Server Reference of the other server, if it is known.
        owner: Option<String>,
    },
}

impl Why {
    /// Whether the store must not be waited for.
    pub const fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// The Server Reference that clients get.
    pub(super) fn owner(&self) -> Option<ByteString> {
        match self {
            Self::Promoted => None,
            Self::Fenced { owner, .. } | Self::Moved { owner } => owner.as_deref().map(Into::into),
        }
    }
}

/// Ends a broker from any thread, even before it has started. One is for one run of a broker.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<Option<Why>>>);

impl Default for Stopper {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stopper {
    /// Ends the broker. Of several calls the first counts, but that another server has taken over counts before all else.
    pub fn stop(&self, why: Why) {
        self.0.send_if_modified(|before| {
            let counts = match before {
                None => true,
                Some(before) => why.is_fenced() && !before.is_fenced(),
            };
            if counts {
                *before = Some(why);
            }
            counts
        });
    }

    /// Why it is to end, if it is.
    pub fn why(&self) -> Option<Why> {
        self.0.borrow().clone()
    }

    /// Waits until another server has taken over. Cancel safe.
    pub(super) async fn fenced(&self) -> Why {
        self.wait_for(Why::is_fenced).await
    }

    async fn wait_for(&self, is_wanted: impl Fn(&Why) -> bool) -> Why {
        let mut changes = self.0.subscribe();
        let why = changes.wait_for(|why| why.as_ref().is_some_and(&is_wanted)).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            // The sender is gone, which can't be while `self` has it.
            None => pending().await,
        }
    }
}

/// Waits until `stopper` or `cells` say that the broker is to end. Without both, it waits for ever. Cancel safe.
pub(super) async fn told(stopper: Option<&Stopper>, cells: Option<&Cells>) -> Why {
    let told = async {
        match stopper {
            Some(stopper) => stopper.wait_for(|_| true).await,
            None => pending().await,
        }
    };
    select! {
        why = told => why,
        () = all_told(cells) => Why::Moved { owner: None },
    }
}

/// Waits until all servers of the process are to end; for ever if there are no cells. Cancel safe.
pub(super) async fn all_told(cells: Option<&Cells>) {
    match cells {
        Some(cells) => cells.ended().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fenced(reason: &str) -> Why {
        Why::Fenced { reason: reason.to_owned(), owner: None }
    }

    #[test]
    fn the_first_call_counts_and_a_fence_counts_before_all_else() {
        let stopper = Stopper::default();
        assert_eq!(stopper.why(), None);
        stopper.clone().stop(Why::Moved { owner: None });
        stopper.stop(Why::Promoted);
        assert_eq!(stopper.why(), Some(Why::Moved { owner: None }));
        stopper.stop(fenced("epoch 3"));
        stopper.stop(fenced("epoch 4"));
        stopper.stop(Why::Promoted);
        assert_eq!(stopper.why(), Some(fenced("epoch 3")));
    }
}
