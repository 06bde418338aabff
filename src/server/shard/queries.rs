use std::collections::HashMap;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::auth::{self, Pool};
use crate::broker::{Answer, Query, QueryId, Standing, TopicQuery};
use crate::server::authentication::account;

/// A query to a shard, with the channel for its answer.
#[derive(Debug)]
pub(in crate::server) struct QueryRequest {
    pub(in crate::server) query: Query,
    pub(in crate::server) responder: Responder,
}

/// Adds to a query what the password file and the ACL file say.
pub(in crate::server) fn complete(query: &mut Query, authentication: &Pool) {
    match query {
        Query::Give(gift) => {
            gift.access = Some(authentication.access(&gift.client_id, account(&gift.owner)));
        }
        Query::Topics(TopicQuery::Explain(request)) => {
            let user = request.user.as_deref();
            let found = match &request.listener {
                Some(listener) => authentication.standing_at(listener, &request.client_id, user),
                None => authentication.standing(&request.client_id, user),
            };
            let auth::Standing { access, refusal, note, superuser, is_without_listener } = found;
            let others = is_without_listener.then_some(OTHER_RULES);
            let notes: Vec<_> = note.into_iter().chain(others).collect();
            let note = (!notes.is_empty()).then(|| notes.join("; "));
            request.standing = Some(Standing { access, refusal, note, superuser });
        }
        Query::Topics(_)
        | Query::DeadLetters(_)
        | Query::Groups(_)
        | Query::Clients(..)
        | Query::Client(_)
        | Query::StableClient(_)
        | Query::Subscriptions(..)
        | Query::History(..)
        | Query::Queue(..)
        | Query::Journey(_)
        | Query::Holders(_)
        | Query::Tail(_)
        | Query::Kick(_)
        | Query::Forget(_) => {}
    }
}

const OTHER_RULES: &str = "some listeners have rules of their own, which apply there: name the listener";

/// The channel for an answer. Its query counts as pending until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Responder {
    pub(in crate::server) reply: oneshot::Sender<Answer>,
    pub(in crate::server) _permit: OwnedSemaphorePermit,
}

/// The queries that a shard has not answered yet. Their permits bound their number.
#[derive(Debug, Default)]
pub(in crate::server) struct PendingQueries {
    next: u64,
    pending: HashMap<QueryId, Responder>,
}

impl PendingQueries {
    /// Adds a query under a new identifier.
    pub(in crate::server) fn add(&mut self, responder: Responder) -> QueryId {
        self.next += 1;
        let id = QueryId(self.next);
        self.pending.insert(id, responder);
        id
    }

    /// Sends an answer, unless its query timed out.
    pub(in crate::server) fn answer(&mut self, id: QueryId, answer: Answer) {
        if let Some(Responder { reply, .. }) = self.pending.remove(&id) {
            // The receiver is dropped when the query times out.
            let _ = reply.send(answer);
        }
    }
}
