//! `oncemq pub` and `oncemq sub`, and mosquitto's clients, against OnceMQ and mosquitto.

use std::process::Command;

use crate::process::{Broker, Done, Running, oncemq, wait_for};

/// Clients of one make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    OnceMq,
    Mosquitto,
}

impl Make {
    pub(crate) fn publisher(self, broker: &Broker, arguments: &[&str]) -> Command {
        self.command(["pub", "mosquitto_pub"], broker, arguments)
    }

    pub(crate) fn subscriber(self, broker: &Broker, arguments: &[&str]) -> Command {
        self.command(["sub", "mosquitto_sub"], broker, arguments)
    }

    fn command(self, [ours, theirs]: [&str; 2], broker: &Broker, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::OnceMq => oncemq(),
            Self::Mosquitto => Command::new(theirs),
        };
        if self == Self::OnceMq {
            command.arg(ours);
        }
        command.args(broker.target()).args(arguments);
        command
    }
}

/// Publishes with `oncemq pub`.
#[track_caller]
pub(crate) fn publish(broker: &Broker, arguments: &[&str]) -> Done {
    Running::start(Make::OnceMq.publisher(broker, arguments)).end()
}

/// Subscribes with `oncemq sub` to the end.
#[track_caller]
pub(crate) fn subscribe(broker: &Broker, arguments: &[&str]) -> Done {
    Running::start(Make::OnceMq.subscriber(broker, arguments)).end()
}

/// Starts a subscriber, and publishes retained messages to `ready` until it prints one, so that it has subscribed.
#[track_caller]
fn subscribed(make: Make, broker: &Broker, arguments: &[&str]) -> Running {
    assert_eq!(publish(broker, &["-t", "ready", "-m", "ready", "-r", "-q", "1"]).code, 0);
    let mut command = make.subscriber(broker, arguments);
    command.args(["-t", "ready", "-t", "data/#"]);
    let mut subscriber = Running::start(command);
    wait_for("the subscription", || {
        assert!(subscriber.is_running());
        subscriber.has_output()
    });
    subscriber
}

#[track_caller]
fn exchange(broker: &Broker, version: &str) {
    for qos in ["0", "1", "2"] {
        for (publisher, subscriber) in
            [(Make::OnceMq, Make::OnceMq), (Make::OnceMq, Make::Mosquitto), (Make::Mosquitto, Make::OnceMq)]
        {
            let what = format!("{publisher:?} to {subscriber:?}, version {version}, QoS {qos}");
            let arguments = ["-V", version, "-q", qos, "-C", "4", "-F", "%t %q %r %l %x %p"];
            let running = subscribed(subscriber, broker, &arguments);
            for payload in ["one", "", "d\u{e9}j\u{e0} vu"] {
                let arguments = ["-V", version, "-q", qos, "-t", "data/a", "-m", payload];
                let done = Running::start(publisher.publisher(broker, &arguments)).end();
                assert_eq!(done.code, 0, "{what}: {done:?}");
            }
            let output = running.end().succeeded();
            let expected = [
                format!("ready {} 1 5 7265616479 ready", qos.min("1")),
                format!("data/a {qos} 0 3 6f6e65 one"),
                format!("data/a {qos} 0 0  "),
                format!("data/a {qos} 0 9 64c3a96ac3a0207675 d\u{e9}j\u{e0} vu"),
            ];
            assert_eq!(output.lines().collect::<Vec<_>>(), expected, "{what}");
        }
    }
}

#[test]
fn messages_pass_in_every_version_at_every_qos() {
    let broker = Broker::start(&[]);
    for version in ["mqttv5", "mqttv311", "mqttv31"] {
        exchange(&broker, version);
    }
}

#[test]
fn messages_pass_through_mosquitto() {
    let broker = Broker::mosquitto();
    for version in ["mqttv5", "mqttv311"] {
        exchange(&broker, version);
    }
}
