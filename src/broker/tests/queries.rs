//! Queries to a shard: Sessions in bounded pages, one client, and its subscriptions.

use std::collections::BTreeSet;

use super::harness::{Harness, settings};
use super::packets::*;
use crate::broker::{Answer, ClientView, Event, PAGE_MAX, Page, PageRequest, Query, QueryId, SubscriptionView};
use crate::codec::{ClientId, ProtocolVersion};

/// Sends a query to a shard, and asserts that it is answered in the same turn without another action.
fn ask(harness: &mut Harness, shard: usize, query: Query) -> Answer {
    let id = QueryId(harness.answers.len() as u64 + 7);
    harness.event(shard, Event::Query(id, Box::new(query)));
    let (answered, answer) = harness.answers.last().cloned().unwrap();
    assert_eq!(answered, id);
    answer
}

fn clients(harness: &mut Harness, shard: usize, from: u64, limit: usize) -> Page<ClientView> {
    let Answer::Clients(page) = ask(harness, shard, Query::Clients(PageRequest { from, limit }, Box::default())) else {
        panic!("unexpected answer")
    };
    page
}

fn client(harness: &mut Harness, shard: usize, name: &'static str) -> Option<ClientView> {
    let Answer::Client(client) = ask(harness, shard, Query::Client(ClientId::from(name))) else {
        panic!("unexpected answer")
    };
    client.map(|client| *client)
}

fn subscriptions(harness: &mut Harness, name: &'static str, from: u64, limit: usize) -> Option<Page<SubscriptionView>> {
    let Answer::Subscriptions(page) =
        ask(harness, 0, Query::Subscriptions(ClientId::from(name), PageRequest { from, limit }))
    else {
        panic!("unexpected answer")
    };
    page
}

/// Follows the cursors from the first page to the last.
fn all_clients(harness: &mut Harness, limit: usize) -> Vec<String> {
    let (mut names, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let page = clients(harness, 0, place, limit);
        assert!(page.entries.len() <= limit && page.next.is_none_or(|next| next > place));
        names.extend(page.entries.iter().map(|client| client.client_id.to_string()));
        from = page.next;
    }
    names
}

#[test]
fn connected_and_disconnected_clients_are_described() {
    let mut harness = Harness::new();
    let here = harness.connect(durable("here"));
    let away = harness.connect(durable("away"));
    harness.run(here, [subscribe("a", Q1), subscribe("b", Q0)]);
    harness.run(away, [subscribe("a", Q1)]);
    harness.lose(away);
    let away_since = harness.now;
    harness.seconds(5);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a", "12345", Q1, 1)]);

    harness.flush(here, 77);
    let view = client(&mut harness, 0, "here").unwrap();
    assert_eq!((view.subscriptions, view.in_flight_messages, view.queued_messages), (2, 1, 1));
    assert_eq!(view.disconnected_at, None);
    let connection = view.connection.unwrap();
    assert_eq!((connection.version, connection.pause_reasons.len()), (ProtocolVersion::V5, 0));
    assert_eq!(connection.unsent_bytes, 77);

    let view = client(&mut harness, 0, "away").unwrap();
    assert_eq!((view.subscriptions, view.in_flight_messages, view.queued_messages), (1, 0, 1));
    assert!(view.queued_bytes >= 5);
    assert_eq!((view.connection, view.disconnected_at), (None, Some(away_since)));
    assert_eq!(client(&mut harness, 0, "nobody"), None);
}

#[test]
fn pages_list_every_session_once_and_a_page_is_bounded() {
    let mut harness = Harness::new();
    let names: BTreeSet<String> = (0..10).map(|number| format!("c{number}")).collect();
    let connected: Vec<_> = names.iter().map(|name| harness.connect(durable(name.clone().leak()))).collect();
    for limit in [1, 3, 10, PAGE_MAX] {
        let listed = all_clients(&mut harness, limit);
        assert_eq!(listed.len(), names.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), names);
    }
    assert!(clients(&mut harness, 0, 0, 0).entries.len() <= 1, "limit 0 is raised to 1");
    assert_eq!(clients(&mut harness, 0, u64::MAX, 5), Page { entries: vec![], next: None });

    // A Session that ends between two pages does not shift the others.
    let first = clients(&mut harness, 0, 0, 3);
    let gone = harness.connect(transient("transient"));
    harness.lose(gone);
    harness.lose(connected[0]);
    let rest = clients(&mut harness, 0, first.next.unwrap(), 100);
    assert_eq!(first.entries.len() + rest.entries.len(), names.len());
}

#[test]
fn only_the_shard_that_has_a_session_describes_it() {
    let mut harness = Harness::with(2, settings());
    harness.connect_to(0, durable("a"));
    assert!(client(&mut harness, 0, "a").is_some() && client(&mut harness, 1, "a").is_none());
    harness.connect_to(1, durable("a"));
    assert!(client(&mut harness, 0, "a").is_none() && client(&mut harness, 1, "a").is_some());
    assert!(all_clients(&mut harness, 10).is_empty());
    assert_eq!(clients(&mut harness, 1, 0, 10).entries.len(), 1);
}

#[test]
fn subscriptions_of_a_client_are_listed_in_pages() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("a/+", Q1), subscribe("$share/g/b", Q2), subscribe("c/#", Q0)]);
    let (mut filters, mut from) = (BTreeSet::new(), Some(0));
    while let Some(place) = from {
        let page = subscriptions(&mut harness, "s", place, 2).unwrap();
        assert!(page.entries.len() <= 2);
        filters.extend(page.entries.iter().map(|entry| entry.subscription.filter.to_string()));
        from = page.next;
    }
    assert_eq!(filters.iter().map(String::as_str).collect::<Vec<_>>(), ["$share/g/b", "a/+", "c/#"]);
    assert_eq!(subscriptions(&mut harness, "nobody", 0, 2), None);
}

#[test]
fn paused_client_has_its_pause_reasons() {
    let mut harness = Harness::new();
    let waits = harness.connect(durable("waits"));
    harness.run(waits, [subscribe("t", Q1)]);
    harness.event(0, Event::StoreCongestion(true));
    harness.send(waits, publish("t", "x", Q1, 1));
    let view = client(&mut harness, 0, "waits").unwrap();
    assert_eq!(view.connection.unwrap().pause_reasons, ["store congested"]);
}
