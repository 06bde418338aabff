//! Which Topic Names match which Topic Filters.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::packet::Packet;
use crate::wire::{Publish, Subscribe};

/// A subscriber and a publisher.
struct Pair {
    subscriber: Client,
    publisher: Client,
    /// A payload that only this case uses, because a filter such as `#` also matches other cases' messages.
    payload: String,
}

impl Pair {
    fn new(cx: &mut Context) -> Result<Self, Failure> {
        let subscriber = cx.client("subscriber")?;
        let publisher = cx.client("publisher")?;
        Ok(Self { subscriber, publisher, payload: cx.topic("payload") })
    }

    /// A subscription to `filter` must receive the messages of `expected`, a subset of `names`, in the order of the
    /// names.
    fn check(&mut self, filter: &str, names: &[String], expected: &[String]) -> Outcome {
        // QoS 1, because a broker may drop QoS 0 messages under the load of other cases.
        self.subscriber.subscribe(filter, 1)?;
        for name in names {
            self.publisher.publish(Publish::new(name, &self.payload).qos(1))?;
        }
        let came = self.own_messages()?;
        self.subscriber.unsubscribe(filter)?;
        check_equal(&format!("the list of Topic Names that {filter:?} matches"), came, expected.to_vec())
    }

    fn own_messages(&mut self) -> Result<Vec<String>, Failure> {
        let messages = self.subscriber.messages_until_marker(&mut self.publisher)?;
        let own = messages.iter().filter(|message| message.payload == self.payload);
        Ok(own.map(|message| message.topic.to_text()).collect())
    }
}

/// Topics below `t`, including empty levels.
const NAMES: [&str; 11] = ["t", "t/", "t/a", "t/a/", "t/a/b", "t//a", "t/b", "t/a/b/c", "t/$a", "t/A", "t/a b"];

const MATCHES: [(&str, &[&str]); 18] = [
    ("t/#", &NAMES),
    ("t", &["t"]),
    ("t/", &["t/"]),
    ("t/+", &["t/", "t/a", "t/b", "t/$a", "t/A", "t/a b"]),
    ("t/a", &["t/a"]),
    ("t/a/", &["t/a/"]),
    ("t/a/#", &["t/a", "t/a/", "t/a/b", "t/a/b/c"]),
    ("t/a/+", &["t/a/", "t/a/b"]),
    ("t/a/+/+", &["t/a/b/c"]),
    ("t/a/+/#", &["t/a/", "t/a/b", "t/a/b/c"]),
    ("t/a/+/c", &["t/a/b/c"]),
    ("t/+/b", &["t/a/b"]),
    ("t/+/b/#", &["t/a/b", "t/a/b/c"]),
    ("t/+/a", &["t//a"]),
    ("t//#", &["t/", "t//a"]),
    ("t//+", &["t//a"]),
    ("t/+/+", &["t/a/", "t/a/b", "t//a"]),
    ("t/+/+/+/#", &["t/a/b/c"]),
];

fn topics(cx: &Context, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| cx.topic(name)).collect()
}

pub(super) fn wildcards(cx: &mut Context) -> Outcome {
    let mut pair = Pair::new(cx)?;
    for (filter, expected) in MATCHES {
        pair.check(&cx.topic(filter), &topics(cx, &NAMES), &topics(cx, expected))?;
    }
    Ok(())
}

pub(super) fn wildcards_and_retained_messages(cx: &mut Context) -> Outcome {
    let mut pair = Pair::new(cx)?;
    for name in topics(cx, &NAMES) {
        pair.publisher.publish(Publish::new(&name, &pair.payload).qos(1).retain())?;
    }
    for (filter, expected) in MATCHES {
        pair.subscriber.subscribe(&cx.topic(filter), 1)?;
        let mut came = pair.own_messages()?;
        pair.subscriber.unsubscribe(&cx.topic(filter))?;
        let mut expected = topics(cx, expected);
        came.sort_unstable();
        expected.sort_unstable();
        check_equal(&format!("the list of retained topics that {filter:?} matches"), came, expected)?;
    }
    Ok(())
}

pub(super) fn leading_wildcards(cx: &mut Context) -> Outcome {
    let mut pair = Pair::new(cx)?;
    // A first level that no other case uses.
    let own = cx.client_id("");
    let name = |text: &str| text.replace('~', &own);
    let names: Vec<String> = ["~", "/~", "/~/", "a/~", "a/~/b", "/", "/$~", "a/$~"].map(name).to_vec();
    let matches: [(&str, &[&str]); 11] = [
        ("#", &["~", "/~", "/~/", "a/~", "a/~/b", "/", "/$~", "a/$~"]),
        ("+", &["~"]),
        ("/+", &["/~", "/", "/$~"]),
        ("/#", &["/~", "/~/", "/", "/$~"]),
        ("+/+", &["/~", "a/~", "/", "/$~", "a/$~"]),
        ("+/#", &["~", "/~", "/~/", "a/~", "a/~/b", "/", "/$~", "a/$~"]),
        ("+/~", &["/~", "a/~"]),
        ("+/~/#", &["/~", "/~/", "a/~", "a/~/b"]),
        ("+/+/b", &["a/~/b"]),
        ("+/~/+", &["/~/", "a/~/b"]),
        ("+/$~", &["/$~", "a/$~"]),
    ];
    for (filter, expected) in matches {
        let expected: Vec<String> = expected.iter().copied().map(name).collect();
        pair.check(&name(filter), &names, &expected)?;
    }
    Ok(())
}

pub(super) fn shortest_topics(cx: &mut Context) -> Outcome {
    let mut pair = Pair::new(cx)?;
    let names = ["a", "/", "//", " ", "é"].map(str::to_owned);
    for name in &names {
        pair.check(name, &names, std::slice::from_ref(name))?;
    }
    Ok(())
}

pub(super) fn no_normalization(cx: &mut Context) -> Outcome {
    const NAMES: [&str; 23] = [
        "a",
        "A",
        " a",
        "a ",
        "a\u{A0}",
        "a/b",
        "a//b",
        "/a/b",
        "a/b/",
        "a/./b",
        "a/../b",
        "a\\b",
        "a%2Fb",
        "*",
        "?",
        // é as one and as two code points; the letter Å and the Ångström sign; ß and its capital form.
        "\u{E9}",
        "e\u{301}",
        "\u{C5}",
        "\u{212B}",
        "\u{DF}",
        "SS",
        // The replacement character, and one beyond 16 bits.
        "\u{FFFD}",
        "\u{1F600}",
    ];
    let mut pair = Pair::new(cx)?;
    let names = topics(cx, &NAMES);
    for name in &names {
        pair.check(name, &names, std::slice::from_ref(name))?;
    }
    Ok(())
}

pub(super) fn new_topic(cx: &mut Context) -> Outcome {
    let mut subscriber = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    for topic in [cx.topic("new"), cx.topic("new/and/deeper")] {
        let suback = subscriber.subscribe_with(Subscribe::new(&topic, 0))?;
        let granted = suback.reasons.iter().all(|code| *code <= 2);
        publisher.send(Publish::new(&topic, "payload").qos(1).packet_id(1))?;
        let answer = publisher.receive_or_close()?;
        let Some(Packet::Ack(ack)) = answer else {
            return check(answer.is_none(), "PUBACK, or the end of the connection", format!("{answer:?}"));
        };
        if granted && ack.reason_code() < 0x80 && cx.version().is_v5() {
            subscriber.expect_message(&topic, "payload")?;
        } else {
            // A 3.1.1 client gets no response to a refused message.
            let messages = subscriber.messages_until_marker(&mut publisher)?;
            check(granted || messages.is_empty(), "nothing without a subscription", format!("{messages:?}"))?;
        }
    }
    Ok(())
}
