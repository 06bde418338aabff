use std::fs;
use std::path::{Path, PathBuf};

use super::super::tests::{PASSWORDS, alice, anonymous, file};
use super::super::{Refusal, Renewal, Request};
use super::*;
use crate::codec::ReasonCode;
use crate::config::{self, AllowAnonymous, Listener, Security};
use crate::topic::TopicName;

fn listener(name: &str) -> Listener {
    let allow_anonymous = Some(AllowAnonymous::Always);
    Listener { name: Some(name.to_owned()), allow_anonymous, ..Listener::new("127.0.0.1:1883".parse().unwrap()) }
}

fn path(file: &Path) -> Option<PathBuf> {
    Some(file.to_owned())
}

/// The topics among `default`, `own`, `c` and `alice` that a client may receive.
fn topics(access: &Access) -> Vec<&'static str> {
    let receives = |name: &&str| access.receive(&TopicName::try_from(*name).unwrap());
    ["default", "own", "id/c", "id/alice"].into_iter().filter(receives).collect()
}

const DEFAULT: &str = "pattern read default\npattern read id/%c\n";
const OWN: &str = "pattern read own\npattern read id/%c\n";

/// Files of the tests, in a directory.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("default", DEFAULT), ("own", OWN), ("users", PASSWORDS)] {
            fs::write(files.path(name), text).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn security(&self) -> Security {
        Security { acl_file: Some(self.path("default")), ..Security::default() }
    }

    /// Listeners `plain`, `rules` with an ACL file, and `users` with a password file.
    fn listeners(&self) -> [Listener; 3] {
        [
            listener("plain"),
            Listener { acl_file: Some(self.path("own")), ..listener("rules") },
            Listener { password_file: Some(self.path("users")), ..listener("users") },
        ]
    }

    fn authenticator(&self) -> Authenticator {
        Authenticator::new(&self.security(), &[], &self.listeners()).unwrap()
    }
}

/// The provider, and what the client may receive.
fn judged(authenticator: &Authenticator, request: &Request) -> Result<(String, Vec<&'static str>), Refusal> {
    let verdict = authenticator.authenticate(request).0;
    match authenticator.complete(verdict, (&request.listener, request.client_ids), &request.client_id) {
        Verdict::Accept(decision) => Ok((decision.provider.to_string(), topics(&decision.access))),
        Verdict::Refuse(refusal) => Err(refusal),
        Verdict::Continue { .. } => panic!("no provider asks for more"),
    }
}

fn at(listener: &str, request: Request) -> Request {
    Request { listener: listener.into(), ..request }
}

const OF_USERS: Option<Account<'static>> = Some(Account { name: "alice", provider: Some("password@users") });

#[test]
fn the_rules_of_a_listener_replace_the_others() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let anonymous_at = |name: &str| judged(&authenticator, &at(name, anonymous())).unwrap();
    assert_eq!(anonymous_at("plain"), ("anonymous".to_owned(), vec!["default", "id/c"]));
    assert_eq!(anonymous_at("rules"), ("anonymous".to_owned(), vec!["own", "id/c"]));
    assert_eq!(anonymous_at("users"), ("anonymous".to_owned(), vec!["default", "id/c"]));
}

#[test]
fn the_password_file_of_a_listener_is_a_provider_of_its_own() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let found = judged(&authenticator, &at("users", alice(b"sesam"))).unwrap();
    assert_eq!(found, ("password@users".to_owned(), vec!["default", "id/c"]));
    assert!(judged(&authenticator, &at("users", alice(b"wrong"))).is_err());
    let bob = Request { user_name: Some("bob".into()), ..alice(b"sesam") };
    assert!(judged(&authenticator, &at("users", bob)).is_err());
    // Without a password file, nothing verifies a user name at the others.
    assert_eq!(judged(&authenticator, &at("plain", alice(b"sesam"))).unwrap().0, "anonymous");
    let security = Security { password_file: Some(files.path("users")), ..files.security() };
    let both = Authenticator::new(&security, &[], &files.listeners()).unwrap();
    assert_eq!(judged(&both, &at("plain", alice(b"sesam"))).unwrap().0, "password");
    assert_eq!(judged(&both, &at("users", alice(b"sesam"))).unwrap().0, "password@users");
}

#[test]
fn other_providers_do_not_judge_where_a_password_file_is() {
    let (files, other) = (
        Files::new(),
        file(
            "bob:$7$101$ZkGV8aACU+Ewh7JV$9Ijwh81V4Q2AKkgvaZ1RJeWjjFIE+1DxzHY25z1IVSe86IXNfJH2nJ041Fb/S5NhyhKUmKgy70UrEpww63Ti6A==\n",
        ),
    );
    let provider = config::Provider { file: path(&other), ..config::Provider::new(config::ProviderKind::PasswordFile) };
    let authenticator = Authenticator::new(&files.security(), &[provider], &files.listeners()).unwrap();
    let bob = Request { user_name: Some("bob".into()), ..alice(b"sesam") };
    assert_eq!(judged(&authenticator, &at("plain", bob.clone())).unwrap().0, "password");
    assert!(judged(&authenticator, &at("users", bob)).is_err());
    assert!(judged(&authenticator, &at("plain", alice(b"sesam"))).is_err());
}

#[test]
fn the_user_name_is_the_client_identifier_of_all_rules_where_a_listener_says_so() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let named = |request| Request { client_ids: ClientIdRule::UserName, ..request };
    let found = judged(&authenticator, &named(at("users", alice(b"sesam")))).unwrap();
    assert_eq!(found.1, ["default", "id/alice"], "the client has sent c");
    // An unverified name gives nothing; the broker refuses the client.
    let found = judged(&authenticator, &named(at("plain", alice(b"sesam")))).unwrap();
    assert_eq!(found.1, ["default", "id/c"]);
    let must = Request { client_ids: ClientIdRule::MustBeUserName, ..at("users", alice(b"sesam")) };
    assert_eq!(judged(&authenticator, &must).unwrap().1, ["default", "id/c"], "the broker compares the names");
}

#[test]
fn a_reload_judges_connected_clients_by_the_rules_of_their_listener() {
    let files = Files::new();
    let authenticator = files.authenticator();
    fs::write(files.path("own"), "pattern read own\n").unwrap();
    authenticator.reload().unwrap();
    let renewed = |listener: &str, user| {
        let current = Arc::new(Access::everything());
        authenticator.renew((&ClientId::from("c"), listener), user, None, &current)
    };
    let access = |renewal| {
        let Renewal::Stays(access) = renewal else { panic!("{renewal:?}") };
        topics(&access)
    };
    assert_eq!(access(renewed("rules", None)), ["own"]);
    assert_eq!(access(renewed("plain", None)), ["default", "id/c"]);
    assert!(matches!(renewed("plain", OF_USERS), Renewal::ProviderRemoved(_)), "it is not asked there");
    assert!(matches!(renewed("users", OF_USERS), Renewal::PasswordChanged(_)), "it has no proof");
    authenticator.reload_with(&files.security(), &[], &files.listeners()[..2]).unwrap();
    let Renewal::ProviderRemoved(access) = renewed("users", OF_USERS) else { panic!("the provider is gone") };
    assert_eq!(*access, Access::new(Vec::new()));
}

#[test]
fn a_session_without_connection_has_the_rules_of_its_last_listener_or_the_next_connection_decides() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let client_id = ClientId::from("c");
    // A new run: an anonymous client can come by listeners with other rules.
    assert_eq!(*authenticator.access(&client_id, None), Access::undecided());
    // A user of one listener can't.
    let away = authenticator.access(&client_id, OF_USERS);
    assert_eq!((topics(&away), away.listener()), (vec!["default", "id/c"], None));
    let removed = Account { name: "bob", provider: Some("password@users") };
    assert_eq!(*authenticator.access(&client_id, Some(removed)), Access::new(Vec::new()));
    // In the same run, the listener is known, also by who may do everything or nothing.
    for (name, expected) in [("plain", ["default", "id/c"]), ("rules", ["own", "id/c"])] {
        for acl in [None, Some(Arc::new(AclFile::default()))] {
            let current = Rules::at_listener(acl, &Arc::from(name)).access(&client_id, None);
            assert_eq!(topics(&authenticator.away(&client_id, None, &current)), expected, "{name}");
        }
    }
    let unknown = Rules::at_listener(None, &Arc::from("removed")).access(&client_id, None);
    assert_eq!(*authenticator.away(&client_id, None, &unknown), Access::undecided());
}

#[test]
fn a_message_that_is_published_later_needs_the_rules_of_a_listener_at_which_its_client_can_be() {
    let files = Files::new();
    for (name, topics) in [("default", ["shared", "first"]), ("own", ["shared", "second"])] {
        fs::write(files.path(name), topics.map(|topic| format!("pattern write {topic}\n")).concat()).unwrap();
    }
    let authenticator = files.authenticator();
    let may = |user, topic: &str| {
        let topic = TopicName::try_from(topic).unwrap();
        authenticator.access_to_publish(&ClientId::from("c"), user, &topic).publish(&topic).is_ok()
    };
    assert!(may(None, "shared") && may(None, "first") && may(None, "second") && !may(None, "other"));
    assert!(may(OF_USERS, "first") && !may(OF_USERS, "second") && !may(OF_USERS, "other"));
    fs::write(files.path("own"), "pattern write shared\n").unwrap();
    authenticator.reload().unwrap();
    assert!(!may(None, "second"), "the only rule that allowed it is gone");
}

#[test]
fn without_files_of_listeners_no_access_has_one() {
    let files = Files::new();
    let authenticator = Authenticator::new(&files.security(), &[], &[listener("plain"), listener("other")]).unwrap();
    let Verdict::Accept(decision) = authenticator.authenticate(&at("plain", anonymous())).0 else { panic!() };
    let before = Arc::clone(&decision.access);
    let verdict = Verdict::Accept(decision);
    let verdict = authenticator.complete(verdict, ("plain", ClientIdRule::Any), &ClientId::from("c"));
    let Verdict::Accept(decision) = verdict else { panic!() };
    assert!(Arc::ptr_eq(&before, &decision.access) && before.listener().is_none());
    assert_eq!(topics(&authenticator.access(&ClientId::from("c"), None)), ["default", "id/c"]);
}

#[test]
fn a_file_that_cannot_be_read_at_a_reload_gives_nothing_at_a_new_listener_and_changes_nothing_at_the_others() {
    let files = Files::new();
    let authenticator = files.authenticator();
    let broken = [
        listener("plain"),
        Listener { acl_file: Some(files.path("own")), ..listener("rules") },
        Listener { password_file: Some(files.path("missing")), ..listener("users") },
        Listener { acl_file: Some(files.path("missing")), ..listener("new") },
        Listener { password_file: Some(files.path("missing")), ..listener("locked") },
    ];
    authenticator.reload_with(&files.security(), &[], &broken).unwrap_err();
    assert_eq!(judged(&authenticator, &at("new", anonymous())).unwrap().1, [""; 0]);
    assert_eq!(judged(&authenticator, &at("rules", anonymous())).unwrap().1, ["own", "id/c"]);
    assert!(judged(&authenticator, &at("users", alice(b"sesam"))).is_ok(), "the old contents stay");
    assert!(judged(&authenticator, &at("locked", alice(b"sesam"))).is_err());
    assert!(judged(&authenticator, &at("locked", anonymous())).is_err(), "no later provider accepts anybody");
}

#[test]
fn the_clients_of_a_listener_that_is_renamed_do_not_get_the_rules_or_the_topics_of_others() {
    let files = Files::new();
    let security = Security { allow_anonymous: AllowAnonymous::Always, ..Security::default() }; // where a listener has no rules, everything is allowed
    let guarded = |name: &str| Listener { acl_file: Some(files.path("own")), ..listener(name) };
    let mounted = |name: &str| Listener { mount_point: Some("t/".to_owned()), ..listener(name) };
    let own = |name: &str| Listener { password_file: Some(files.path("users")), ..listener(name) };
    for of in [&guarded as &dyn Fn(&str) -> Listener, &mounted, &own] {
        let authenticator = Authenticator::new(&security, &[], &[listener("plain"), of("before")]).unwrap();
        assert!(judged(&authenticator, &at("before", anonymous())).is_ok());
        authenticator.reload_with(&security, &[], &[listener("plain"), of("after")]).unwrap();
        let refusal = judged(&authenticator, &at("before", anonymous())).unwrap_err();
        assert_eq!(refusal.reason_code, ReasonCode::ServerBusy, "the CONNECT came after the reload");
        assert!(judged(&authenticator, &at("after", anonymous())).is_ok());
    }
    let authenticator = Authenticator::new(&security, &[], &[listener("plain"), guarded("before")]).unwrap();
    let current = Rules::at_listener(Some(Arc::new(AclFile::default())), &Arc::from("before"));
    let current = current.access(&ClientId::from("c"), None);
    authenticator.reload_with(&security, &[], &[listener("plain"), guarded("after")]).unwrap();
    let renewal = authenticator.renew((&ClientId::from("c"), "before"), None, None, &current);
    assert_eq!(renewal, Renewal::ListenerRenamed(current));
    // Where all have the same rules, a name makes no difference.
    authenticator.reload_with(&security, &[], &[listener("plain"), listener("after")]).unwrap();
    assert!(judged(&authenticator, &at("before", anonymous())).is_ok());
    let current = Arc::new(Access::everything());
    let renewal = authenticator.renew((&ClientId::from("c"), "before"), None, None, &current);
    assert_eq!(renewal, Renewal::Stays(current));
}

#[test]
fn what_a_client_may_do_is_explained_for_a_listener() {
    let files = Files::new();
    fs::write(files.path("own"), "group admins\nmember alice\nsuperuser\n").unwrap();
    let listeners = [
        listener("plain"),
        Listener { acl_file: Some(files.path("own")), password_file: Some(files.path("users")), ..listener("both") },
    ];
    let authenticator = Authenticator::new(&files.security(), &[], &listeners).unwrap();
    let standing = |user, listener: Option<&str>| match listener {
        Some(listener) => authenticator.standing_at(listener, &ClientId::from("c"), user),
        None => authenticator.standing(&ClientId::from("c"), user),
    };
    let both = standing(Some("alice"), Some("both"));
    assert_eq!((both.access.is_superuser(), both.refusal, both.is_without_listener), (true, None, false));
    assert_eq!(both.superuser.unwrap().to_string(), "own:3");
    assert!(standing(Some("bob"), Some("both")).refusal.is_some());
    let plain = standing(Some("alice"), Some("plain"));
    assert_eq!((plain.refusal, plain.superuser, topics(&plain.access)), (None, None, vec!["default", "id/c"]));
    let mounted = Listener { mount_point: Some("t/%u/".to_owned()), ..listeners[1].clone() };
    let authenticator_below = Authenticator::new(&Security::default(), &[], &[mounted]).unwrap();
    let below = |user| authenticator_below.standing_at("both", &ClientId::from("c"), user);
    let may = |topic: &str| below(Some("alice")).access.receive(&TopicName::try_from(topic).unwrap());
    assert!(may("t/alice/x") && !may("x") && !may("t/bob/x"), "a superuser, too");
    assert!(below(None).refusal.unwrap().contains("mount point"), "an anonymous client has no name");
    let anywhere = standing(Some("alice"), None);
    assert!(anywhere.is_without_listener && anywhere.superuser.is_none() && anywhere.note.is_some());
    assert!(standing(None, Some("nowhere")).refusal.unwrap().contains("no listener"));
}
