//! The listeners of a reload: which are added, changed and removed.
//!
//! A listener is the same if its address is: it keeps its socket and its connections, and new connections get its new settings. One whose
//! address has changed is opened at the new one before the old one is closed, or after it if both can't be open at once; if it can't be
//! opened, the old one stays. First everything is prepared that can fail; then it is activated.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;

use super::super::bind::{ipv4_ports, tcp_options};
use super::super::listener::{
    Acceptor, BoundSocket, Early, Endpoint, ListeningSocket, OpenListener, Places, Port, is_without_family, log_skipped,
};
use super::super::log::log_line;
use super::super::shard::mailbox::Mail;
use super::super::{Server, announce};
use super::report::{PartResult, ReloadReport};
use crate::config::{Config, Listener, Source};

/// The listeners after a reload, before it is activated.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Those that will be in force, in the order of the configuration.
    entries: Vec<(Next, Source)>,
    removed: Vec<OpenListener>,
}

/// What becomes of a listener.
#[derive(Debug)]
enum Next {
    Stays(OpenListener),
    Changes(OpenListener, Endpoint),
    Opens {
        listener: OpenListener,
        sockets: Vec<ListeningSocket>,
        replaces: Option<OpenListener>,
    },
    /// Its sockets were closed for another one that could not be opened.
    Reopens(OpenListener, Vec<ListeningSocket>),
    /// A default address that this machine doesn't have.
    Skipped(Listener),
}

/// The open listener that a configured one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    /// It has the same address.
    Same(usize),
    /// It has another address.
    Moved(usize),
    New,
}

/// Why a listener can't be opened, and what becomes of the one that it was to replace.
struct Failure {
    reason: String,
    kept: Option<Next>,
    lost: Option<OpenListener>,
}

impl Prepared {
    /// The settings of all listeners that will be in force.
    pub(super) fn settings(&self) -> Vec<Listener> {
        let settings = |(next, _): &(Next, Source)| match next {
            Next::Stays(listener) | Next::Reopens(listener, _) | Next::Opens { listener, .. } => {
                listener.endpoint().settings().clone()
            }
            Next::Changes(_, endpoint) => endpoint.settings().clone(),
            Next::Skipped(settings) => settings.clone(),
        };
        self.entries.iter().map(settings).collect()
    }

    /// The listeners whose certificates were read by an earlier load.
    pub(super) fn endpoints(&self) -> Vec<&Endpoint> {
        let endpoints = self.entries.iter().map(|(next, _)| match next {
            Next::Stays(listener) | Next::Reopens(listener, _) => Some(&**listener.endpoint()),
            Next::Changes(_, endpoint) => Some(endpoint),
            Next::Opens { .. } | Next::Skipped(_) => None,
        });
        endpoints.flatten().collect()
    }
}

impl Server {
    /// Reads the certificates of listeners that are new or have others, and binds the new addresses.
    pub(super) async fn prepare_listeners(&mut self, config: &Config, report: &mut ReloadReport) -> Prepared {
        if self.cell.is_some() {
            let of_front =
                |(number, listener): (usize, &Listener)| (Next::Skipped(listener.clone()), Source::Loaded(number));
            return Prepared {
                entries: config.listeners.iter().enumerate().map(of_front).collect(),
                removed: Vec::new(),
            };
        }
        let open = mem::take(&mut self.listeners);
        let settings: Vec<_> = open.iter().map(|listener| listener.endpoint().settings().clone()).collect();
        let matches = matches(&settings, &config.listeners);
        let mut open: Vec<_> = open.into_iter().map(Some).collect();
        let mut take = |number: usize| open.get_mut(number).and_then(Option::take);
        let matched: Vec<_> = matches
            .into_iter()
            .map(|found| match found {
                Match::Same(number) => (take(number), None),
                Match::Moved(number) => (None, take(number)),
                Match::New => (None, None),
            })
            .collect();
        let mut removed: Vec<_> = open.into_iter().flatten().collect();
        // Names are looked up only if something is to be opened.
        let opens = matched.iter().any(|(same, _)| same.is_none());
        let listeners = config.listeners.iter().filter(|_| opens);
        let resolved: Vec<_> = listeners.filter_map(|listener| Places::resolve(listener).ok()).collect();
        let ports = ipv4_ports(config, &resolved);
        let mut entries = Vec::new();
        for (number, (settings, (same, moved))) in config.listeners.iter().zip(matched).enumerate() {
            let part = format!("listener {}", settings.label());
            let before = same.as_ref().or(moved.as_ref()).map(|listener| self.position(listener));
            let result = match same {
                Some(listener) => change(listener, settings, config, &part, report),
                None => self.open(settings, (config, &ports), moved, &mut removed).await,
            };
            match result {
                Ok(next) => {
                    if matches!(next, Next::Opens { .. }) {
                        report.add(part, PartResult::Reloaded);
                    }
                    entries.push((next, Source::Loaded(number)));
                }
                Err(failure) => {
                    let Failure { reason, kept, lost } = *failure;
                    let (name, what) =
                        (&*settings.label(), if kept.is_some() { "kept as it was" } else { "not opened" });
                    log_line!(
                        ReloadFailed { files = "listener", listener = name, reason = &*reason },
                        "listener {name}: {what}: {reason}"
                    );
                    report.kept(part, reason);
                    entries.extend(kept.map(|next| (next, Source::Before(before.unwrap_or_default()))));
                    removed.extend(lost);
                }
            }
        }
        Prepared { entries, removed }
    }

    /// The place of an open listener among the configured ones.
    fn position(&self, listener: &OpenListener) -> usize {
        let settings = listener.endpoint().settings();
        self.config.listeners.iter().position(|configured| configured == settings).unwrap_or_default()
    }

    /// Opens a listener, in place of one that has `moved`.
    async fn open(
        &self,
        settings: &Listener,
        (config, ports): (&Config, &HashSet<Port>),
        mut moved: Option<OpenListener>,
        removed: &mut Vec<OpenListener>,
    ) -> Result<Next, Box<Failure>> {
        let failed = |reason: String, moved: Option<OpenListener>| {
            Box::new(Failure { reason, kept: moved.map(Next::Stays), lost: None })
        };
        let endpoint = match Endpoint::new(settings.clone(), &config.limits) {
            Ok(endpoint) => endpoint,
            Err(error) => return Err(failed(error.to_string(), moved)),
        };
        let bind = || Places::resolve(settings)?.bind(tcp_options(config), ports);
        let error = match bind() {
            Ok(bound) => return opens(endpoint, bound, moved),
            Err(error) => error,
        };
        if config.has_default_listeners() && is_without_family(&error) {
            log_skipped(&settings.address, &error);
            removed.extend(moved);
            return Ok(Next::Skipped(settings.clone()));
        }
        let reason = |error: &io::Error| format!("cannot listen at {}: {error}", settings.address);
        let port = settings.address.port();
        let in_the_way = |listener: &OpenListener| listener.endpoint().settings().address.port() == port;
        let is_moved_in_the_way = moved.as_ref().is_some_and(in_the_way);
        if error.kind() != ErrorKind::AddrInUse || !(is_moved_in_the_way || removed.iter().any(in_the_way)) {
            return Err(failed(reason(&error), moved));
        }
        // Both can't be open at once.
        for listener in removed.iter_mut().filter(|listener| in_the_way(listener)) {
            listener.close_sockets().await;
        }
        if let Some(listener) = moved.as_mut().filter(|_| is_moved_in_the_way) {
            listener.close_sockets().await;
        }
        let error = match bind() {
            Ok(bound) => return opens(endpoint, bound, moved),
            Err(error) => error,
        };
        if !is_moved_in_the_way {
            return Err(failed(reason(&error), moved));
        }
        let Some(mut listener) = moved else { return Err(failed(reason(&error), None)) };
        let old = listener.endpoint().settings().clone();
        let bound = Places::resolve(&old).and_then(|places| places.bind(tcp_options(config), ports));
        match bound.and_then(|bound| listener.reopen(bound)) {
            Ok(sockets) => {
                let kept = Some(Next::Reopens(listener, sockets));
                Err(Box::new(Failure { reason: reason(&error), kept, lost: None }))
            }
            Err(second) => {
                let reason = format!("{}, and no longer at {}: {second}", reason(&error), old.address);
                Err(Box::new(Failure { reason, kept: None, lost: Some(listener) }))
            }
        }
    }

    /// Lets the listeners accept connections, and ends the connections of those that are removed. Returns whether any has other settings, and
    /// where the listeners in force come from.
    pub(super) async fn activate_listeners(
        &mut self,
        prepared: Prepared,
        accepting: &mut Option<Acceptor>,
        report: &mut ReloadReport,
    ) -> (bool, Vec<Source>) {
        let Prepared { entries, mut removed } = prepared;
        let (mut sockets, mut sources, mut has_changed) = (Vec::new(), Vec::new(), false);
        for (next, source) in entries {
            sources.push(source);
            match next {
                Next::Stays(listener) => self.listeners.push(listener),
                Next::Reopens(listener, reopened) => {
                    sockets.extend(reopened);
                    self.listeners.push(listener);
                }
                Next::Changes(mut listener, endpoint) => {
                    listener.update(endpoint);
                    let name = &*listener.endpoint().name;
                    log_line!(ListenerChanged { listener = name }, "listener {name} has other settings");
                    has_changed = true;
                    self.listeners.push(listener);
                }
                Next::Opens { listener, sockets: listening, replaces } => {
                    log_open(&listener);
                    sockets.extend(listening);
                    removed.extend(replaces);
                    self.listeners.push(listener);
                }
                Next::Skipped(_) => {}
            }
        }
        if !sockets.is_empty()
            && let Err(error) = self.accept_at(accepting, sockets, Early::new())
        {
            let reason = error.to_string();
            log_line!(
                ReloadFailed { files = "listener", reason = &*reason },
                "the new listeners do not accept connections: {reason}"
            );
            report.kept("listeners", reason);
        }
        self.publish_endpoints();
        let mut names = Vec::new();
        for listener in removed {
            let name = Arc::clone(&listener.endpoint().name);
            names.extend(listener.close().await);
            log_line!(
                ListenerClosed { listener = &*name },
                "listener {name} is closed, and its clients are disconnected"
            );
            report.add(format!("listener {name}"), PartResult::Reloaded);
        }
        if !names.is_empty() {
            let mail = || Mail::ListenersRemoved(names.iter().cloned().collect());
            self.mailboxes.iter().for_each(|mailbox| mailbox.put(mail()));
            if let Some(cells) = &self.front_of {
                cells.listeners_removed(&names);
            }
        }
        (has_changed, sources)
    }
}

/// A listener that is open at its address, in place of one that has `moved`. Without a file descriptor that one stays; if it was closed for the
/// new one, it is lost.
fn opens(endpoint: Endpoint, bound: Vec<BoundSocket>, moved: Option<OpenListener>) -> Result<Next, Box<Failure>> {
    match OpenListener::new(endpoint, bound) {
        Ok((listener, sockets)) => Ok(Next::Opens { listener, sockets, replaces: moved }),
        Err(error) => {
            let (kept, lost) = moved.map_or((None, None), |moved| match moved.is_open() {
                true => (Some(Next::Stays(moved)), None),
                false => (None, Some(moved)),
            });
            Err(Box::new(Failure { reason: error.to_string(), kept, lost }))
        }
    }
}

/// A listener whose address has not changed.
fn change(
    listener: OpenListener,
    settings: &Listener,
    config: &Config,
    part: &str,
    report: &mut ReloadReport,
) -> Result<Next, Box<Failure>> {
    if listener.endpoint().is_same(settings, &config.limits) {
        report.add(part, PartResult::Unchanged);
        return Ok(Next::Stays(listener));
    }
    match listener.endpoint().successor(settings.clone(), &config.limits) {
        Ok(endpoint) => {
            report.add(part, PartResult::Reloaded);
            Ok(Next::Changes(listener, endpoint))
        }
        Err(error) => {
            Err(Box::new(Failure { reason: error.to_string(), kept: Some(Next::Stays(listener)), lost: None }))
        }
    }
}

fn log_open(listener: &OpenListener) {
    let endpoint = listener.endpoint();
    let name = &*endpoint.name;
    log_line!(ListenerOpen { listener = name }, "listener {name} is open");
    for address in listener.addresses() {
        let url = announce::url(endpoint.settings(), *address);
        log_line!(Listening { listener = name, url = &*url }, "listener {name} listens at {url}");
    }
}

/// Whether both listen at the same address: of TCP, or both of UDP.
fn is_same_place(open: &Listener, listener: &Listener) -> bool {
    open.address == listener.address && open.transport.is_datagram() == listener.transport.is_datagram()
}

/// For each of the `configured` listeners the one of those that are `open`, each of which is used once: with the same address, if possible
/// of the same name; then with the same name; then, if both have no name, with the same transport.
fn matches(open: &[Listener], configured: &[Listener]) -> Vec<Match> {
    let rules: [fn(&Listener, &Listener) -> bool; 4] = [
        |open, listener| is_same_place(open, listener) && open.name == listener.name,
        is_same_place,
        |open, listener| open.name.is_some() && open.name == listener.name,
        |open, listener| open.name.is_none() && listener.name.is_none() && open.transport == listener.transport,
    ];
    let mut found = vec![Match::New; configured.len()];
    let mut is_used = vec![false; open.len()];
    for rule in rules {
        for (listener, found) in configured.iter().zip(&mut found).filter(|(_, found)| **found == Match::New) {
            let mut candidates = open.iter().zip(&mut is_used).enumerate();
            let candidate = candidates.find(|(_, (open, is_used))| !**is_used && rule(open, listener));
            if let Some((number, (open, is_used))) = candidate {
                *is_used = true;
                let is_same = is_same_place(open, listener);
                *found = if is_same { Match::Same(number) } else { Match::Moved(number) };
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;

    fn listener(text: &str) -> Listener {
        let (name, address) = text.split_once('=').map_or((None, text), |(name, address)| (Some(name), address));
        let mut listener = Listener::new(address.parse().unwrap());
        listener.name = name.map(str::to_owned);
        listener
    }

    fn matched(open: &[&str], configured: &[&str]) -> Vec<Match> {
        let listeners = |texts: &[&str]| texts.iter().map(|text| listener(text)).collect::<Vec<_>>();
        matches(&listeners(open), &listeners(configured))
    }

    #[test]
    fn a_listener_is_found_by_its_address_then_by_its_name() {
        use Match::{Moved, New, Same};
        assert_eq!(matched(&["a=:1", "b=:2"], &["b=:2", "a=:1"]), [Same(1), Same(0)]);
        assert_eq!(matched(&["a=:1", "b=:2"], &["b=:1", "a=:2"]), [Same(0), Same(1)], "the names are exchanged");
        assert_eq!(matched(&["a=:1"], &["a=:2", "b=:1"]), [New, Same(0)]);
        assert_eq!(matched(&["a=:1"], &["b=:3", "a=:2"]), [New, Moved(0)]);
        assert_eq!(matched(&[":1", ":2"], &[":2", ":3"]), [Same(1), Moved(0)]);
        assert_eq!(matched(&["a=:1"], &[":3"]), [New]);
        assert_eq!(matched(&["127.0.0.1:0", "127.0.0.1:0"], &["127.0.0.1:0"; 3]), [Same(0), Same(1), New]);
        let mut web = listener(":3");
        web.transport = Transport::Ws;
        assert_eq!(matches(&[listener(":1")], &[web, listener(":2")]), [New, Moved(0)]);
        let mut quic = listener("a=:1");
        quic.transport = Transport::Quic;
        let (open, both) = ([listener("a=:1")], [quic.clone(), listener("b=:1")]);
        assert_eq!(matches(&open, &both), [New, Same(0)], "a port of UDP is another one");
        assert_eq!(matches(&open, &[quic]), [Moved(0)], "the transport has changed from TCP to UDP");
    }
}
