//! The methods of [`Driver`] for a reload of access rules: judges connected clients and Sessions without connection again, some in each turn.

use std::sync::Arc;

use super::Driver;
use crate::auth;
use crate::broker::{ConnectionId, Event, Peer, RecoveredSession, Revocation};
use crate::routing::Access;
use crate::server::authentication::account;
use crate::server::listener::Stream;

impl Driver {
    /// Notes what verified a client, if a reload may void it.
    pub(super) fn set_proof(&mut self, connection: ConnectionId, verdict: &auth::Verdict) {
        if let auth::Verdict::Accept(auth::Decision { proof: Some(proof), .. }) = verdict
            && let Some(entry) = self.connections.get_mut(connection)
        {
            entry.proof.get_or_insert_default().credentials = Some(*proof);
        }
    }

    /// Marks all connections and Sessions for [`renew_some_access`](Self::renew_some_access), after a reload.
    pub(super) fn renew_access(&mut self) {
        self.renewals = self.connections.ids();
        self.renewed_slots = Some(0);
    }

    /// Judges the next [`RENEWALS_PER_TURN`] connected clients again, or when all are judged, the clients of as many Sessions without
    /// connection.
    pub(in crate::server) fn renew_some_access(&mut self) {
        self.begin_turn();
        if self.renewals.is_empty() {
            self.renew_some_away();
        }
        for _ in 0..RENEWALS_PER_TURN {
            let Some(connection) = self.renewals.pop() else { break };
            if let Some(event) = self.renewal(connection) {
                self.handle(event);
            }
            self.request_verification(connection);
        }
        self.end_turn();
    }

    /// Whether some clients have not been judged since the reload.
    pub(in crate::server) fn has_renewals(&self) -> bool {
        !self.renewals.is_empty() || self.renewed_slots.is_some()
    }

    /// Requests the task of a connection, which has the transport, to verify its certificates, if an authority was removed.
    fn request_verification(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection)
            && let Some(certificates) = entry.proof.as_ref().and_then(|proof| proof.certificates.as_ref())
            && certificates.are_outdated()
        {
            entry.verifies = true;
            entry.wake();
        }
    }

    /// Verifies the certificates of a connection again. Ends it if they are not valid any more.
    #[cold]
    pub(in crate::server) fn verify(&mut self, connection: ConnectionId, stream: &Stream) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        entry.verifies = false;
        let certificates = entry.proof.as_mut().and_then(|proof| proof.certificates.as_mut());
        if certificates.is_some_and(|certificates| !certificates.verify(stream)) {
            let access = self.access_of(connection);
            self.handle(Event::Revoked { connection, access, revocation: Revocation::Authority });
        }
    }

    /// What the client of a recovered Session may do by the current files.
    pub(super) fn access_of_recovered(&self, session: &RecoveredSession) -> Arc<Access> {
        self.authentication.access(&session.client_id, account(&session.owner))
    }

    /// What its client may do by the current files, if it is known.
    fn access_of(&self, connection: ConnectionId) -> Arc<Access> {
        let current = self.shard.identity(connection);
        current.map_or_else(nothing, |(client_id, owner, current)| {
            self.authentication.away(client_id, account(owner), current)
        })
    }

    /// What the reloaded files say about a connected client.
    fn renewal(&mut self, connection: ConnectionId) -> Option<Event> {
        let proof = self.connections.get_mut(connection)?.proof.as_deref();
        let credentials = proof.and_then(|proof| proof.credentials);
        let certificates = proof.and_then(|proof| proof.certificates.as_ref());
        let is_revoked = certificates.is_some_and(|certificates| certificates.are_revoked());
        let Some((client_id, owner, current)) = self.shard.identity(connection) else {
            // It has not sent CONNECT.
            let revoked = |access| Event::Revoked { connection, access, revocation: Revocation::Certificate };
            return is_revoked.then(|| revoked(nothing()));
        };
        let listener = self.shard.peer(connection).map_or("", |peer| &*peer.listener);
        let renewal = self.authentication.renew((client_id, listener), account(owner), credentials, current);
        let (access, revocation) = match renewal {
            auth::Renewal::TokenVoid(access) => (access, Some(Revocation::Token)),
            auth::Renewal::ServiceChanged(access) => (access, Some(Revocation::Service)),
            auth::Renewal::ProviderRemoved(access) => (access, Some(Revocation::Provider)),
            auth::Renewal::ListenerRenamed(access) => (access, Some(Revocation::Listener)),
            auth::Renewal::UserRemoved(access) => (access, Some(Revocation::User)),
            auth::Renewal::PasswordChanged(access) => (access, Some(Revocation::Password)),
            auth::Renewal::Stays(access) => (access, None),
        };
        let keeps = |peer: &Peer| self.authentication.keeps_anonymous(&peer.listener, peer.is_local);
        let is_anonymous = owner.user().is_none() && self.shard.is_accepted(connection);
        let is_barred = is_anonymous && self.shard.peer(connection).is_some_and(|peer| !keeps(peer));
        let revocation = match revocation {
            _ if is_revoked => Some(Revocation::Certificate),
            None if is_barred => Some(Revocation::Anonymous),
            None if self.shard.is_accepted(connection) => {
                let user = owner.user().map(|user| &**user);
                let moves = self.authentication.moves((client_id, listener), user, owner.mount_point());
                moves.then_some(Revocation::MountPoint)
            }
            revocation => revocation,
        };
        Some(match revocation {
            Some(revocation) => Event::Revoked { connection, access, revocation },
            None => Event::AccessChanged { connection, access },
        })
    }

    /// Looks up the access rights of the next Sessions without connection again. One whose client connects meanwhile gets the current ones.
    fn renew_some_away(&mut self) {
        let Some(first) = self.renewed_slots else { return };
        let (mut slot, mut renewed) = (first, 0);
        while slot < self.shard.slots_end() && slot < first + SLOTS_PER_TURN && renewed < RENEWALS_PER_TURN {
            if let Some((client_id, owner, current)) = self.shard.away(slot) {
                let access = self.authentication.away(client_id, account(owner), &current);
                self.handle(Event::AwayAccessChanged { slot, access });
                renewed += 1;
            }
            slot += 1;
        }
        self.renewed_slots = (slot < self.shard.slots_end()).then_some(slot);
    }
}

/// No rights.
fn nothing() -> Arc<Access> {
    Arc::new(Access::new(Vec::new()))
}

/// Clients that are judged in one turn after a reload.
const RENEWALS_PER_TURN: usize = 64;
/// Slots of Sessions that are visited in one turn.
const SLOTS_PER_TURN: usize = 4_096;
