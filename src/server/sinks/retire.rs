//! The Sessions of sinks: what they are subscribed to, whose they are, and how those end that the configuration does not have any more.

use std::collections::HashSet;
use std::sync::Arc;

use super::link::Link;
use super::running::Tools;
use crate::broker::{Answer, ClientFilter, ClientPattern, Gift, GiftOutcome, Owner, PageRequest, Query, User};
use crate::routing::ShardId;
use crate::server::log::log_line;
use crate::server::own_client::Kind;
use crate::topic::Filter;

/// The filters that the Session of a sink has and that the sink does not want.
pub(super) async fn unwanted(tools: &Tools, name: &str, wanted: &[String]) -> Vec<Filter> {
    let client_id = Kind::Sink.client_id(name);
    let mut filters = Vec::new();
    for shard in shards(tools) {
        let mut from = Some(0);
        while let Some(start) = from {
            let query = Query::Subscriptions(client_id.clone(), PageRequest { from: start, limit: PAGE });
            let Ok(Answer::Subscriptions(Some(page))) = tools.queries.ask(shard, query).await else { break };
            from = page.next;
            filters.extend(page.entries.into_iter().map(|entry| entry.subscription.filter));
        }
    }
    filters.retain(|filter| !wanted.iter().any(|wanted| *wanted == filter.to_string()));
    filters.truncate(UNSUBSCRIBED_MAX);
    filters
}

/// Gives the Session of a sink to its user, if it is that of the same sink with another user. Returns whether it did.
pub(super) async fn give(tools: &Tools, name: &str, user: &str) -> bool {
    let client_id = Kind::Sink.client_id(name);
    for shard in shards(tools) {
        let Ok(Answer::Client(Some(view))) = tools.queries.ask(shard, Query::Client(client_id.clone())).await else {
            continue;
        };
        let Owner::User(before) = &view.owner else { return false };
        if before.provider.as_deref() != Some(Kind::Sink.provider()) {
            return false;
        }
        let owner = Owner::User(Arc::new(User { name: user.into(), ..User::clone(before) }));
        let gift = Gift { client_id, owner, access: None };
        let answer = tools.queries.ask(shard, Query::Give(Box::new(gift))).await;
        return matches!(answer, Ok(Answer::Gift(GiftOutcome::Given)));
    }
    false
}

/// Lets the Sessions of sinks that the configuration does not have any more end after [`KEPT_SECONDS`].
pub(super) async fn retire_others(tools: Tools, configured: HashSet<String>) {
    for (name, user) in sessions(&tools).await {
        if configured.contains(&name) {
            continue;
        }
        retire(&tools, &name, &user).await;
    }
}

async fn retire(tools: &Tools, name: &str, user: &str) {
    match Link::connect(&tools.clients, (name, user), std::num::NonZeroU16::MIN).await {
        Ok(link) => {
            link.finish(Some(KEPT_SECONDS)).await;
            log_retired(name);
        }
        Err(error) => {
            let reason = &*error.to_string();
            log_line!(SinkUnavailable { sink = name, reason }, "the queue of the former sink {name} stays: {reason}");
        }
    }
}

/// Says that the Session of a sink ends.
pub(super) fn log_retired(name: &str) {
    log_line!(
        SinkRetired { sink = name },
        "the configuration has no sink {name} any more: what is queued for it is kept for a day, and then dropped"
    );
}

/// The Sessions of sinks that nobody is connected to and that do not end by themselves, with the names of the sinks and their users.
async fn sessions(tools: &Tools) -> Vec<(String, String)> {
    let prefix = Kind::Sink.client_id("").as_str().to_owned();
    let filter = ClientFilter {
        connected: Some(false),
        client_id: Some(ClientPattern::new(format!("{prefix}*"))),
        ..ClientFilter::default()
    };
    let mut found = Vec::new();
    for shard in shards(tools) {
        let mut from = Some(0);
        while let Some(start) = from {
            let query = Query::Clients(PageRequest { from: start, limit: PAGE }, Box::new(filter.clone()));
            let Ok(Answer::Clients(page)) = tools.queries.ask(shard, query).await else { break };
            from = page.next;
            for view in page.entries {
                let Some(name) = view.client_id.as_str().strip_prefix(&prefix) else { continue };
                let Owner::User(user) = &view.owner else { continue };
                let is_ours = user.provider.as_deref() == Some(Kind::Sink.provider());
                if is_ours && view.session_expiry_interval == u32::MAX {
                    found.push((name.to_owned(), user.name.to_string()));
                }
            }
        }
    }
    found
}

fn shards(tools: &Tools) -> impl Iterator<Item = ShardId> + use<> {
    (0..tools.queries.shards()).filter_map(|number| u16::try_from(number).ok().map(ShardId))
}

/// A mistake in the configuration is noticed within a day.
pub(super) const KEPT_SECONDS: u32 = 24 * 60 * 60;
const PAGE: usize = 1_000;
/// Filters of one UNSUBSCRIBE; the rest follows at the next connection.
const UNSUBSCRIBED_MAX: usize = 1_000;
