//! The methods of [`Driver`] for authentication: asks the providers, delays clients that try too often, and refuses banned ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Driver;
use crate::auth::{self, Asked, Source};
use crate::broker::{
    AuthenticationOutcome, AuthenticationRequest, AuthenticationStep, ConnectionId, Event, Report, VerifiedUser,
};
use crate::codec::ReasonCode;
use crate::server::authentication;
use crate::server::bans::Subject;
use crate::server::client_ids::rule;
use crate::server::own_client;
use crate::server::shard::login::Login;
use crate::server::shard::mailbox::Mail;

impl Driver {
    /// Asks the providers, at once or after a delay, unless the address is banned.
    pub(super) fn authenticate(&mut self, connection: ConnectionId, request: AuthenticationRequest) {
        let is_connect = request.step == AuthenticationStep::Connect;
        let now = self.reading.now;
        if let Some(user) = self.own.get(&connection) {
            let outcome = own_client::granted(user, &request, &self.authentication);
            return self.answers.push_back(Event::Authenticated { connection, outcome });
        }
        if own_client::is_reserved(&request.client_id) {
            return self.answers.push_back(refused(connection, ReasonCode::ClientIdentifierNotValid, RESERVED));
        }
        let Some(peer) = self.shard.peer(connection) else { return };
        let is_own = self.bans.is_own(peer.address);
        let is_answer = request.step == AuthenticationStep::Continue;
        // A client that begins anew gives up an exchange.
        let exchange = match self.logins.remove(&connection) {
            Some(Login::Challenged(exchange)) if is_answer => Some(exchange),
            Some(Login::Challenged(_) | Login::Checking { .. } | Login::Delayed(_) | Login::Refused(_)) | None => None,
        };
        if is_answer && exchange.is_none() {
            return self.answers.push_back(refused(connection, ReasonCode::ProtocolError, NOT_ASKED));
        }
        let request = authentication::request(peer, request, exchange, now);
        if !is_connect || is_own {
            return self.ask_provider(connection, request);
        }
        let source = Source::of(request.address);
        if self.bans.find(&Subject::Address(source), now).is_some() {
            return self.answers.push_back(banned(connection));
        }
        let user = request.certificate_identity.as_deref().or(request.user_name.as_deref());
        let delay = self.bans.connect_delay(source, user, now);
        if delay.is_zero() {
            self.ask_provider(connection, request);
        } else {
            self.delay(connection, delay, Login::Delayed(Box::new(request)));
        }
    }

    /// Notes that a connection is that of a client of the broker's own.
    pub(in crate::server) fn set_own(&mut self, connection: ConnectionId, user: Arc<VerifiedUser>) {
        self.own.insert(connection, user);
    }

    /// Gets the verdict at once if no provider blocks. Otherwise the answer arrives as [`Mail::Authenticated`].
    fn ask_provider(&mut self, connection: ConnectionId, request: auth::Request) {
        let (mailboxes, shard) = (Arc::clone(&self.mailboxes), usize::from(self.id.0));
        let respond = move |answer| {
            if let Some(mailbox) = mailboxes.get(shard) {
                mailbox.put(Mail::Authenticated { connection, answer: Box::new(answer) });
            }
        };
        match self.authentication.ask(request, respond) {
            Asked::Answered(verdict) => self.on_verdict(connection, verdict),
            Asked::Waiting(waiting) => {
                self.logins.insert(connection, Login::Checking { _cancelled_when_dropped: waiting });
            }
        }
    }

    /// Repeats the request if the authentication rules were reloaded after it, so that outdated rules accept no client.
    pub(super) fn on_authenticated(&mut self, connection: ConnectionId, answer: auth::Answer) {
        self.logins.remove(&connection);
        match self.authentication.current(answer) {
            Ok(verdict) => self.on_verdict(connection, verdict),
            Err(request) if self.connections.get_mut(connection).is_some() => self.ask_provider(connection, *request),
            Err(_) => {}
        }
        self.apply_answers();
    }

    /// Tells the broker the verdict: that of a CONNECT with wrong credentials after a delay that grows with their number.
    fn on_verdict(&mut self, connection: ConnectionId, verdict: auth::Verdict) {
        let now = self.reading.now;
        self.set_proof(connection, &verdict);
        let verdict = self.at_listener(connection, verdict);
        if let auth::Verdict::Continue { exchange, .. } = &verdict
            && self.connections.get_mut(connection).is_some()
        {
            self.logins.insert(connection, Login::Challenged(exchange.clone()));
        }
        let outcome = authentication::outcome(verdict);
        let is_connect = self.shard.awaits_authentication(connection);
        if let AuthenticationOutcome::Granted { verified_user: Some(user), .. } = &outcome
            && self.bans.find(&Subject::User(Arc::clone(&user.name)), now).is_some()
        {
            return self.answers.push_back(banned(connection));
        }
        if let AuthenticationOutcome::Refused { reason_code, .. } = &outcome
            && is_connect
            && is_login(*reason_code)
        {
            let address = self.shard.peer(connection).and_then(|peer| peer.address);
            let source = Source::of(address.map(|address| address.ip()));
            let delay = if self.bans.is_own(address) { Duration::ZERO } else { self.bans.refused(source, now) };
            if !delay.is_zero() {
                return self.delay(connection, delay, Login::Refused(Box::new(outcome)));
            }
        }
        self.answers.push_back(Event::Authenticated { connection, outcome });
    }

    /// A verdict with the access rights that the client has at its listener.
    fn at_listener(&self, connection: ConnectionId, verdict: auth::Verdict) -> auth::Verdict {
        let (Some(peer), Some((client_id, ..))) = (self.shard.peer(connection), self.shard.identity(connection)) else {
            return verdict;
        };
        self.authentication.complete(verdict, (&peer.listener, rule(peer.client_ids)), client_id)
    }

    /// Continues with a login after a delay. Its timer is small and ends by itself, within `bans.delay_max`.
    fn delay(&mut self, connection: ConnectionId, delay: Duration, login: Login) {
        self.logins.insert(connection, login);
        let (mailboxes, shard) = (Arc::clone(&self.mailboxes), usize::from(self.id.0));
        spawn_local(async move {
            sleep(delay).await;
            if let Some(mailbox) = mailboxes.get(shard) {
                mailbox.put(Mail::DelayOver(connection));
            }
        });
    }

    pub(super) fn on_delay_over(&mut self, connection: ConnectionId) {
        match self.logins.remove(&connection) {
            Some(Login::Delayed(request)) => self.ask_provider(connection, *request),
            Some(Login::Refused(outcome)) => {
                self.answers.push_back(Event::Authenticated { connection, outcome: *outcome });
            }
            Some(other @ (Login::Checking { .. } | Login::Challenged(_))) => _ = self.logins.insert(connection, other),
            None => {}
        }
        self.apply_answers();
    }

    /// Counts a connection that was lost, for its address and user.
    pub(super) fn note_end(&self, report: &Report) {
        if let Report::Disconnected { client, lost: Some(lost), .. } = report
            && !self.bans.is_own(client.address)
            && !client.client_id.as_ref().is_some_and(own_client::is_reserved)
        {
            let source = Source::of(client.address.map(|address| address.ip()));
            self.bans.ended(source, lost.verified_user.as_ref(), lost.lasted, self.reading.now);
        }
    }
}

/// Whether a refusal with this Reason Code means wrong credentials.
const fn is_login(reason_code: ReasonCode) -> bool {
    matches!(reason_code, ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized)
}

fn banned(connection: ConnectionId) -> Event {
    refused(connection, ReasonCode::Banned, "banned")
}

fn refused(connection: ConnectionId, reason_code: ReasonCode, cause: &'static str) -> Event {
    let outcome = AuthenticationOutcome::Refused { reason_code, cause: cause.into() };
    Event::Authenticated { connection, outcome }
}

/// The cause for a CONNECT from outside with the Client Identifier of a client of the broker's own.
const RESERVED: &str = "the Client Identifier is reserved for clients of the broker's own";
/// The cause for an AUTH that no provider has asked for.
const NOT_ASKED: &str = "AUTH 0x18 without an authentication that continues";
