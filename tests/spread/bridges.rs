//! Bridges and sinks in a cluster with cells: each runs at the node that owns the cell of its Session, and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::thread;

use oncemq::routing::CellId;
use serde_json::Value;
use wire::{Connect, PUBREC, Publish, Version};

use crate::client::{Client, PATIENCE, connected};
use crate::http_service::{Asked, HttpService, Response};
use crate::messages::{NUMBERS, expect_numbers, id_of, publish};
use crate::nodes::{CELLS, Nodes};
use crate::others::Other;

/// Bridges and a sink that the nodes 0 and 2 get by a reload, most of them in cells of node 2; and what they are connected to.
struct Attendants {
    mosquitto: Other,
    oncemq: Other,
    /// It does not run before node 2 is killed.
    late: Other,
    service: HttpService,
    collector: HttpService,
    names: Names,
}

/// The names of all of them.
struct Names {
    mosquitto: String,
    oncemq: String,
    /// A second bridge to the same broker, in a cell of node 0.
    ring: String,
    late: String,
    sink: String,
}

/// The nodes 0 and 2 run. Node 2 is killed while messages pass: none is lost, and none that OnceMQ sends at QoS 2 comes twice.
pub(crate) fn bridges_and_sinks_go_on_at_another_node(nodes: &mut Nodes) {
    nodes.wait_for_shares(&[(0, 3), (2, 3)]);
    let mut attendants = Attendants::start(nodes);
    attendants.are_shown_by(nodes, &[0, 2]);
    let sent = |node: usize| nodes.log(node).matches("sends messages to http").count();
    assert_eq!([sent(0), sent(2)], [0, 1], "the sink runs at one node");
    attendants.tell_their_states_in_each_cell(nodes);
    attendants.take_what_another_broker_passes(nodes, "before");
    attendants.pass_nothing_on_in_a_ring(nodes);
    connected(nodes.address(0), &Connect::new(Version::V5, "c"))
        .publish(&Publish { qos: 2, ..Publish::new("late/x", "x") });

    let Attendants { mosquitto, oncemq, service, .. } = &attendants;
    let addresses = [nodes.address(0), nodes.address(2)];
    let topics = [0, 2, 4].map(|cell| (id_of(cell, "bridged"), format!("out/{cell}")));
    let (acknowledged, acknowledgements) = sync_channel(usize::from(NUMBERS) * 5);
    thread::scope(|scope| {
        for other in [mosquitto, oncemq] {
            let subscriber = subscribed(&[other.address], ("there", "out/#", 2));
            scope.spawn(move || expect_numbers(subscriber, &[other.address], 3));
        }
        // mosquitto sends a message of QoS 2 again after PUBCOMP when the connection of a bridge breaks.
        for (filter, qos) in [("in/mosquitto", 1), ("in/oncemq", 2)] {
            let subscriber = subscribed(&addresses, (&id_of(1, filter), filter, qos));
            scope.spawn(move || expect_numbers(subscriber, &addresses, 1));
        }
        for (id, topic) in &topics {
            let acknowledged = acknowledged.clone();
            scope.spawn(move || publish(&addresses, &Connect::durable(Version::V311, id), (topic, 2), &acknowledged));
        }
        for (other, topic) in [(mosquitto, "in/mosquitto"), (oncemq, "in/oncemq")] {
            let acknowledged = acknowledged.clone();
            let connect = Connect::durable(Version::V311, "publisher");
            scope.spawn(move || publish(&[other.address], &connect, (topic, 2), &acknowledged));
        }
        drop(acknowledged);
        let before = acknowledgements.iter().take(usize::from(NUMBERS)).count();
        nodes.kill(2);
        assert_eq!(before + acknowledgements.iter().count(), usize::from(NUMBERS) * 5);
    });
    let expected = topics.iter().map(|(_, topic)| topic.as_str());
    nodes.wait("what the sink sends", |_| has_all(service, expected.clone()).then_some(()));
    attendants.are_shown_by(nodes, &[0]);
    assert_eq!(nodes.log(0).matches("sends messages to http").count(), 1);
    attendants.take_what_another_broker_passes(nodes, "after");
    attendants.release_what_the_late_broker_has();
    attendants.have_made_traces(nodes);
}

/// Messages pass in both directions at QoS 2 while a node after the other is killed, and cells move to those that have come back.
pub(crate) fn none_is_lost_or_doubled_in(rounds: usize) {
    let (mut nodes, oncemq) = (Nodes::start(3), Other::oncemq());
    nodes.wait_for_shares(&[(0, 2), (1, 2), (2, 2)]);
    let bridges = (0..6).map(|number| {
        let topics = [(&*format!("out/{number}/#"), "out"), (&format!("in/{number}/#"), "in")];
        bridge(&format!("b{number}"), &oncemq, &topics)
    });
    nodes.reload(&[0, 1, 2], &bridges.collect::<String>());
    // What is published before is not for a bridge.
    nodes.wait("a bridge that is connected", |nodes| {
        let answer = nodes.ask(0, "/bridges");
        let connected = answer["bridges"].as_array()?.iter().filter(|bridge| bridge["connected"] == true);
        (connected.count() == 6).then_some(())
    });
    for round in 0..rounds {
        let dies = round % 3;
        let addresses = [1, 2, 0].map(|next| nodes.address((dies + next) % 3));
        let there = [oncemq.address];
        let sides = [(&addresses[..], &there[..], "out"), (&there[..], &addresses[..], "in")];
        let (acknowledged, acknowledgements) = sync_channel(usize::from(NUMBERS) * 12);
        thread::scope(|scope| {
            for (from, to, direction) in sides {
                let filter = format!("{direction}/+/{round}");
                let subscriber = subscribed(to, (&format!("{direction}-{round}"), &filter, 2));
                scope.spawn(move || expect_numbers(subscriber, to, 6));
                for number in 0..6 {
                    let (topic, acknowledged) = (format!("{direction}/{number}/{round}"), acknowledged.clone());
                    let connect = Connect::durable(Version::V311, &format!("{direction}-{number}-{round}"));
                    scope.spawn(move || publish(from, &connect, (&topic, 2), &acknowledged));
                }
            }
            drop(acknowledged);
            let before = acknowledgements.iter().take(usize::from(NUMBERS) * (1 + round % 7)).count();
            nodes.kill(dies);
            let after = acknowledgements.iter().count();
            assert_eq!(before + after, usize::from(NUMBERS) * 12);
            println!("round {round}: node {dies} was killed behind {before} of {} acknowledgements", before + after);
        });
        nodes.start_again(dies);
        nodes.wait("a node that is back", |nodes| (nodes.owners(dies).len() == CELLS).then_some(()));
    }
}

/// A client with a Session that stays.
fn subscribed(addresses: &[SocketAddr], (id, filter, qos): (&str, &str, u8)) -> Client {
    let mut client = connected(addresses[0], &Connect::durable(Version::V5, id));
    client.subscribe(filter, qos);
    client
}

/// A bridge for these filters and directions.
fn bridge(name: &str, other: &Other, topics: &[(&str, &str)]) -> String {
    let topic = |(filter, direction)| format!("{{ filter = {filter:?}, direction = {direction:?} }}");
    format!(
        "[[bridges]]\nname = {name:?}\naddresses = [\"mqtt://{}\"]\nbackoff_min = \"100ms\"\nbackoff_max = \"500ms\"\n\
         topics = [{}]\n",
        other.address,
        topics.iter().copied().map(topic).collect::<Vec<_>>().join(", ")
    )
}

impl Attendants {
    fn start(nodes: &Nodes) -> Self {
        let (mosquitto, oncemq, mut late) = (Other::mosquitto(nodes.address(0)), Other::oncemq(), Other::oncemq());
        let [service, collector] = [(); 2].map(|()| HttpService::start(|_| Response::ok("")));
        let owners = nodes.owners(0);
        let name = |kind: &str, begin: &str, node: &str| {
            let is_of_node = |name: &String| {
                let CellId(cell) = CellId::of_client(&format!("${kind}/{name}"), 6);
                owners[usize::from(cell)].as_deref() == Some(node)
            };
            (0..).map(|number| format!("{begin}-{number}")).find(is_of_node).unwrap()
        };
        let names = Names {
            mosquitto: name("bridge", "mosquitto", "n2"),
            oncemq: name("bridge", "oncemq", "n2"),
            ring: name("bridge", "ring", "n0"),
            late: name("bridge", "late", "n2"),
            sink: name("sink", "hook", "n2"),
        };
        let sink = format!(
            "[[sinks]]\nname = {:?}\ntype = \"webhook\"\nfilters = [\"out/#\"]\nurl = {:?}\nallow_private_addresses = true\n\
             retry_min = \"50ms\"\nretry_max = \"200ms\"\n",
            names.sink,
            service.url("/")
        );
        let traces = format!("[telemetry]\nendpoint = {:?}\nsampling_ratio = 0.1\n", collector.url(""));
        // It has received a message from a bridge of this name, which has lost its Session and gives its next message the same Packet Identifier.
        let mut before = connected(late.address, &Connect::durable(Version::V5, &format!("oncemq-{}", names.late)));
        before.send(&Publish { qos: 2, packet_id: 1, ..Publish::new("late/x", "lost") }.bytes(Version::V5));
        assert_eq!(before.receive(PATIENCE).unwrap().kind(), PUBREC);
        // QoS 2 messages were accepted when they arrived, so only what comes later gets there.
        connected(late.address, &Connect::durable(Version::V5, "there")).subscribe("late/#", 2);
        late.kill();
        let bridges = [
            bridge(&names.mosquitto, &mosquitto, &[("out/#", "out"), ("in/mosquitto", "in")]),
            bridge(&names.oncemq, &oncemq, &[("out/#", "out"), ("in/oncemq", "in"), ("ring/#", "both")]),
            bridge(&names.ring, &oncemq, &[("ring/#", "both")]),
            bridge(&names.late, &late, &[("late/#", "out")]),
        ];
        nodes.reload(&[0, 2], &(bridges.concat() + &sink + &traces));
        Self { mosquitto, oncemq, late, service, collector, names }
    }

    /// Each of these nodes shows all of them, as they are at the node that runs them.
    fn are_shown_by(&self, nodes: &Nodes, alive: &[usize]) {
        let Names { mosquitto, oncemq, ring, late, sink } = &self.names;
        for node in alive {
            nodes.wait("a bridge that is connected, or a sink", |nodes| {
                let states = |list: &str, state: &str| {
                    let answer = nodes.ask(*node, &format!("/{list}"));
                    let state = |one: &Value| Some((one["name"].as_str()?.to_owned(), one[state].clone()));
                    answer[list].as_array().map(|all| all.iter().filter_map(state).collect::<Vec<_>>())
                };
                let connected = |name: &String| (name.clone(), (name != late).into());
                let expected = [mosquitto, oncemq, ring, late].map(connected);
                let is_so = states("bridges", "connected")? == expected
                    && states("sinks", "state")? == [(sink.clone(), "well".into())];
                is_so.then_some(())
            });
            assert_eq!(nodes.ask(*node, &format!("/bridges/{oncemq}"))["state"], "connected");
            assert_eq!(nodes.ask(*node, &format!("/sinks/{sink}"))["configuration"]["filters"][0], "out/#");
            assert_eq!(nodes.request(*node, "GET /bridges/none", "").unwrap().0, 404);
        }
    }

    /// The state of a bridge is a retained message, as others are.
    fn tell_their_states_in_each_cell(&self, nodes: &Nodes) {
        let topic = format!("$SYS/broker/connection/oncemq-{}/state", self.names.oncemq);
        for cell in 0..CELLS {
            let mut watcher = connected(nodes.address(0), &Connect::new(Version::V5, &id_of(cell, "state")));
            watcher.subscribe(&topic, 1);
            // It may come before what follows "0".
            while watcher.message().payload != b"1" {}
        }
    }

    /// Two bridges to one broker, in cells of two nodes: each passes a message on to it, which comes back to the other one.
    fn pass_nothing_on_in_a_ring(&self, nodes: &Nodes) {
        let mut client = connected(nodes.address(0), &Connect::new(Version::V5, "ring"));
        client.subscribe("ring/#", 2);
        client.publish(&Publish { qos: 2, ..Publish::new("ring/x", "x") });
        nodes.wait("a message that has come back", |nodes| {
            let looped = |name: &String| nodes.ask(0, &format!("/bridges/{name}"))["dropped"]["looped"].as_u64();
            (looped(&self.names.oncemq)? + looped(&self.names.ring)? == 2).then_some(())
        });
        assert_eq!(client.messages_there().len(), 1);
    }

    /// Node 2, which had the bridge, was killed before it was connected.
    fn release_what_the_late_broker_has(&mut self) {
        self.late.start_again();
        // It was subscribed before.
        let mut subscriber = connected(self.late.address, &Connect::durable(Version::V5, "there"));
        assert_eq!(subscriber.message().payload, b"x");
    }

    /// The cell of a publisher makes a trace of its message, and so does the cell of a bridge of what the bridge gets.
    fn have_made_traces(&self, nodes: &Nodes) {
        for words in ["bridged", &format!("$bridge/{}", self.names.oncemq)] {
            let has = |asked: &Asked| asked.bytes.windows(words.len()).any(|window| window == words.as_bytes());
            nodes.wait(&format!("a span with {words}"), |_| {
                self.collector.asked().iter().find_map(|asked| has(asked).then_some(()))
            });
        }
    }

    /// mosquitto has a bridge of its own to node 0.
    fn take_what_another_broker_passes(&self, nodes: &Nodes, payload: &str) {
        let client = |address, id: &str| connected(address, &Connect::new(Version::V311, id));
        let (mut here, mut there) = (client(nodes.address(0), "here"), client(self.mosquitto.address, "up-and-down"));
        here.subscribe("up/#", 2);
        there.subscribe("down/#", 2);
        there.publish(&Publish { qos: 2, ..Publish::new("up/x", payload) });
        here.publish(&Publish { qos: 2, ..Publish::new("down/x", payload) });
        for client in [&mut here, &mut there] {
            assert_eq!(String::from_utf8(client.message().payload).unwrap(), payload);
        }
    }
}

/// Whether the service has got all numbers of these topics. What it has got more than once has one identity.
fn has_all<'a>(service: &HttpService, topics: impl Iterator<Item = &'a str>) -> bool {
    let mut ids = BTreeMap::new();
    for asked in service.asked() {
        let [topic, payload, id] = ["topic", "payload", "id"].map(|field| asked.field(field).to_owned());
        let before = ids.insert((topic, payload), id.clone());
        assert!(before.is_none_or(|before| before == id), "{asked:?}");
    }
    let all = topics.flat_map(|topic| (1..=NUMBERS).map(move |number| (topic.to_owned(), number.to_string())));
    all.into_iter().all(|message| ids.contains_key(&message))
}
