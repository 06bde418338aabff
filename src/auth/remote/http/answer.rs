//! What the service answers.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::super::jwt::numeric_date;
use super::super::backend::{BackendFault, Expiry, Grant, Reply, Topics};
use crate::timestamp::WallTime;

/// The body of an answer with status 200. Further keys are ignored, so that services of other brokers can be asked.
#[derive(Debug, Deserialize)]
struct Body {
    result: Option<Outcome>,
    user: Option<String>,
    acl: Option<Acl>,
    #[serde(alias = "is_superuser")]
    superuser: Option<bool>,
    expires_in: Option<Value>,
    #[serde(alias = "expire_at")]
    expires_at: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Allow,
    Deny,
    Ignore,
}

/// A key that is not known may take something back, so it is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acl {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
}

/// What the answer to an authentication says. `None`: the client is not its own.
pub(super) fn judgement(body: &[u8]) -> Result<Option<Reply>, BackendFault> {
    let body = parse(body)?;
    match body.result {
        Some(Outcome::Allow) => Ok(Some(Reply::Allow(body.onto(Grant::default())?))),
        Some(Outcome::Deny) => Ok(Some(denied())),
        Some(Outcome::Ignore) => Ok(None),
        None => Err(invalid("it has no result")),
    }
}

/// What the answer to an authorization adds to a grant.
pub(super) fn authorization(body: &[u8], grant: Grant) -> Result<Reply, BackendFault> {
    let body = parse(body)?;
    match body.result {
        Some(Outcome::Deny) => Ok(denied()),
        // The ACL file decides.
        Some(Outcome::Ignore) => Ok(Reply::Allow(grant)),
        Some(Outcome::Allow) | None if body.acl.is_none() && body.superuser != Some(true) => {
            Err(invalid("the answer of authorize_url has no acl"))
        }
        Some(Outcome::Allow) | None => Ok(Reply::Allow(body.onto(grant)?)),
    }
}

impl Body {
    /// A grant with what this answer says.
    fn onto(self, before: Grant) -> Result<Grant, BackendFault> {
        let number = |value: Option<&Value>, name: &str| {
            let number = |value| numeric_date(value).ok_or_else(|| invalid(&format!("{name} is not a number")));
            value.map(number).transpose()
        };
        let expires =
            match (number(self.expires_in.as_ref(), "expires_in")?, number(self.expires_at.as_ref(), "expires_at")?) {
                (None, None) => before.expires,
                (Some(ms), None) => Some(Expiry::In(Duration::from_millis(ms))),
                (None, Some(ms)) => Some(Expiry::At(WallTime(ms))),
                (Some(_), Some(_)) => return Err(invalid("it has expires_in and expires_at")),
            };
        if expires.is_some() && before.expires.is_some() && expires != before.expires {
            return Err(invalid("both answers say when the client expires"));
        }
        let topics = |Acl { publish, subscribe }| Topics { publish, subscribe, ..Topics::default() };
        Ok(Grant {
            user: self.user.map(Into::into).or(before.user),
            topics: self.acl.map(topics).or(before.topics),
            is_superuser: self.superuser.unwrap_or(before.is_superuser),
            expires,
        })
    }
}

fn parse(body: &[u8]) -> Result<Body, BackendFault> {
    // The text of the error has a part of the answer, which may be secret.
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let what = if error.is_data() { "has not the documented form" } else { "is not JSON" };
        invalid(&format!("it {what} (line {line}, column {column})"))
    })
}

fn denied() -> Reply {
    Reply::Deny("the service refuses the client".to_owned())
}

fn invalid(text: &str) -> BackendFault {
    BackendFault::Invalid(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(body: &str) -> Grant {
        let Ok(Some(Reply::Allow(grant))) = judgement(body.as_bytes()) else { panic!("{body}") };
        grant
    }

    #[test]
    fn an_answer_allows_denies_or_ignores() {
        assert_eq!(allowed(r#"{"result":"allow"}"#), Grant::default());
        assert_eq!(judgement(br#"{"result":"deny","acl":{"publish":["a"]}}"#), Ok(Some(denied())));
        assert_eq!(judgement(br#"{"result":"ignore"}"#), Ok(None));
        let full = r#"{"result":"allow","user":"bob","acl":{"publish":["a/%u"],"subscribe":[]},"superuser":false,"expires_in":1.5,"client_attrs":{"x":"y"}}"#;
        let topics = Some(Topics { publish: vec!["a/%u".to_owned()], ..Topics::default() });
        let expires = Some(Expiry::In(Duration::from_millis(1_500)));
        assert_eq!(allowed(full), Grant { user: Some("bob".into()), topics, is_superuser: false, expires });
        let emqx = allowed(r#"{"result":"allow","is_superuser":true,"expire_at":1654254601,"user":null,"acl":null}"#);
        let expires = Some(Expiry::At(WallTime(1_654_254_601_000)));
        assert_eq!(emqx, Grant { is_superuser: true, expires, ..Grant::default() });
    }

    #[test]
    fn what_has_not_the_documented_form_is_not_valid() {
        for body in [
            "",
            "allow",
            "[]",
            "{}",
            r#"{"result":"yes"}"#,
            r#"{"result":true}"#,
            r#"{"result":"Allow"}"#,
            r#"{"result":"allow","result":"deny"}"#,
            r#"{"result":"allow"} {"result":"deny"}"#,
            r#"{"result":"allow","acl":{"deny":["a"]}}"#,
            r#"{"result":"allow","acl":{"publish":"a"}}"#,
            r#"{"result":"allow","acl":[{"permission":"deny","action":"all","topic":"a"}]}"#,
            r#"{"result":"allow","superuser":1}"#,
            r#"{"result":"allow","superuser":true,"is_superuser":true}"#,
            r#"{"result":"allow","expires_in":"60"}"#,
            r#"{"result":"allow","expires_in":60,"expires_at":60}"#,
            r#"{"result":"allow","user":7}"#,
        ] {
            let Err(BackendFault::Invalid(text)) = judgement(body.as_bytes()) else { panic!("{body}") };
            assert!(!text.contains("yes") && !text.contains("60"), "{text}");
        }
    }

    #[test]
    fn an_authorization_adds_topics_to_the_acceptance() {
        let accepted = allowed(r#"{"result":"allow","user":"bob","expires_in":60}"#);
        let Ok(Reply::Allow(grant)) = authorization(br#"{"acl":{"subscribe":["a"]}}"#, accepted.clone()) else {
            panic!("not allowed")
        };
        assert_eq!(grant.topics.as_ref().unwrap().subscribe, ["a"]);
        assert_eq!((&grant.user, grant.expires), (&accepted.user, accepted.expires));
        assert_eq!(authorization(br#"{"result":"ignore"}"#, accepted.clone()), Ok(Reply::Allow(accepted.clone())));
        assert_eq!(authorization(br#"{"result":"deny"}"#, accepted.clone()), Ok(denied()));
        for body in [&b"{}"[..], br#"{"result":"allow"}"#, br#"{"acl":{},"expires_in":61}"#] {
            assert!(authorization(body, accepted.clone()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = judgement(&body);
            let _ = authorization(&body, Grant::default());
        }

        #[test]
        fn only_the_word_allow_accepts(result in "[a-z]{0,7}|allow ", rest in "(,\"[a-z_]{1,12}\":(true|null|[0-9]{1,4}|\"[a-z]{0,4}\"|\\{\\}|\\[\\])){0,3}") {
            let body = format!("{{\"result\":\"{result}\"{rest}}}");
            if let Ok(Some(Reply::Allow(_))) = judgement(body.as_bytes()) {
                prop_assert_eq!(result, "allow");
            }
        }
    }
}
