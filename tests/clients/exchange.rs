//! Basic exchanges with mosquitto's clients, in each version.

use crate::broker::Setup;
use crate::deadline::wait_for;
use crate::mosquitto::{Message, Subscriber, create_session, message, publish, publish_lines};

const VERSIONS: [&str; 3] = ["31", "311", "5"];

#[test]
fn the_lower_qos_of_publisher_and_subscriber_arrives() {
    let broker = Setup::default().start();
    for version in VERSIONS {
        for (granted, qos) in [(0, "0"), (1, "1"), (2, "2")] {
            let mut subscriber = Subscriber::start(&broker, &["-V", version, "-t", "qos/+", "-q", qos]);
            for (published, qos) in [(0, "0"), (1, "1"), (2, "2")] {
                publish(&broker, &["-V", version, "-t", "qos/x", "-m", "hello", "-q", qos]);
                assert_eq!(subscriber.next(), message("qos/x", "hello", granted.min(published)));
            }
        }
    }
}

#[test]
fn clients_of_both_versions_exchange_messages() {
    let broker = Setup::default().start();
    let mut subscribers = VERSIONS.map(|version| Subscriber::start(&broker, &["-V", version, "-t", "#", "-q", "2"]));
    for version in VERSIONS {
        publish(&broker, &["-V", version, "-t", "versions", "-m", version, "-q", "2"]);
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next(), message("versions", version, 2));
        }
    }
}

#[test]
fn order_is_kept_at_each_qos() {
    let broker = Setup::default().start();
    let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
    for qos in ["0", "1", "2"] {
        let mut subscriber = Subscriber::start(&broker, &["-V", "5", "-t", "order", "-q", qos]);
        publish_lines(&broker, &["-V", "5", "-t", "order", "-q", qos], &lines);
        for number in 0..500 {
            assert_eq!(subscriber.next().payload, number.to_string());
        }
    }
}

#[test]
fn a_large_payload_arrives_whole() {
    let broker = Setup::default().start();
    let payload: String = (0..200_000).map(|number| char::from(b'a' + u8::try_from(number % 26).unwrap())).collect();
    let file = broker.path().join("payload");
    std::fs::write(&file, &payload).unwrap();
    let mut subscriber = Subscriber::start(&broker, &["-t", "large", "-q", "2"]);
    publish(&broker, &["-t", "large", "-q", "2", "-f", file.to_str().unwrap()]);
    assert_eq!(subscriber.next().payload, payload);
}

#[test]
fn retained_messages_are_kept_replaced_and_cleared() {
    let broker = Setup::default().start();
    for version in VERSIONS {
        let topic = format!("retained/{version}");
        let retained = |payload: &str| Message { retain: true, ..message(&topic, payload, 1) };
        for payload in ["first", "second"] {
            publish(&broker, &["-V", version, "-t", &topic, "-m", payload, "-q", "1", "-r"]);
            let mut late = Subscriber::start(&broker, &["-V", version, "-t", "retained/#", "-q", "2"]);
            assert_eq!(late.next(), retained(payload));
            publish(&broker, &["-V", version, "-t", &topic, "-m", "live", "-q", "1"]);
            assert_eq!(late.next(), message(&topic, "live", 1));
        }
        publish(&broker, &["-V", version, "-t", &topic, "-n", "-q", "1", "-r"]);
        let mut late = Subscriber::start(&broker, &["-V", version, "-t", "retained/#", "-q", "2"]);
        publish(&broker, &["-V", version, "-t", &topic, "-m", "after", "-q", "1"]);
        assert_eq!(late.next(), message(&topic, "after", 1));
    }
}

#[test]
fn a_will_is_published_after_a_kill_and_not_after_disconnect() {
    let broker = Setup::default().start();
    for version in VERSIONS {
        let mut watcher = Subscriber::start(&broker, &["-V", version, "-t", "will/#", "-q", "2"]);
        let will = ["--will-topic", "will/x", "--will-payload", "gone", "--will-qos", "1"];
        let arguments = [&["-V", version, "-t", "unused"], &will[..]].concat();
        let mut polite = Subscriber::start(&broker, &[&arguments[..], &["-E"]].concat());
        assert!(polite.end().success());
        Subscriber::start(&broker, &arguments).kill();
        assert_eq!(watcher.next(), message("will/x", "gone", 1));
        publish(&broker, &["-t", "will/end", "-m", "end", "-q", "1"]);
        assert_eq!(watcher.next().topic, "will/end");
    }
}

#[test]
fn a_retained_will_is_retained() {
    let broker = Setup::default().start();
    let will = ["--will-topic", "will/kept", "--will-payload", "gone", "--will-qos", "1", "--will-retain"];
    let mut watcher = Subscriber::start(&broker, &["-t", "will/kept", "-q", "1"]);
    Subscriber::start(&broker, &[&["-t", "unused"], &will[..]].concat()).kill();
    assert_eq!(watcher.next(), message("will/kept", "gone", 1));
    let mut late = Subscriber::start(&broker, &["-t", "will/kept", "-q", "1"]);
    assert_eq!(late.next(), Message { retain: true, ..message("will/kept", "gone", 1) });
}

#[test]
fn a_session_receives_messages_that_arrived_while_its_client_was_offline() {
    let broker = Setup::default().start();
    for (version, expiry) in [("31", &[][..]), ("311", &[]), ("5", &["-x", "3600"])] {
        let name = format!("away-{version}");
        let session = [&["-V", version, "-i", &name, "-q", "2"], expiry].concat();
        create_session(&broker, &[&session[..], &["-t", "away/#"]].concat());
        for qos in ["1", "2"] {
            publish_lines(&broker, &["-V", version, "-t", "away/x", "-q", qos], "a\nb\nc\n");
        }
        let mut back = Subscriber::start(&broker, &[&session[..], &["-c", "-t", "away/#"]].concat());
        let received: Vec<Message> = (0..6).map(|_| back.next()).collect();
        for (qos, arrived) in [(1, "a b c"), (2, "a b c")] {
            let payloads: Vec<&str> =
                received.iter().filter(|message| message.qos == qos).map(|message| message.payload.as_str()).collect();
            assert_eq!(payloads.join(" "), arrived, "QoS {qos}, version {version}");
        }
        publish(&broker, &["-t", "away/x", "-m", "live", "-q", "1"]);
        assert_eq!(back.next(), message("away/x", "live", 1));
    }
}

#[test]
fn a_clean_session_is_discarded() {
    let broker = Setup::default().start();
    for (version, expiry) in [("311", &[][..]), ("5", &["-x", "3600"])] {
        let session = [&["-V", version, "-i", "forgetful", "-q", "1"], expiry].concat();
        create_session(&broker, &[&session[..], &["-t", "old"]].concat());
        publish(&broker, &["-t", "old", "-m", "lost", "-q", "1"]);
        let mut clean = Subscriber::start(&broker, &["-V", version, "-i", "forgetful", "-q", "1", "-t", "new"]);
        publish(&broker, &["-t", "old", "-m", "not subscribed", "-q", "1"]);
        publish(&broker, &["-t", "new", "-m", "subscribed", "-q", "1"]);
        assert_eq!(clean.next(), message("new", "subscribed", 1));
    }
}

#[test]
fn each_message_of_a_shared_subscription_goes_to_one_member() {
    let broker = Setup::default().start();
    for version in ["311", "5"] {
        let arguments = ["-V", version, "-t", "$share/workers/jobs/+", "-q", "1"];
        let members = [(); 2].map(|()| Subscriber::start(&broker, &arguments));
        let everything = Subscriber::start(&broker, &["-V", version, "-t", "jobs/#", "-q", "1"]);
        let lines: String = (0..200).map(|number| format!("{number:03}\n")).collect();
        publish_lines(&broker, &["-V", version, "-t", "jobs/x", "-q", "1"], &lines);
        wait_for("all messages", || (everything.messages().len() == 200).then_some(()));
        let shares = wait_for("all shares", || {
            let shares = members.each_ref().map(Subscriber::messages);
            (shares.concat().len() >= 200).then_some(shares)
        });
        assert!(shares.iter().all(|share| !share.is_empty()), "one member got everything");
        assert!(shares.iter().all(|share| share.is_sorted()), "a member got messages out of order");
        let mut together = shares.concat();
        together.sort();
        assert_eq!(together, everything.messages());
    }
}

#[test]
fn wildcards_match_levels() {
    let broker = Setup::default().start();
    let arguments = ["-t", "w/+/c", "-t", "w/deep/#", "-t", "+/single", "-q", "1"];
    let mut subscriber = Subscriber::start(&broker, &arguments);
    for (topic, matches) in [
        ("w/b/c", true),
        ("w//c", true),
        ("w/b/d", false),
        ("w/deep", true),
        ("w/deep/er/still", true),
        ("w/deeper", false),
        ("x/single", true),
        ("/single", true),
        ("x/y/single", false),
        ("w/end/c", true),
    ] {
        publish(&broker, &["-t", topic, "-m", "x", "-q", "1"]);
        if matches {
            assert_eq!(subscriber.next(), message(topic, "x", 1));
        }
    }
    assert_eq!(subscriber.messages().len(), 7);
}
