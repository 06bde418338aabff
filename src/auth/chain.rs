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

    /// Asks the providers from the one at `from`, as far as none costs more than `affordable`.
    pub(super) fn run(&self, request: &Request, from: usize, affordable: Cost) -> Step {
        for (at, provider) in self.providers.iter().enumerate().skip(from) {
            let cost = provider.cost(request);
            if cost > affordable {
                return Step::Pending(Pending { at, cost });
            }
            if let Some(verdict) = provider.authenticate(request) {
                return Step::Decided(verdict);
            }
        }
        Step::Decided(refuse_unjudged(request))
    }

    /// The provider at this place.
    pub(super) fn provider(&self, at: usize) -> Option<&Arc<dyn Provider>> {
        self.providers.get(at)
    }
}

/// How far a chain came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A provider has decided, or all abstain.
    Decided(Verdict),
    /// The next provider costs more than the thread may spend.
    Pending(Pending),
}

/// A provider that is asked next, on another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Its place in the chain.
    pub(super) at: usize,
    pub(super) cost: Cost,
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

    fn decided(step: &Step) -> Verdict {
        let Step::Decided(verdict) = step else { panic!("{step:?}") };
        verdict.clone()
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
        let verdict = |name| decided(&chain.run(&named(name), 0, Cost::Blocking));
        assert_eq!(cause(&verdict("a")), "a");
        assert_eq!(cause(&verdict("b")), "b");
        assert_eq!(verdict("c"), Verdict::Refuse(NOT_JUDGED));
    }

    #[test]
    fn a_chain_stops_at_a_provider_that_costs_too_much_and_is_resumed_after_it() {
        let costs = [Cost::Immediate, Cost::Remote, Cost::Blocking];
        let names = ["a", "b", "c"];
        let refuses = |(name, cost)| Arc::new(Refuses(name, cost)) as Arc<dyn Provider>;
        let chain = Chain::new(names.into_iter().zip(costs).map(refuses).collect());
        let pending = |at, cost| Step::Pending(Pending { at, cost });
        assert_eq!(cause(&decided(&chain.run(&named("a"), 0, Cost::Immediate))), "a");
        for name in ["b", "c", "d"] {
            assert_eq!(chain.run(&named(name), 0, Cost::Immediate), pending(1, Cost::Remote), "{name}");
            assert_eq!(chain.run(&named(name), 0, Cost::Blocking), pending(1, Cost::Remote), "{name}");
            assert_eq!(chain.run(&named(name), 2, Cost::Immediate), pending(2, Cost::Blocking), "{name}");
        }
        assert_eq!(cause(&decided(&chain.run(&named("c"), 2, Cost::Blocking))), "c");
        assert_eq!(decided(&chain.run(&named("d"), 2, Cost::Blocking)), Verdict::Refuse(NOT_JUDGED));
        assert_eq!(decided(&chain.run(&named("a"), 3, Cost::Immediate)), Verdict::Refuse(NOT_JUDGED));
    }

    #[test]
    fn an_authentication_method_is_judged_by_the_provider_that_knows_it() {
        let chain = Chain::new(vec![Arc::new(Refuses("a", Cost::Immediate)), Arc::new(Challenges)]);
        let first = Request { method: Some("challenge".into()), ..anonymous() };
        let Verdict::Continue { authentication_data, .. } = decided(&chain.run(&first, 0, Cost::Immediate)) else {
            panic!("no challenge")
        };
        assert_eq!(authentication_data.as_deref(), Some(b"?".as_slice()));
        let second = Request { data: Some(Bytes::from_static(b"!")), ..first };
        assert_eq!(cause(&decided(&chain.run(&second, 0, Cost::Immediate))), "wrong response");
        let other = Request { method: Some("other".into()), ..second };
        assert_eq!(decided(&chain.run(&other, 0, Cost::Immediate)), Verdict::Refuse(UNKNOWN_METHOD));
    }
}
