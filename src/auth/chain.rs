use std::sync::Arc;

use super::provider::{Cost, Provider, Refusal, Request, Verdict};
use crate::codec::ReasonCode;

/// Providers in the order in which they are asked.
///
/// The first provider that doesn't abstain accepts or refuses the client: no later provider can accept a client that an earlier one
/// refused. A client is refused if all providers abstain.
#[derive(Debug)]
pub(super) struct Chain {
    providers: Vec<Arc<dyn Provider>>,
}

impl Chain {
    pub(super) fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        Self { providers }
    }

    /// Authenticates a client. Blocks as long as the provider that decides blocks.
    pub(super) fn authenticate(&self, request: &Request) -> Verdict {
        self.providers
            .iter()
            .find_map(|provider| provider.authenticate(request))
            .unwrap_or_else(|| refuse_unjudged(request))
    }

    /// Authenticates a client without blocking. `None`: the decision needs a provider that blocks.
    pub(super) fn authenticate_at_once(&self, request: &Request) -> Option<Verdict> {
        for provider in &self.providers {
            match provider.cost(request) {
                Cost::Blocking => return None,
                Cost::Immediate => {
                    if let Some(verdict) = provider.authenticate(request) {
                        return Some(verdict);
                    }
                }
            }
        }
        Some(refuse_unjudged(request))
    }
}

/// The verdict on a client for which all providers abstain.
fn refuse_unjudged(request: &Request) -> Verdict {
    Verdict::Refuse(if request.method.is_some() { UNKNOWN_METHOD } else { NOT_JUDGED })
}

pub(super) const UNKNOWN_METHOD: Refusal =
    Refusal::new(ReasonCode::BadAuthenticationMethod, "no such Authentication Method");
const NOT_JUDGED: Refusal = Refusal::new(ReasonCode::NotAuthorized, "there is no way to authenticate this client");

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::auth::exchange::{Exchange, ScramExchange};
    use crate::auth::tests::anonymous;

    /// Refuses the clients of one name.
    #[derive(Debug)]
    struct Refuses(&'static str, Cost);

    impl Provider for Refuses {
        fn authenticate(&self, request: &Request) -> Option<Verdict> {
            let refusal = Refusal::new(ReasonCode::Banned, self.0);
            (request.user_name.as_deref() == Some(self.0)).then_some(Verdict::Refuse(refusal))
        }

        fn cost(&self, _request: &Request) -> Cost {
            self.1
        }
    }

    /// Asks for Authentication Data, and refuses whatever it is.
    #[derive(Debug)]
    struct Challenges;

    impl Provider for Challenges {
        fn authenticate(&self, request: &Request) -> Option<Verdict> {
            let _method = request.method.as_deref().filter(|method| *method == "challenge")?;
            Some(match request.data {
                None => Verdict::Continue { authentication_data: Some(Bytes::from_static(b"?")), exchange: exchange() },
                Some(_) => Verdict::Refuse(Refusal::new(ReasonCode::NotAuthorized, "wrong response")),
            })
        }
    }

    fn exchange() -> Exchange {
        let [user, header, nonce, messages] = [""; 4].map(str::to_owned);
        Exchange::scram(ScramExchange { user, header, nonce, messages })
    }

    fn named(name: &'static str) -> Request {
        Request { user_name: Some(name.into()), ..anonymous() }
    }

    fn cause(verdict: &Verdict) -> &str {
        let Verdict::Refuse(refusal) = verdict else { panic!("{verdict:?}") };
        &refusal.cause
    }

    #[test]
    fn the_first_provider_that_does_not_abstain_decides() {
        let chain = Chain::new(vec![
            Arc::new(Refuses("a", Cost::Immediate)),
            Arc::new(Refuses("b", Cost::Blocking)),
            Arc::new(Refuses("a", Cost::Immediate)),
        ]);
        assert_eq!(cause(&chain.authenticate(&named("a"))), "a");
        assert_eq!(cause(&chain.authenticate(&named("b"))), "b");
        assert_eq!(chain.authenticate(&named("c")), Verdict::Refuse(NOT_JUDGED));
    }

    #[test]
    fn what_stands_before_a_provider_that_blocks_is_judged_at_once() {
        let chain = Chain::new(vec![Arc::new(Refuses("a", Cost::Immediate)), Arc::new(Refuses("b", Cost::Blocking))]);
        assert_eq!(chain.authenticate_at_once(&named("a")), Some(chain.authenticate(&named("a"))));
        assert_eq!(chain.authenticate_at_once(&named("b")), None);
        assert_eq!(chain.authenticate_at_once(&named("c")), None);
        let immediate = Chain::new(vec![Arc::new(Refuses("a", Cost::Immediate))]);
        assert_eq!(immediate.authenticate_at_once(&named("c")), Some(Verdict::Refuse(NOT_JUDGED)));
    }

    #[test]
    fn an_authentication_method_is_judged_by_the_provider_that_knows_it() {
        let chain = Chain::new(vec![Arc::new(Refuses("a", Cost::Immediate)), Arc::new(Challenges)]);
        let first = Request { method: Some("challenge".into()), ..anonymous() };
        let Verdict::Continue { authentication_data, .. } = chain.authenticate(&first) else { panic!("no challenge") };
        assert_eq!(authentication_data.as_deref(), Some(b"?".as_slice()));
        let second = Request { data: Some(Bytes::from_static(b"!")), ..first };
        assert_eq!(cause(&chain.authenticate(&second)), "wrong response");
        let other = Request { method: Some("other".into()), ..second };
        assert_eq!(chain.authenticate(&other), Verdict::Refuse(UNKNOWN_METHOD));
    }
}
