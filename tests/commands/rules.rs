//! Access rules, those of listeners, and who a client is by its certificate.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use wire::free_address;

use crate::process::{Broker, Done, Running, oncemq, run, wait_for};

const RULES: &str = "topic read news/#\npattern readwrite devices/%c/#\n\
    user alice\ntopic home/alice/#\ntopic deny home/alice/secret\n\
    group staff\nmember alice\nmember bob builder\ntopic read plant/#\npattern desks/%u\n\
    group operators\nmember olga\nsuperuser\n";

/// Runs `acl test` with these expected decisions.
fn tested(decisions: &str, more: &[&str]) -> Done {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("acl.conf"), RULES).unwrap();
    fs::write(path("decisions"), decisions).unwrap();
    run([&["acl", "test", &path("decisions"), "--acl", &path("acl.conf")], more].concat())
}

#[test]
fn rules_are_tested_against_expected_decisions_without_a_broker() {
    let good = "# a comment\n\nallow alice device-7 publish home/alice/light\ndeny alice - publish home/alice/secret\n\
        allow - - subscribe news/#\ndeny - - subscribe plant/#\nallow \"bob builder\" - subscribe plant/hall 3\n\
        allow - pump-7 publish devices/pump-7/x\ndeny - pump-7 publish devices/pump-8/x\ndeny - - publish devices//x\n\
        allow \"bob builder\" x publish desks/bob builder\nallow olga - subscribe $SYS/#\ndeny olga - publish $SYS/x\n\
        deny staff - subscribe plant/#\nallow alice - subscribe $share/g/plant/#\ndeny bob - subscribe $share/g/plant/#\n";
    assert_eq!(tested(good, &[]).succeeded(), "14 decisions are as expected\n");
    let wrong = "allow alice - publish home/alice/secret\nallow bob - subscribe plant/#\ndeny - - subscribe #\n\
        deny olga - publish a\nallow olga - publish $SYS/x\nallow - - subscribe news/1\n";
    let done = tested(wrong, &[]);
    let lines: Vec<_> = done.output.lines().map(|line| line.rsplit_once("decisions:").unwrap().1).collect();
    let expected = [
        "1: expected allow, is denied: acl.conf:5 denies home/alice/secret (topic deny home/alice/secret)",
        "2: expected allow, is denied: no rule allows it",
        "3: expected deny, is allowed: acl.conf:1 allows news/# (topic read news/#)",
        "4: expected deny, is allowed: acl.conf:13 makes the user a superuser",
        "5: expected allow, is denied: topics below $SYS are the broker's own",
    ];
    assert_eq!(lines, expected);
    done.failed(1, "5 of 6 decisions are not as expected");
    let json: serde_json::Value = serde_json::from_str(&tested(wrong, &["--json"]).output).unwrap();
    assert_eq!((&json["decisions"], json["wrong"][0]["rule_line"].as_u64()), (&6.into(), Some(5)), "{json}");
    tested("allow alice\n", &[]).failed(2, "decisions:1: a line must be");
}

#[test]
fn an_acl_file_is_checked_without_a_broker() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("acl.conf"), RULES).unwrap();
    let done = run(["acl", "check", &path("acl.conf")]).succeeded();
    assert!(done.ends_with("acl.conf is valid: 3 users, 2 groups and 6 rules\n"), "{done}");
    fs::write(path("acl.conf"), "user alice\nmember bob\n").unwrap();
    run(["acl", "check", &path("acl.conf")]).failed(2, "acl.conf:2: member must stand in the section of a group");
    run(["acl", "check", &path("missing")]).failed(2, "missing");
    // By the configuration, and for a listener of it.
    fs::write(path("acl.conf"), RULES).unwrap();
    fs::write(path("own"), "user alice\nsuperuser\n").unwrap();
    let config = format!(
        "[security]\nacl_file = {:?}\n[[listeners]]\nname = \"own\"\naddress = \"127.0.0.1:1\"\nacl_file = {:?}\n",
        path("acl.conf"),
        path("own")
    );
    fs::write(path("oncemq.toml"), config).unwrap();
    fs::write(path("decisions"), "deny alice - publish x\n").unwrap();
    let test = ["acl", "test", &path("decisions"), "--config", &path("oncemq.toml")];
    run(test).succeeded();
    run([&test[..], &["--listener", "own"]].concat()).failed(1, "1 of 1");
    run([&test[..], &["--listener", "none"]].concat()).failed(2, "no listener");
}

/// `mosquitto_pub` at an address.
fn mosquitto(address: SocketAddr, arguments: &[&str]) -> Done {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-V", "mqttv5", "-q", "1", "-m", "x", "-h", "localhost", "-p", &address.port().to_string()]);
    command.args(arguments);
    Running::start(command).end()
}

/// Whether the broker takes a message on `topic`: mosquitto_pub says why it does not, and ends with 0.
#[track_caller]
fn publishes(address: SocketAddr, topic: &str, arguments: &[&str]) -> bool {
    let done = mosquitto(address, &[arguments, &["-t", topic]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    !done.errors.contains("Not authorized")
}

fn add_user(file: &Path, name: &str) {
    let mut command = oncemq();
    command.args(["passwd", "--password-stdin"]).args((!file.exists()).then_some("--create")).arg(file).arg(name);
    let mut passwd = Running::start(command);
    passwd.input(b"secret\n");
    passwd.end().succeeded();
}

#[test]
fn a_listener_has_its_own_users_and_rules_also_after_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    add_user(&path("users"), "alice");
    add_user(&path("own-users"), "alice");
    fs::write(path("acl.conf"), RULES).unwrap();
    fs::write(path("own.conf"), "user alice\ntopic own/#\n").unwrap();
    let (plain, own) = (free_address(), free_address());
    let config = format!(
        "[security]\nallow_anonymous = false\npassword_file = {:?}\nacl_file = {:?}\n\
         [[listeners]]\naddress = \"{plain}\"\n\
         [[listeners]]\nname = \"own\"\naddress = \"{own}\"\npassword_file = {:?}\nacl_file = {:?}\n",
        path("users"),
        path("acl.conf"),
        path("own-users"),
        path("own.conf")
    );
    let own_rules = path("own.conf");
    let broker = Broker::with_config(&config, directory, plain);
    let alice = ["-u", "alice", "-P", "secret"];
    for (address, topic, expected) in [
        (plain, "home/alice/x", true),
        (plain, "home/alice/secret", false),
        (plain, "desks/alice", true),
        (plain, "own/x", false),
        (own, "own/x", true),
        (own, "home/alice/x", false),
    ] {
        assert_eq!(publishes(address, topic, &alice), expected, "{address} {topic}");
    }
    assert!(mosquitto(own, &["-u", "alice", "-P", "wrong", "-t", "own/x"]).code != 0);
    assert!(mosquitto(own, &["-t", "own/x"]).code != 0, "anonymous");
    let explain = |topic: &str, more: &[&str]| {
        let done = broker.operate(&[&["acl", "explain", "alice", "c", "pub", topic, "--json"], more].concat());
        serde_json::from_str::<serde_json::Value>(&done.output).unwrap()["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(explain("own/x", &["--listener", "own"]), "own.conf:2 allows own/#");
    assert!(explain("own/x", &[]).starts_with("no rule allows it; some listeners have rules of their own"));
    assert!(explain("own/x", &["--listener", "none"]).contains("no listener"));
    // The session of the user of a listener belongs to it.
    let subscriber = ["-i", "s", "-c", "-t", "own/#", "-q", "1", "-E", "-V", "mqttv5", "-x", "3600"];
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "localhost", "-p", &own.port().to_string()]).args(alice).args(subscriber);
    Running::start(command).end().succeeded();
    let done = mosquitto(plain, &["-i", "s", "-t", "home/alice/x", "-u", "alice", "-P", "secret"]);
    assert!(done.code != 0, "another user of the same name: {done:?}");
    // Queued while it was allowed, and denied before the client is back.
    assert!(publishes(own, "own/x", &alice));
    assert_eq!(broker.json(&["client", "s"])["queued_messages"], 1);
    fs::write(own_rules, "user alice\ntopic other/#\n").unwrap();
    broker.operate(&["reload"]).succeeded();
    assert!(!publishes(own, "own/x", &alice) && publishes(own, "other/x", &alice));
    let mut command = Command::new("mosquitto_sub");
    command.args(["-h", "localhost", "-p", &own.port().to_string(), "-W", "1"]).args(alice).args(&subscriber[..7]);
    command.args(["-V", "mqttv5", "-x", "3600"]);
    assert_eq!(Running::start(command).end().output, "", "what is denied is not delivered");
}

/// Writes an authority, a certificate of the server, and clients with a whole identity, without one, and with two.
fn write_certificates(path: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(path.join("ca.pem"), authority.pem()).unwrap();
    let dns = |name: &str| SanType::DnsName(Ia5String::try_from(name).unwrap());
    let uri = |name: &str| SanType::URI(Ia5String::try_from(name).unwrap());
    for (file, names) in [
        ("server", vec![dns("localhost")]),
        ("client", vec![dns("pump-7.example"), uri("urn:pump:7")]),
        ("nameless", vec![]),
        ("ambiguous", vec![dns("a.example"), dns("b.example")]),
    ] {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Plant, Ltd");
        params.distinguished_name.push(DnType::CommonName, "pump 7");
        let key = KeyPair::generate().unwrap();
        fs::write(path.join(format!("{file}.pem")), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(path.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A broker whose listener takes user names from a part of certificates, and what a client with one has to say to publish.
fn with_identity(settings: &str, listener: &str, rules: &str) -> Broker {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let file = |name: &str| directory.path().join(name);
    fs::write(file("acl.conf"), rules).unwrap();
    let mqtt = free_address();
    let config = format!(
        "[security]\nallow_anonymous = false\nacl_file = {:?}\n[[listeners]]\naddress = \"{mqtt}\"\ntransport = \"tls\"\n\
         {listener}\n[listeners.tls]\ncertificate = {:?}\nkey = {:?}\nclient_certificate = \"required\"\nclient_ca = {:?}\n\
         identity_as_user_name = true\n{settings}\n",
        file("acl.conf"),
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    Broker::with_config(&config, directory, mqtt)
}

impl Broker {
    /// The arguments of mosquitto's clients for a certificate.
    fn certificate(&self, name: &str) -> Vec<String> {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        [
            ["--cafile".to_owned(), file("ca.pem")],
            ["--cert".to_owned(), file(&format!("{name}.pem"))],
            ["--key".to_owned(), file(&format!("{name}.key"))],
        ]
        .concat()
    }

    fn publish_with(&self, name: &str, arguments: &[&str]) -> Done {
        let certificate = self.certificate(name);
        let certificate: Vec<&str> = certificate.iter().map(String::as_str).collect();
        mosquitto(self.mqtt, &[&certificate[..], arguments].concat())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap()
    }
}

#[test]
fn a_part_of_the_certificate_is_the_user_name() {
    for (identity, user) in [
        ("", "pump 7"),
        ("identity = \"san-dns\"", "pump-7.example"),
        ("identity = \"san-uri\"", "urn:pump:7"),
        ("identity = \"subject\"", "CN=pump 7,O=Plant\\, Ltd"),
    ] {
        let broker = with_identity(identity, "", &format!("user {user}\ntopic write mine\n"));
        let done = broker.publish_with("client", &["-t", "mine"]);
        assert!(done.code == 0 && !done.errors.contains("Not authorized"), "{identity}: {done:?}");
        let done = broker.publish_with("client", &["-t", "other"]);
        assert!(done.errors.contains("Not authorized"), "{identity}: {done:?}");
    }
}

#[test]
fn a_certificate_without_a_user_name_is_no_users_and_an_ambiguous_one_is_refused() {
    let broker = with_identity("identity = \"san-dns\"", "", "topic write #\n");
    let done = broker.publish_with("nameless", &["-t", "a"]);
    assert!(done.code != 0, "anonymous clients are not allowed: {done:?}");
    assert!(broker.publish_with("ambiguous", &["-t", "a"]).code != 0);
    wait_for("the reason", || {
        broker.log().contains("the user name in the client's certificate (DNS name) is there several times")
    });
}

#[test]
fn the_user_name_is_the_client_identifier_where_a_listener_says_so() {
    let settings = "identity = \"san-dns\"";
    let broker = with_identity(settings, "client_id = \"user-name\"", "pattern write devices/%c\n");
    let done = broker.publish_with("client", &["-i", "victim", "-t", "devices/pump-7.example", "-c", "-x", "3600"]);
    assert!(done.code == 0 && !done.errors.contains("Not authorized"), "{done:?}");
    assert!(broker.publish_with("client", &["-i", "victim", "-t", "devices/victim"]).errors.contains("Not authorized"));
    let history = broker.operate(&["client", "pump-7.example", "--history"]).succeeded();
    assert!(history.contains("connected"), "{history}");
    broker.operate(&["client", "victim", "--history"]).failed(1, "");
    let strict = with_identity(settings, "client_id = \"must-be-user-name\"", "pattern write devices/%c\n");
    let done = strict.publish_with("client", &["-i", "pump-7.example", "-t", "devices/pump-7.example"]);
    assert!(done.code == 0 && !done.errors.contains("Not authorized"), "{done:?}");
    assert!(strict.publish_with("client", &["-i", "victim", "-t", "devices/victim"]).code != 0);
    wait_for("the reason", || strict.log().contains("the Client Identifier must be the user name at this listener"));
}
