use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::pending;

use super::backend::{Asking, Backend, Expiry, Grant, Topics};
use super::*;
use crate::auth::tests::alice;
use crate::config::{self, ProviderKind};
use crate::timestamp::WallTime;

/// Answers as the test says; a user `late` gets no answer.
#[derive(Debug)]
struct Answers {
    answer: Result<Option<Reply>, BackendFault>,
    asked: Arc<AtomicUsize>,
}

impl Backend for Answers {
    fn ask<'a>(&'a self, request: &'a Request) -> Asking<'a> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if request.user_name.as_deref() == Some("late") {
            return pending().boxed();
        }
        let answer = self.answer.clone();
        async move { answer }.boxed()
    }
}

fn settings() -> config::Provider {
    let timeout = Some(Duration::from_millis(100));
    config::Provider { name: Some("service".to_owned()), timeout, ..config::Provider::new(ProviderKind::Jwt) }
}

fn remote(settings: &config::Provider, answer: Result<Option<Reply>, BackendFault>) -> (Remote, Arc<AtomicUsize>) {
    let asked = Arc::default();
    let backend = Box::new(Answers { answer, asked: Arc::clone(&asked) });
    let service = Service::new(settings, backend, (), (&std::hash::RandomState::new(), None));
    (Remote::new("service".into(), service, Arc::new(Rules::new(None))), asked)
}

async fn consult(answer: Result<Option<Reply>, BackendFault>, request: &Request) -> Consultation {
    let (remote, _) = remote(&settings(), answer);
    assert_eq!(remote.cost(request), Cost::Remote);
    remote.consult(request).await
}

fn allow(grant: Grant) -> Result<Option<Reply>, BackendFault> {
    Ok(Some(Reply::Allow(grant)))
}

fn accepted(consultation: Consultation) -> Decision {
    let Some(Verdict::Accept(decision)) = consultation.verdict else { panic!("{consultation:?}") };
    decision
}

fn refused(consultation: &Consultation) -> (ReasonCode, &str) {
    let Some(Verdict::Refuse(refusal)) = &consultation.verdict else { panic!("{consultation:?}") };
    (refusal.reason_code, &refusal.cause)
}

#[tokio::test]
async fn the_answer_of_the_service_is_the_verdict() {
    let request = alice(b"sesam");
    let decision = accepted(consult(allow(Grant::default()), &request).await);
    assert_eq!((decision.user.as_deref(), decision.is_verified, &*decision.provider), (Some("alice"), true, "service"));
    assert!(decision.proof.is_some() && *decision.access == Access::everything());
    let denied = consult(Ok(Some(Reply::Deny("no".to_owned()))), &request).await;
    assert_eq!(refused(&denied), (ReasonCode::BadUserNameOrPassword, "service: no"));
    assert_eq!(consult(Ok(None), &request).await, Consultation { verdict: None, fault: None });
}

#[tokio::test]
async fn a_service_without_a_valid_answer_refuses_with_server_unavailable() {
    let late = Request { user_name: Some("late".into()), ..alice(b"sesam") };
    for (request, answer) in [
        (alice(b"sesam"), Err(BackendFault::Unreachable("gone".to_owned()))),
        (alice(b"sesam"), Err(BackendFault::Invalid("nonsense".to_owned()))),
        (late, Ok(None)),
    ] {
        let consultation = consult(answer, &request).await;
        assert_eq!(refused(&consultation).0, ReasonCode::ServerUnavailable);
        assert!(consultation.fault.is_some());
    }
}

#[tokio::test]
async fn what_is_wrong_in_an_acceptance_refuses() {
    let nameless = Request { user_name: None, ..alice(b"sesam") };
    let expired = Some(Expiry::At(WallTime(nameless.wall.0)));
    let topics = |filter: &str| Some(Topics { publish: vec![filter.to_owned()], ..Topics::default() });
    for (request, grant) in [
        (&nameless, Grant::default()),
        (&nameless, Grant { user: Some("".into()), ..Grant::default() }),
        (&nameless, Grant { user: Some("a\nb".into()), ..Grant::default() }),
        (&alice(b""), Grant { expires: expired, ..Grant::default() }),
        (&alice(b""), Grant { expires: Some(Expiry::In(Duration::ZERO)), ..Grant::default() }),
        (&alice(b""), Grant { topics: topics("a/#/b"), ..Grant::default() }),
    ] {
        let consultation = consult(allow(grant.clone()), request).await;
        assert_eq!(refused(&consultation).0, ReasonCode::ServerUnavailable, "{grant:?}");
        assert!(consultation.fault.is_some());
    }
}

#[tokio::test]
async fn a_grant_names_the_user_its_topics_and_its_end() {
    let topics =
        Topics { publish: vec!["up/%u/%c".to_owned()], subscribe: vec!["down/#".to_owned()], ..Topics::default() };
    let grant = Grant {
        user: Some("bob".into()),
        topics: Some(topics),
        expires: Some(Expiry::In(Duration::from_secs(7))),
        is_superuser: false,
    };
    let request = alice(b"sesam");
    let decision = accepted(consult(allow(grant.clone()), &request).await);
    assert_eq!(decision.user.as_deref(), Some("bob"));
    assert_eq!(decision.expires_at, Some(request.at + Duration::from_secs(7)));
    let publish = |topic: &str| {
        let topic = crate::topic::TopicName::new(topic.to_owned().into()).unwrap();
        decision.access.publish(&topic).is_ok()
    };
    assert!(publish("up/bob/c") && !publish("up/alice/c") && decision.access.is_granted());
    let decision = accepted(consult(allow(Grant { is_superuser: true, ..grant }), &request).await);
    assert!(!decision.access.has_rules() && decision.access.is_granted());
}

#[tokio::test]
async fn a_client_that_was_accepted_is_not_asked_for_again_while_the_cache_has_it() {
    let settings = config::Provider { cache: Some(Duration::from_secs(1)), ..settings() };
    let (remote, asked) = remote(&settings, allow(Grant::default()));
    let request = alice(b"sesam");
    let first = remote.consult(&request).await;
    assert_eq!(remote.cost(&request), Cost::Immediate);
    assert_eq!(remote.authenticate(&request), first.verdict);
    assert_eq!(remote.consult(&request).await, first);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let later = Request { at: request.at + Duration::from_secs(1), ..request };
    assert_eq!(remote.cost(&later), Cost::Remote);
    // It never abstains because it has forgotten.
    assert_eq!(remote.authenticate(&later), Some(Verdict::Refuse(FORGOTTEN)));
}

#[test]
fn a_client_without_credentials_or_with_a_method_is_not_asked_for() {
    let (remote, asked) = remote(&settings(), allow(Grant::default()));
    let method = Some("SCRAM-SHA-256".into());
    for request in [crate::auth::tests::anonymous(), Request { method, ..alice(b"sesam") }] {
        assert_eq!((remote.cost(&request), remote.authenticate(&request)), (Cost::Immediate, None));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_service_with_the_same_settings_goes_on_after_a_reload() {
    let key = std::hash::RandomState::new();
    let of = |settings: &config::Provider, material: u8, before| {
        let backend = Box::new(Answers { answer: Ok(None), asked: Arc::default() });
        Service::new(settings, backend, material, (&key, before))
    };
    let first = of(&settings(), 1, None);
    assert!(Arc::ptr_eq(&first, &of(&settings(), 1, Some(&first))));
    let other_file = of(&settings(), 2, Some(&first));
    assert!(!Arc::ptr_eq(&first, &other_file) && Arc::ptr_eq(first.figures(), other_file.figures()));
    assert_eq!(first.proof(), other_file.proof(), "who is asked is the same");
    let tuned = of(&config::Provider { timeout: Some(Duration::from_secs(9)), ..settings() }, 1, Some(&first));
    assert_eq!((first.proof(), tuned.timeout()), (tuned.proof(), Duration::from_secs(9)));
    let other = of(&config::Provider { file: Some("other".into()), ..settings() }, 1, Some(&first));
    assert_ne!(first.proof(), other.proof());
}
