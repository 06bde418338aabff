use std::net::IpAddr;
use std::str::from_utf8;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::super::super::provider::Request;

/// What the service is asked about a client. What the client has not sent is null.
#[derive(Debug, Serialize)]
pub(super) struct Question<'a> {
    client_id: &'a str,
    user_name: Option<&'a str>,
    password: Option<&'a str>,
    /// The password, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    password_base64: Option<String>,
    address: Option<IpAddr>,
    listener: &'a str,
    certificate_identity: Option<&'a str>,
}

impl<'a> Question<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        let password = request.password.as_deref();
        let text = password.map(from_utf8);
        Self {
            client_id: request.client_id.as_str(),
            user_name: request.user_name.as_deref(),
            password: text.and_then(Result::ok),
            password_base64: password
                .filter(|_| text.is_some_and(|text| text.is_err()))
                .map(|bytes| STANDARD.encode(bytes)),
            address: request.address,
            listener: &request.listener,
            certificate_identity: request.certificate_identity.as_deref(),
        }
    }
}

/// What the service is asked about a client that it has accepted.
#[derive(Debug, Serialize)]
pub(super) struct AuthorizeQuestion<'a> {
    client_id: &'a str,
    user: Option<&'a str>,
    user_name: Option<&'a str>,
    address: Option<IpAddr>,
    listener: &'a str,
    certificate_identity: Option<&'a str>,
}

impl<'a> AuthorizeQuestion<'a> {
    /// `user`: as the answer has named it.
    pub(super) fn of(request: &'a Request, user: Option<&'a str>) -> Self {
        let (user_name, certificate_identity) = (request.user_name.as_deref(), request.certificate_identity.as_deref());
        let user = user.or(user_name).or(certificate_identity);
        Self {
            client_id: user.map_or(request.client_id.as_str(), |user| request.client_id_of(user)),
            user,
            user_name,
            address: request.address,
            listener: &request.listener,
            certificate_identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::auth::tests::{alice, anonymous};
    use crate::config::ClientIdRule;

    #[test]
    fn a_question_has_what_the_client_has_sent() {
        let question = |request| serde_json::to_value(Question::of(&request)).unwrap();
        let of_alice = json!({
            "client_id": "c", "user_name": "alice", "password": "sesam\r\n\"", "address": "192.0.2.1", "listener": "tcp",
            "certificate_identity": null,
        });
        assert_eq!(question(alice(b"sesam\r\n\"")), of_alice);
        let binary = question(Request { password: Some(Bytes::from_static(b"\xFF\x00")), ..anonymous() });
        assert_eq!((&binary["password"], &binary["password_base64"]), (&json!(null), &json!("/wA=")));
    }

    #[test]
    fn the_password_is_not_sent_twice() {
        let request = alice(b"sesam");
        let asked = serde_json::to_value(AuthorizeQuestion::of(&request, Some("bob"))).unwrap();
        assert_eq!((&asked["user"], &asked["user_name"]), (&json!("bob"), &json!("alice")));
        assert!(!asked.to_string().contains("sesam"));
        assert_eq!(serde_json::to_value(AuthorizeQuestion::of(&request, None)).unwrap()["user"], "alice");
        assert_eq!(asked["client_id"], "c");
        let named = Request { client_ids: ClientIdRule::UserName, ..request };
        for (user, client_id) in [(Some("bob"), "bob"), (None, "alice")] {
            let asked = serde_json::to_value(AuthorizeQuestion::of(&named, user)).unwrap();
            assert_eq!(asked["client_id"], client_id, "the one that it will have");
        }
    }
}
