//! `[[auth]]` of the type `postgresql`, with a real server.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use crate::broker::{Broker, Setup};
use crate::database::{Database, PASSWORD};
use crate::deadline::{now, wait_for};
use crate::peer;
use crate::raw::{Connect, Received, Version, Wire};

const V5: Version = Version::V5;
const BOTH: [Version; 2] = [Version::V311, Version::V5];
/// Hashes of `sesam`, made by libxcrypt, Python and mosquitto.
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuua1kk8EPGkSHbWt7XiGEPDGNQWLno8Ja";
const GO_AUTH: &str = "PBKDF2$sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg==$3JOdJfrH/4nM+sJulFtxb4fHW0tdTcZBrukjswEho38=";
const MOSQUITTO: &str =
    "$7$101$ZkGV8aACU+Ewh7JV$9Ijwh81V4Q2AKkgvaZ1RJeWjjFIE+1DxzHY25z1IVSe86IXNfJH2nJ041Fb/S5NhyhKUmKgy70UrEpww63Ti6A==";
/// Of the password `password`, from the test vectors of the reference implementation.
const ARGON2ID: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
/// EMQX's example: of `secret`, with the salt `salt`.
const EMQX: &str = "bede90386d450cea8b77b822f8887065e4e5abf132c2f9dccfcc7fbd4cba5e35";

const QUERY: &str = "SELECT password_hash, salt, superuser FROM mqtt_user WHERE username = ${username}";
const ACL_QUERY: &str = "SELECT permission, action, topic FROM mqtt_acl WHERE username = ${username}";
const REFUSED: u8 = 0x86;
const UNAVAILABLE: u8 = 0x88;

fn database(sql: &str) -> Database {
    let schema = "CREATE TABLE mqtt_user (username text, password_hash text, salt text, superuser boolean NOT NULL DEFAULT false);
        CREATE TABLE mqtt_acl (username text, permission text, action text, topic text);";
    let users = [("bcrypt", BCRYPT), ("go-auth", GO_AUTH), ("mosquitto", MOSQUITTO), ("argon2id", ARGON2ID)];
    let users: String =
        users.map(|(name, hash)| format!("INSERT INTO mqtt_user VALUES ('{name}', '{hash}');")).concat();
    Database::start(&format!("{schema}{users}{sql}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO mqtt"))
}

/// The provider, in TOML.
fn provider(database: &Database, query: &str, more: &str) -> String {
    let password = database.path("password").display().to_string();
    format!(
        "{{ type = \"postgresql\", url = {:?}, password_file = {password:?}, query = {query:?}{more} }}",
        database.url()
    )
}

fn setup(provider: &str) -> Setup {
    Setup { allow_anonymous: false, ..Setup::default() }
        .set("auth", &format!("[{provider}]"))
        .set("bans.delay_max", "\"0s\"")
}

fn code(broker: &Broker, connect: &Connect) -> u8 {
    Wire::connect(broker.address(), connect).1.reason_code()
}

fn user(name: &str, password: &str) -> Connect {
    Connect::new(V5, "c").user(name, password)
}

/// Waits until the log has this text, and returns the log.
#[track_caller]
fn logged(broker: &Broker, text: &str) -> String {
    wait_for(text, || broker.log().contains(text).then(|| broker.log()))
}

#[test]
fn a_user_of_the_database_is_accepted_with_its_password_alone() {
    if peer::is_chosen() {
        return;
    }
    let database = database(&format!(
        "INSERT INTO mqtt_user VALUES ('emqx', '{EMQX}', 'salt'), ('null', NULL, NULL), ('broken', '{}', NULL), ('plain', 'sesam', NULL),
            ('twice', '{BCRYPT}', NULL), ('twice', '{BCRYPT}', NULL)",
        &BCRYPT[..50]
    ));
    let mut setup = setup(&format!("{}, {{ type = \"password-file\" }}", provider(&database, QUERY, "")))
        .users(&[("local", "sesam")]);
    setup.allow_anonymous = true;
    let broker = setup.start();
    for (name, password) in [
        ("bcrypt", "sesam"),
        ("go-auth", "sesam"),
        ("mosquitto", "sesam"),
        ("argon2id", "password"),
        ("emqx", "secret"),
        ("local", "sesam"),
    ] {
        for version in BOTH {
            let wrong = if version == V5 { REFUSED } else { 4 };
            let connect = |password: &str| Connect::new(version, "c").user(name, password);
            assert_eq!(code(&broker, &connect(password)), 0, "{name}");
            for other in ["", "Sesam", "falschgeheim"] {
                assert_eq!(code(&broker, &connect(other)), wrong, "{name} {other}");
            }
        }
    }
    for name in ["null", "broken", "plain", "twice", "unknown", ""] {
        assert_eq!(code(&broker, &user(name, "sesam")), REFUSED, "{name}");
    }
    let nameless = Connect { user: None, ..Connect::new(V5, "c") };
    assert_eq!(code(&broker, &nameless), 0, "who has no credentials is not its own");
    let log = logged(&broker, "several rows");
    for cause in ["several rows", "password_hash is NULL", "damaged", "must be hashed", "wrong password"] {
        assert!(log.contains(cause), "{cause}: {log}");
    }
    for secret in ["falschgeheim", PASSWORD, "$04$", EMQX] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn what_a_client_sends_is_never_a_part_of_the_query() {
    if peer::is_chosen() {
        return;
    }
    let names = [
        "' OR '1'='1",
        "'; DROP TABLE mqtt_user; --",
        "\" OR 1=1 --",
        "\\' OR 1=1 --",
        "bcrypt' --",
        "bcrypt'/*",
        "$1",
        "${username}",
        "$$",
        "%",
        "_crypt",
        "bcrypt ",
        " bcrypt",
        "BCRYPT",
        "bcrypt\u{200b}",
        "\u{1f980}\u{10ffff}",
        "%s%n",
        "E'\\x27'",
    ];
    let query = "SELECT password_hash FROM mqtt_user WHERE username = ${username} AND ${client_id} <> 'no' AND ${listener} <> 'no'";
    let database = database("");
    let broker = setup(&provider(&database, query, "")).start();
    for name in names {
        let connect = Connect::new(V5, name).user(name, name);
        assert_eq!(code(&broker, &connect), REFUSED, "{name}");
    }
    let long = "'".repeat(60_000);
    assert_ne!(code(&broker, &user(&long, &long)), 0);
    assert_eq!(code(&broker, &user("bcrypt", "sesam")), 0, "the table is still there");
    // A user with such a name is that user, and no other.
    for name in names {
        let quoted = name.replace('\'', "''");
        database.run(&format!("INSERT INTO mqtt_user VALUES ('{quoted}', '{BCRYPT}')"));
        let connect = Connect::new(V5, "c").user(name, "sesam");
        assert_eq!(code(&broker, &connect), 0, "{name}");
    }
    // NUL is no character of a user name. [MQTT-1.5.4-2]
    let mut wire = Wire::open(broker.address());
    wire.send(&user("bcrypt\0", "sesam").bytes());
    match wire.receive(Duration::from_secs(10)) {
        Received::Packet(packet) => assert_ne!(packet.reason_code(), 0),
        nothing @ (Received::Nothing | Received::Closed) => assert_eq!(nothing, Received::Closed),
    }
    let counted = database.run("SELECT count(*) FROM mqtt_user");
    assert_eq!(counted, (4 + names.len()).to_string());
}

#[test]
fn a_name_that_the_query_cannot_use_is_refused_and_harms_nobody() {
    if peer::is_chosen() {
        return;
    }
    let database = database(&format!(
        "CREATE TABLE device (id integer, password_hash text); INSERT INTO device VALUES (7, '{BCRYPT}')"
    ));
    let query = "SELECT password_hash FROM device WHERE id = ${username}";
    let broker = setup(&provider(&database, query, ", connections_max = 1")).start();
    for _ in 0..20 {
        for name in ["seven", "", "7; SELECT 1", "99999999999999999999"] {
            assert_eq!(code(&broker, &user(name, "sesam")), REFUSED, "{name}");
        }
        assert_eq!(code(&broker, &user("7", "sesam")), 0);
    }
    logged(&broker, "SQLSTATE 22P02");
    let opened = fs::read_to_string(database.path("log")).unwrap().matches("connection authorized: user=mqtt").count();
    assert_eq!(opened, 1, "the connection to the database is used again");
}

#[test]
fn rules_of_the_database_decide_what_a_client_may_do() {
    if peer::is_chosen() {
        return;
    }
    let rules = "INSERT INTO mqtt_acl VALUES ('bcrypt', 'allow', 'publish', 'up/%u/%c'), ('bcrypt', 'ALLOW', 'subscribe', 'down/%u/#'),
            ('bcrypt', 'allow', 'all', 'both/#'), ('bcrypt', 'deny', 'publish', 'both/secret'), ('bcrypt', 'deny', 'subscribe', 'both/%u'),
            ('argon2id', 'allow', 'read', 'a'), ('emqx', 'allow', 'all', 'a/#/b');
        INSERT INTO mqtt_acl SELECT 'mosquitto', 'allow', 'all', 'a/' || n FROM generate_series(1, 513) n;
        INSERT INTO mqtt_acl SELECT 'go-auth', 'allow', 'publish', 'a/' || n FROM generate_series(1, 1024) n;
        INSERT INTO mqtt_user VALUES ('emqx', '$EMQX', 'salt', false), ('chief', '$BCRYPT', NULL, true)";
    let database = database(&rules.replace("$EMQX", EMQX).replace("$BCRYPT", BCRYPT));
    let more = format!(", acl_query = {ACL_QUERY:?}");
    // The rules of the database replace those of the file.
    let broker = setup(&provider(&database, QUERY, &more)).access("pattern readwrite #\n").start();
    let address = broker.address();
    let mut device = Wire::connected(address, &Connect::new(V5, "c1").user("bcrypt", "sesam"));
    for (topic, expected) in [
        ("up/bcrypt/c1", 0),
        ("up/bcrypt/c2", 0x87),
        ("up/bcrypt", 0x87),
        ("down/bcrypt/a", 0x87),
        ("both/a", 0),
        ("both/secret", 0x87),
        ("both/bcrypt", 0),
        ("other", 0x87),
    ] {
        let code = device.publish(V5, topic, topic);
        assert_eq!(if code == 0x10 { 0 } else { code }, expected, "{topic}");
    }
    for (filter, expected) in
        [("down/bcrypt/#", 0), ("up/bcrypt/c1", 0x87), ("both/secret", 0), ("both/bcrypt", 0x87), ("other", 0x87)]
    {
        assert_eq!(device.subscribe(V5, filter, 0), expected, "{filter}");
    }
    let mut chief = Wire::connected(address, &Connect::new(V5, "c2").user("chief", "sesam"));
    assert!([0, 0x10].contains(&chief.publish(V5, "anything", "")));
    assert_eq!(chief.subscribe(V5, "#", 0), 0);
    // Rules that can't be used are not applied in part.
    for (name, password, cause) in [
        ("argon2id", "password", "an action is none of publish, subscribe and all"),
        ("emqx", "secret", "filter"),
        ("mosquitto", "sesam", "1024"),
    ] {
        assert_eq!(code(&broker, &user(name, password)), UNAVAILABLE, "{name}");
        logged(&broker, cause);
    }
    assert_eq!(code(&broker, &user("go-auth", "sesam")), 0, "1,024 rules");
}

#[test]
fn a_row_can_name_the_user_and_a_client_can_be_known_by_its_identifier() {
    if peer::is_chosen() {
        return;
    }
    let database = database(&format!("CREATE EXTENSION citext; CREATE TYPE kind AS ENUM ('allow', 'deny'); CREATE TYPE act AS ENUM ('all');
        CREATE TABLE device (name citext, secret character(70), level smallint, ip inet);
        INSERT INTO device VALUES ('Pump', '{BCRYPT}', 0, '127.0.0.1'), ('Chief', '{BCRYPT}', 2, '127.0.0.1'), ('Far', '{BCRYPT}', 0, '192.0.2.1');
        CREATE TABLE rule (permission kind, action act, topic varchar(100));
        INSERT INTO rule VALUES ('allow', 'all', 'of/%u')"));
    let query = "SELECT secret AS password_hash, name AS username, level AS is_superuser FROM device WHERE name = ${client_id} AND ip = ${address}";
    let more = ", acl_query = \"SELECT * FROM rule WHERE ${username} IN ('Pump', 'Far')\"";
    let broker = setup(&provider(&database, query, more)).start();
    let by_identifier = |id: &str| Connect { user: Some((String::new(), "sesam".into())), ..Connect::new(V5, id) };
    let mut pump = Wire::connected(broker.address(), &by_identifier("pump"));
    assert_eq!(pump.subscribe(V5, "of/Pump", 0), 0);
    assert_eq!(pump.subscribe(V5, "of/pump", 0), 0x87, "the user is what the row says");
    let mut chief = Wire::connected(broker.address(), &by_identifier("CHIEF"));
    assert_eq!(chief.subscribe(V5, "#", 0), 0);
    for id in ["far", "other"] {
        assert_eq!(code(&broker, &by_identifier(id)), REFUSED, "{id}");
    }
}

#[test]
fn a_slow_server_delays_its_own_clients_for_a_bounded_time() {
    if peer::is_chosen() {
        return;
    }
    let database = database("");
    let query =
        "SELECT password_hash FROM mqtt_user, LATERAL (SELECT CASE WHEN ${username} = 'slow' THEN pg_sleep(60) END) s
        WHERE username = ${username}";
    let query = query.replace('\n', " ");
    let more = ", timeout = \"1s\", connections_max = 2, requests_max = 8";
    let provider = provider(&database, &query, more);
    database.run(&format!("INSERT INTO mqtt_user VALUES ('slow', '{BCRYPT}')"));
    let broker = setup(&provider).start();
    let mut other = Wire::connected(broker.address(), &user("bcrypt", "sesam"));
    let started = now();
    assert_eq!(code(&broker, &user("slow", "sesam")), UNAVAILABLE);
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // More than there are connections, and than may be under way.
    let mut waiting: Vec<Wire> = (0..30)
        .map(|number| {
            let mut wire = Wire::open(broker.address());
            wire.send(&Connect::new(V5, &format!("slow-{number}")).user("slow", "sesam").bytes());
            wire
        })
        .collect();
    let started = now();
    other.ping();
    assert!(started.elapsed() < Duration::from_millis(700), "who is connected does not wait");
    let mut codes = BTreeSet::new();
    for wire in &mut waiting {
        codes.insert(wire.expect_any().reason_code());
    }
    assert!(codes.iter().all(|code| [UNAVAILABLE, 0x89].contains(code)), "{codes:x?}");
    wait_for("the next login", || (code(&broker, &user("bcrypt", "sesam")) == 0).then_some(()));
    let active = database.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'mqtt'").parse::<u32>().unwrap();
    assert!(active <= 2, "{active}");
    wait_for("the end of the queries", || {
        let active = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'mqtt' AND state = 'active'";
        (database.run(active) == "0").then_some(())
    });
    logged(&broker, "did not answer in time");
}

#[test]
fn a_server_that_is_gone_refuses_everyone_and_is_found_again() {
    if peer::is_chosen() {
        return;
    }
    let mut database = database("");
    let mut setup = setup(&format!("{}, {{ type = \"password-file\" }}", provider(&database, QUERY, "")))
        .users(&[("local", "sesam")]);
    setup.allow_anonymous = true;
    let broker = setup.start();
    let mut connected = Wire::connected(broker.address(), &Connect::new(V5, "stays").user("bcrypt", "sesam"));
    for _ in 0..2 {
        database.stop();
        for (name, password) in [("bcrypt", "sesam"), ("bcrypt", "wrong"), ("local", "sesam"), ("nobody", "")] {
            for version in BOTH {
                let connect = Connect::new(version, "c").user(name, password);
                assert_eq!(code(&broker, &connect), if version == V5 { UNAVAILABLE } else { 3 }, "{name}");
            }
        }
        assert_eq!(
            code(&broker, &Connect { user: None, ..Connect::new(V5, "anonymous") }),
            0,
            "who has no credentials is anonymous as always"
        );
        connected.ping();
        database.start_again();
        let started = now();
        wait_for("the database", || (code(&broker, &user("bcrypt", "sesam")) == 0).then_some(()));
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!(code(&broker, &user("bcrypt", "wrong")), REFUSED);
        assert_eq!(code(&broker, &user("local", "sesam")), 0);
    }
    // The server closes the connections, and a query that is under way.
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mqtt'");
    assert_eq!(code(&broker, &user("bcrypt", "sesam")), 0);
    connected.ping();
}

#[test]
fn a_connection_that_is_closed_within_a_query_is_replaced() {
    if peer::is_chosen() {
        return;
    }
    let database = database("");
    let query = "SELECT password_hash FROM mqtt_user, LATERAL (SELECT pg_sleep(1)) s WHERE username = ${username}";
    let broker = setup(&provider(&database, query, "")).start();
    let mut wire = Wire::open(broker.address());
    wire.send(&user("bcrypt", "sesam").bytes());
    // Not while it is prepared: that takes less.
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE usename = 'mqtt' AND state = 'active' AND query_start < now() - interval '200 ms'";
    wait_for("the query", || (database.run(terminate) == "1").then_some(()));
    assert_eq!(wire.expect_any().reason_code(), 0, "it is repeated once");
}

#[test]
fn a_query_that_is_wrong_is_named_in_the_log_and_refuses_until_it_is_right() {
    if peer::is_chosen() {
        return;
    }
    let database = database("");
    for (query, cause) in [
        ("SELECT password_hash FROM nothing WHERE username = ${username}", "relation \"nothing\" does not exist"),
        ("SELECT password_hash FROM mqtt_user WHERE nmae = ${username}", "column \"nmae\" does not exist"),
        ("SELEKT ${username}", "syntax error"),
        ("SELECT salt FROM mqtt_user WHERE username = ${username}", "it has no column password_hash"),
        ("SELECT password_hash, user FROM mqtt_user WHERE username = ${username}", "call it username"),
        ("SELECT 1 AS password_hash WHERE ${username} = 'a'", "its column password_hash has the type int4"),
        (
            "SELECT password_hash, 'x'::text AS superuser FROM mqtt_user WHERE username = ${username}",
            "its column superuser has the type text",
        ),
        ("DELETE FROM mqtt_user WHERE username = ${username}", "it has no column password_hash"),
        ("SELECT password_hash FROM mqtt_user WHERE username = ${username}; SELECT 1", "multiple commands"),
        (
            "DELETE FROM mqtt_user WHERE username = ${username} RETURNING password_hash",
            "permission denied for table mqtt_user",
        ),
    ] {
        let broker = setup(&provider(&database, query, "")).start();
        assert_eq!(code(&broker, &user("bcrypt", "sesam")), UNAVAILABLE, "{query}");
        logged(&broker, cause);
        // Corrected by a reload.
        let path = broker.path().join("oncemq.toml");
        let text = fs::read_to_string(&path).unwrap().replace(&format!("{query:?}"), &format!("{QUERY:?}"));
        fs::write(&path, text).unwrap();
        broker.signal("HUP");
        wait_for("the reload", || (code(&broker, &user("bcrypt", "sesam")) == 0).then_some(()));
    }
    assert_eq!(database.run("SELECT count(*) FROM mqtt_user"), "4");
    // What was right becomes wrong, and right again.
    let broker = setup(&provider(&database, QUERY, "")).start();
    assert_eq!(code(&broker, &user("bcrypt", "sesam")), 0);
    database.run("ALTER TABLE mqtt_user RENAME password_hash TO other");
    assert_eq!(code(&broker, &user("bcrypt", "sesam")), UNAVAILABLE);
    database.run("ALTER TABLE mqtt_user RENAME other TO password_hash");
    wait_for("the query", || (code(&broker, &user("bcrypt", "sesam")) == 0).then_some(()));
    database.run("ALTER TABLE mqtt_user ALTER password_hash TYPE varchar(200)");
    wait_for("the query", || (code(&broker, &user("bcrypt", "sesam")) == 0).then_some(()));
}

#[test]
fn a_thousand_logins_share_few_connections() {
    if peer::is_chosen() {
        return;
    }
    let database =
        database(&format!("INSERT INTO mqtt_user SELECT 'user-' || n, '{GO_AUTH}' FROM generate_series(1, 1000) n"));
    let broker = setup(&provider(&database, QUERY, "")).start();
    let address = broker.address();
    let wrong: usize = thread::scope(|scope| {
        let logins = (0..20).map(|part| {
            scope.spawn(move || {
                let names = (1..=50).map(|number| format!("user-{}", part * 50 + number));
                let codes = names
                    .map(|name| Wire::connect(address, &Connect::new(V5, &name).user(&name, "sesam")).1.reason_code());
                codes.filter(|code| *code != 0).count()
            })
        });
        logins.collect::<Vec<_>>().into_iter().map(|login| login.join().unwrap()).sum()
    });
    assert_eq!(wrong, 0);
    let connections =
        database.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'mqtt'").parse::<u32>().unwrap();
    assert!((1..=4).contains(&connections), "{connections}");
}

#[test]
fn a_reload_keeps_clients_of_the_same_database_and_closes_those_of_another_query() {
    if peer::is_chosen() {
        return;
    }
    let database = database("");
    let broker = setup(&provider(&database, QUERY, "")).start();
    let mut wire = Wire::connected(broker.address(), &user("bcrypt", "sesam"));
    let reload = || {
        let before = broker.log().len();
        broker.signal("HUP");
        wait_for("the reload", || broker.log()[before..].contains("reloaded the password file").then_some(()));
    };
    reload();
    wire.ping();
    let path = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("type = \"postgresql\"", "type = \"postgresql\", connections_max = 2")).unwrap();
    reload();
    wire.ping();
    let other = QUERY.replace("WHERE", "WHERE true AND");
    fs::write(&path, text.replace(QUERY, &other)).unwrap();
    broker.signal("HUP");
    wire.expect_disconnect(V5, 0x87);
    assert_eq!(code(&broker, &user("bcrypt", "sesam")), 0);
    // The connections to the database of providers that are gone are closed.
    wait_for("the connections", || {
        (database.run("SELECT count(*) < 5 FROM pg_stat_activity WHERE usename = 'mqtt'") == "t").then_some(())
    });
}

#[test]
fn large_rows_and_notices_without_end_use_little_memory() {
    if peer::is_chosen() {
        return;
    }
    let noise = "CREATE FUNCTION noise() RETURNS text LANGUAGE plpgsql AS $body$ BEGIN
            FOR n IN 1..2000000 LOOP RAISE NOTICE '%', repeat('x', 200); END LOOP; RETURN ''; END $body$";
    let database = database(noise);
    let query = "SELECT CASE ${username} WHEN 'large' THEN repeat('x', 100000000) WHEN 'noise' THEN noise() ELSE password_hash END AS password_hash
        FROM mqtt_user WHERE username = 'bcrypt'
        UNION ALL SELECT repeat('x', 1000) FROM generate_series(1, CASE ${username} WHEN 'many' THEN 1000000 ELSE 0 END)";
    let query = query.replace('\n', " ");
    let broker = setup(&provider(&database, &query, "")).start();
    assert_eq!(code(&broker, &user("bcrypt", "sesam")), 0);
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap()
    };
    let before = resident();
    for _ in 0..3 {
        for name in ["large", "noise", "many"] {
            assert_eq!(code(&broker, &user(name, "sesam")), UNAVAILABLE, "{name}");
            wait_for("the next login", || (code(&broker, &user("bcrypt", "sesam")) == 0).then_some(()));
        }
    }
    logged(&broker, "more than 1 MiB");
    let grown = resident() - before;
    assert!(grown < 20_000, "{grown} KiB");
}

#[test]
fn tls_verifies_the_server_and_the_role_needs_its_password() {
    if peer::is_chosen() {
        return;
    }
    let database = database("");
    let file = |name: &str| format!("{:?}", database.path(name).display().to_string());
    let with = |url: &str, more: &str| format!("{{ type = \"postgresql\", url = {url:?}, query = {QUERY:?}{more} }}");
    let password = format!(", password_file = {}", file("password"));
    let (by_name, by_address) = (database.url().replace("127.0.0.1", "localhost"), database.url());
    for url in [&by_name, &by_address] {
        let broker = setup(&with(url, &format!("{password}, ca = {}", file("ca.pem")))).start();
        assert_eq!(code(&broker, &user("bcrypt", "sesam")), 0);
        let encrypted = database
            .run("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'mqtt'");
        assert_eq!(encrypted, "t");
    }
    let socket = setup(&with(&database.socket_url(), "")).start();
    assert_eq!(code(&socket, &user("bcrypt", "sesam")), 0);
    fs::write(database.path("wrong"), "wrong").unwrap();
    for (more, cause) in [
        (format!("{password}, ca = {}", file("stranger-ca.pem")), "certificate"),
        (format!(", password_file = {}", file("wrong")), "password authentication failed for user"),
        (String::new(), "password missing"),
    ] {
        let broker = setup(&with(&by_address, &more)).start();
        assert_eq!(code(&broker, &user("bcrypt", "sesam")), UNAVAILABLE, "{more}");
        assert!(!logged(&broker, cause).contains(PASSWORD));
    }
}
