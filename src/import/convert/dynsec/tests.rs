use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::read::{Dynsec, Rule};
use super::rules;
use crate::auth::{Account, Authenticator};
use crate::codec::ClientId;
use crate::config::Security;
use crate::routing::Access;
use crate::topic::{TopicFilter, TopicName};

/// The rules of the file for one client.
fn access(dynsec: &Dynsec, user: Option<&str>, client_id: &str) -> std::sync::Arc<Access> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acl");
    let (text, _) = rules::text(dynsec);
    fs::write(&path, &text).unwrap();
    let security = Security { acl_file: Some(path), ..Security::default() };
    let authenticator = Authenticator::new(&security, &[], &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let account = user.map(|name| Account { name, provider: None });
    authenticator.access(&ClientId::from(client_id), account)
}

/// What the plugin itself decides, rule by rule.
struct Plugin<'a>(&'a Dynsec);

impl Plugin<'_> {
    fn roles(&self, user: &str) -> Vec<&str> {
        let client = self.0.clients.iter().find(|client| client.name == user).unwrap();
        let of_groups = client.groups.iter().flat_map(|group| &self.0.groups[group].roles);
        client.roles.iter().chain(of_groups).map(String::as_str).collect()
    }

    fn decide(
        &self,
        user: &str,
        matches: impl Fn(&str) -> bool,
        kind: impl Fn(&super::read::Role) -> &[Rule],
        otherwise: bool,
    ) -> bool {
        let rules =
            self.roles(user).into_iter().flat_map(|role| kind(&self.0.roles[role]).to_vec()).collect::<Vec<_>>();
        rules.iter().find(|rule| matches(&rule.topic)).map_or(otherwise, |rule| rule.allows)
    }

    fn publish(&self, user: &str, topic: &str) -> bool {
        self.decide(user, |filter| is_match(filter, topic), |role| &role.send, self.0.default.send)
    }

    /// Whether it is sent the topic through some subscription that it may have.
    fn receive(&self, user: &str, topic: &str, filters: &[&str]) -> bool {
        let is_sent = self.decide(user, |filter| is_match(filter, topic), |role| &role.receive, self.0.default.receive);
        let is_subscribed = |subscription: &&str| {
            is_match(subscription, topic)
                && self.decide(
                    user,
                    |filter| covers(filter, subscription),
                    |role| &role.subscribe,
                    self.0.default.subscribe,
                )
        };
        is_sent && filters.iter().chain([&topic]).any(is_subscribed)
    }
}

fn is_match(filter: &str, topic: &str) -> bool {
    TopicFilter::try_from(filter).unwrap().matches(&TopicName::try_from(topic).unwrap())
}

fn covers(outer: &str, inner: &str) -> bool {
    let levels = |text: &'_ str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (outer, inner) = (levels(outer), levels(inner));
    let refs = |levels: &'_ [String]| levels.iter().map(String::as_str).map(str::to_owned).collect::<Vec<_>>();
    let (outer, inner) = (refs(&outer), refs(&inner));
    crate::routing::covers(
        &outer.iter().map(String::as_str).collect::<Vec<_>>(),
        &inner.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

const FILTERS: [&str; 8] = ["#", "a/#", "a/b", "+/b", "b", "a/+", "b/#", "+"];
const TOPICS: [&str; 6] = ["a", "b", "a/b", "b/b", "a/b/c", "c"];

fn role(name: &str) -> impl Strategy<Value = Value> + use<> {
    let kinds = ["publishClientSend", "publishClientReceive", "subscribePattern", "subscribeLiteral"];
    let acl = (prop::sample::select(kinds.to_vec()), prop::sample::select(FILTERS.to_vec()), any::<bool>(), 0..3_i64);
    let acl = acl.prop_map(
        |(kind, topic, allow, priority)| json!({"acltype": kind, "topic": topic, "allow": allow, "priority": priority}),
    );
    let name = name.to_owned();
    prop::collection::vec(acl, 0..6).prop_map(move |acls| json!({"rolename": name, "acls": acls}))
}

fn file(denies: bool) -> impl Strategy<Value = String> {
    let default = (any::<bool>(), any::<bool>(), any::<bool>());
    ((role("r"), role("s"), role("t")), default, 0..3_i64).prop_map(
        move |((mut r, mut s, mut t), (send, receive, subscribe), priority)| {
            if !denies {
                for role in [&mut r, &mut s, &mut t] {
                    for acl in role["acls"].as_array_mut().unwrap() {
                        acl["allow"] = json!(true);
                    }
                }
            }
            json!({
            "defaultACLAccess": {"publishClientSend": send, "publishClientReceive": receive, "subscribe": subscribe},
            "clients": [
                {"username": "u", "roles": [{"rolename": "r", "priority": priority}, {"rolename": "s", "priority": 1}]},
                {"username": "v", "roles": [{"rolename": "s"}]},
            ],
            "groups": [{"groupname": "g", "roles": [{"rolename": "t"}], "clients": [{"username": "u"}]}],
            "roles": [r, s, t],
        }).to_string()
        },
    )
}

proptest! {
    #[test]
    fn no_client_gets_more_than_it_had(text in file(true)) {
        let dynsec = Dynsec::parse(&text).unwrap();
        for user in ["u", "v"] {
            let access = access(&dynsec, Some(user), "c");
            for topic in TOPICS {
                let name = TopicName::try_from(topic).unwrap();
                prop_assert!(access.publish(&name).is_err() || Plugin(&dynsec).publish(user, topic), "{user} publishes {topic}");
                prop_assert!(!access.receive(&name) || Plugin(&dynsec).receive(user, topic, &FILTERS), "{user} receives {topic}");
            }
        }
    }

    #[test]
    fn without_denials_every_client_gets_what_it_had(text in file(false)) {
        let dynsec = Dynsec::parse(&text).unwrap();
        for user in ["u", "v"] {
            let access = access(&dynsec, Some(user), "c");
            for topic in TOPICS {
                let name = TopicName::try_from(topic).unwrap();
                prop_assert_eq!(access.publish(&name).is_ok(), Plugin(&dynsec).publish(user, topic), "{} publishes {}", user, topic);
                prop_assert_eq!(access.receive(&name), Plugin(&dynsec).receive(user, topic, &FILTERS), "{} receives {}", user, topic);
            }
        }
    }

    #[test]
    fn no_json_causes_a_panic(text: String, key in "clients|groups|roles|defaultACLAccess|anonymousGroup", value in "[\\[\\]{}\":,a-z0-9 ]{0,40}") {
        for text in [text, format!("{{\"{key}\": {value}}}")] {
            if let Ok(dynsec) = Dynsec::parse(&text) {
                let _ = rules::text(&dynsec);
            }
        }
    }
}

/// The file that the plugin of mosquitto 2.1 makes, and a client with names in its topics.
const EXAMPLE: &str = r##"{
  "defaultACLAccess": {"publishClientSend": false, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
  "clients": [
    {"username": "admin", "roles": [{"rolename": "super-admin"}, {"rolename": "topic-observe"}], "encoded_password": "x"},
    {"username": "pump", "roles": [{"rolename": "device", "priority": 5}], "groups": []},
    {"username": "staff member", "disabled": true}
  ],
  "groups": [
    {"groupname": "unauthenticated", "roles": [{"rolename": "public"}]},
    {"groupname": "staff", "roles": [{"rolename": "client"}], "clients": [{"username": "staff member"}]}
  ],
  "roles": [
    {"rolename": "client", "acls": [
      {"acltype": "publishClientSend", "topic": "#", "priority": 0, "allow": true},
      {"acltype": "subscribePattern", "topic": "#", "priority": 0, "allow": true},
      {"acltype": "publishClientSend", "topic": "secret/#", "priority": 1, "allow": false}]},
    {"rolename": "device", "acls": [
      {"acltype": "publishClientSend", "topic": "devices/%c/#", "allow": true},
      {"acltype": "subscribeLiteral", "topic": "commands/%u", "allow": true}]},
    {"rolename": "public", "acls": [{"acltype": "subscribePattern", "topic": "news/#", "allow": true}]},
    {"rolename": "super-admin", "acls": [{"acltype": "publishClientSend", "topic": "$CONTROL/#", "allow": true}]},
    {"rolename": "topic-observe", "acls": [{"acltype": "subscribePattern", "topic": "#", "allow": true}]}
  ],
  "anonymousGroup": "unauthenticated"
}"##;

#[test]
fn roles_are_groups_and_names_are_filled_in() {
    let dynsec = Dynsec::parse(EXAMPLE).unwrap();
    let (text, notes) = rules::text(&dynsec);
    let expected = "topic read news/#\n\ngroup role device\nmember pump\npattern read commands/%u\npattern write devices/%c/#\n\n\
                    group role super-admin\nmember admin\n\ngroup role topic-observe\nmember admin\ntopic read #\n\n\
                    group client staff member\nmember staff member\ntopic deny secret/#\ntopic readwrite #\n";
    assert_eq!(text, expected);
    assert!(
        notes.iter().any(|note| note.contains("$CONTROL"))
            && notes.iter().any(|note| note.starts_with("staff member: ")),
        "{notes:?}"
    );
    let pump = access(&dynsec, Some("pump"), "p1");
    let topic = |text: &str| TopicName::try_from(text).unwrap();
    assert!(pump.publish(&topic("devices/p1/x")).is_ok() && pump.publish(&topic("devices/p2/x")).is_err());
    assert!(pump.receive(&topic("commands/pump")) && !pump.receive(&topic("news/1")));
    assert!(access(&dynsec, None, "c").receive(&topic("news/1")));
}

#[test]
fn client_that_is_bound_to_an_identifier_gets_no_more_with_another_one() {
    let topic = |text: &str| TopicName::try_from(text).unwrap();
    for bound in ["u-7", "+", "a/b", "%u", " "] {
        let text = json!({
            "clients": [{"username": "u", "clientid": bound, "roles": [{"rolename": "r"}]}, {"username": "v", "roles": [{"rolename": "r"}]}],
            "roles": [{"rolename": "r", "acls": [
                {"acltype": "publishClientSend", "topic": "a/%c/#", "allow": true},
                {"acltype": "publishClientSend", "topic": "own/%u", "allow": true},
                {"acltype": "publishClientSend", "topic": "b/%c", "allow": false},
                {"acltype": "publishClientSend", "topic": "b/#", "allow": true},
            ]}],
        });
        let dynsec = Dynsec::parse(&text.to_string()).unwrap();
        for client_id in ["u-7", "other", "u"] {
            let bound_one = access(&dynsec, Some("u"), client_id);
            assert_eq!(bound_one.publish(&topic("a/u-7/x")).is_ok(), bound == "u-7", "{bound} as {client_id}");
            assert!(bound_one.publish(&topic("a/other/x")).is_err() && bound_one.publish(&topic("a/u/x")).is_err());
            assert!(bound_one.publish(&topic("own/u")).is_ok() && bound_one.publish(&topic("b/u-7")).is_err());
        }
        assert!(access(&dynsec, Some("v"), "other").publish(&topic("a/other/x")).is_ok(), "nothing binds it");
    }
}

#[test]
fn names_that_a_file_can_not_have_add_no_line() {
    let text = json!({
        "clients": [{"username": "a\nuser b\nsuperuser", "roles": [{"rolename": "r"}]}, {"username": "c", "roles": [{"rolename": "r"}]}],
        "roles": [{"rolename": "r\nsuperuser", "acls": []}, {"rolename": "r", "acls": [
            {"acltype": "publishClientSend", "topic": "x\nsuperuser", "allow": true},
            {"acltype": "publishClientSend", "topic": "a#", "allow": true},
            {"acltype": "publishClientSend", "topic": "x%c", "allow": true},
        ]}],
    });
    let dynsec = Dynsec::parse(&text.to_string()).unwrap();
    let (text, notes) = rules::text(&dynsec);
    assert_eq!(text, "\ngroup client c\nmember c\n");
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn what_is_no_such_file_is_an_error() {
    for text in ["", "[]", "{}", "{\"users\": []}", "{\"clients\": 1}"] {
        assert!(Dynsec::parse(text).is_err(), "{text}");
    }
}
