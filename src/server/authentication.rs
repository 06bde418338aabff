//! Converts authentication requests of the broker to those of [`auth`](crate::auth), and verdicts to outcomes.

use std::sync::Arc;

use super::client_ids::rule;
use super::clock::wall_time;
use crate::auth::{self, Account, Decision, Exchange, Refusal, Request, Verdict};
use crate::broker::{AuthenticationOutcome, AuthenticationRequest, CurrentRights, Owner, Peer, User, VerifiedUser};
use crate::codec::ClientId;
use crate::routing::Access;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// Adds the address and whether it is local, the certificate identity and the listener of `peer` to a request, and what the provider has to
/// know of the earlier steps.
pub(super) fn request(
    peer: &Peer,
    request: AuthenticationRequest,
    exchange: Option<Exchange>,
    now: Timestamp,
) -> Request {
    let named = |request: Request| {
        let name = request.certificate_identity.as_deref().or(request.user_name.as_deref());
        // A claim until a provider has verified it.
        name.map(|name| request.named(name).into_owned()).unwrap_or(request)
    };
    named(Request {
        client_id: request.client_id,
        user_name: request.user_name,
        password: request.password,
        method: request.method,
        data: request.data,
        exchange,
        address: peer.address.map(|address| address.ip()),
        is_local: peer.is_local,
        certificate_identity: peer.certificate_identity.clone(),
        listener: peer.listener.clone(),
        client_ids: rule(peer.client_ids),
        at: now,
        wall: wall_time(),
    })
}

/// The user who owns a Session; `None`: anonymous clients do.
pub(super) fn account(owner: &Owner) -> Option<Account<'_>> {
    let name = owner.user()?;
    Some(Account { name, provider: owner.provider() })
}

/// Judges the publishers of retained messages by the current files, as the originators of delayed messages.
#[derive(Debug)]
pub(super) struct PublisherRights(pub(super) Arc<auth::Pool>);

impl CurrentRights for PublisherRights {
    fn generation(&self) -> u64 {
        self.0.generation().number()
    }

    fn access(&self, client_id: &ClientId, user: Option<&User>, topic: &TopicName) -> Arc<Access> {
        let user = user.map(|user| Account { name: &user.name, provider: user.provider.as_deref() });
        self.0.access_to_publish(client_id, user, topic)
    }
}

/// Converts a verdict. A user that no provider verified is not a `verified_user`.
pub(super) fn outcome(verdict: Verdict) -> AuthenticationOutcome {
    match verdict {
        Verdict::Accept(Decision {
            user,
            is_verified,
            provider,
            access,
            expires_at,
            authentication_data,
            proof: _,
        }) => {
            let verified = |name| VerifiedUser { provider, name };
            let verified_user = user.clone().filter(|_| is_verified).map(verified);
            AuthenticationOutcome::Granted { access, user, verified_user, expires_at, authentication_data }
        }
        Verdict::Continue { authentication_data, exchange: _ } => {
            AuthenticationOutcome::Continue { authentication_data }
        }
        Verdict::Refuse(Refusal { reason_code, cause }) => AuthenticationOutcome::Refused { reason_code, cause },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::codec::ReasonCode;
    use crate::routing::Access;

    #[test]
    fn only_a_verified_user_is_a_verified_user_of_the_broker() {
        for is_verified in [true, false] {
            let access = Arc::new(Access::everything());
            let data = Some(Bytes::from_static(b"last"));
            let user = Some(Arc::from("alice"));
            let data_sent = data.clone();
            let decision = Decision {
                user,
                is_verified,
                provider: "password".into(),
                proof: None,
                access,
                expires_at: None,
                authentication_data: data_sent,
            };
            let AuthenticationOutcome::Granted { user, verified_user, authentication_data, .. } =
                outcome(Verdict::Accept(decision))
            else {
                panic!("not granted")
            };
            let verified = VerifiedUser { provider: "password".into(), name: "alice".into() };
            assert_eq!((user.as_deref(), verified_user), (Some("alice"), Some(verified).filter(|_| is_verified)));
            assert_eq!(authentication_data, data);
        }
    }

    #[test]
    fn refusals_are_passed_on_unchanged() {
        let refusal = Verdict::Refuse(Refusal::new(ReasonCode::Banned, "because"));
        let AuthenticationOutcome::Refused { reason_code, cause } = outcome(refusal) else { panic!("not refused") };
        assert_eq!((reason_code, &*cause), (ReasonCode::Banned, "because"));
    }
}
