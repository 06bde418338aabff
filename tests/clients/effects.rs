//! The example of `docs/DELIVERY.md` that consumes and publishes once, as it is but for the port and the database, killed again and again.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use tempfile::TempDir;

use crate::broker::{Broker, Setup};
use crate::database::{Database, PASSWORD};
use crate::deadline::PATIENCE;
use crate::mosquitto::create_session;
use crate::peer;
use crate::python::interpreter;
use crate::raw::{Connect, PUBACK, PUBLISH, Version, Wire, acknowledge, packet, string};

const V5: Version = Version::V5;
/// The line that opens the database.
const SQLITE: &str = "db = sqlite3.connect(\"shop.db\")";
const ORDERS: usize = 40;
const USER_PROPERTY: u8 = 0x26;

/// The program in a directory of its own.
struct Program {
    directory: TempDir,
    text: String,
}

/// A running one. Dropping it kills it.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    /// For this broker, with this line that opens the database.
    fn new(broker: &Broker, open: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DELIVERY.md");
        let text = fs::read_to_string(path).unwrap();
        let (_, section) = text.split_once("\n### From the database to MQTT and back\n").unwrap();
        let (_, rest) = section.split_once("```python\n").unwrap();
        let example = rest.split_once("\n```").unwrap().0;
        assert!(example.contains(SQLITE));
        let text = example.replace(SQLITE, open).replace("1883", &broker.address().port().to_string());
        Self { directory: tempfile::tempdir().unwrap(), text }
    }

    fn python(&self, text: &str) -> Command {
        let mut command = Command::new(interpreter());
        command.args(["-B", "-c", text]).current_dir(self.directory.path()).stdin(Stdio::null());
        command
    }

    /// Starts it, and waits until it has subscribed.
    #[track_caller]
    fn start(&self) -> Running {
        let mut child = self.python(&self.text).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let running = Running { child, lines };
        while running.line() != "subscribed" {}
        running
    }
}

impl Running {
    /// The next line that it prints.
    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the program has ended, or waits in vain")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Publishes an order. All have the same `message-id` of the publisher's own, which is not that of the broker.
fn order(publisher: &mut Wire, number: usize) {
    let own = [&[USER_PROPERTY][..], &string("message-id"), &string("from-upstream")].concat();
    let (topic, packet_id, payload) =
        (string("orders/new"), 1_u16.to_be_bytes(), format!("[{number}, {}]", number * 10));
    let length = [u8::try_from(own.len()).unwrap()];
    let body = [&topic[..], &packet_id, &length, &own, payload.as_bytes()].concat();
    publisher.send(&packet(PUBLISH | 0x02, &body));
    publisher.expect(PUBACK);
}

/// Kills the program after different numbers of lines, while orders come. Each invoice is published once.
fn publishes_once(broker: &Broker, program: &Program) {
    create_session(broker, &["-i", "accounts", "-q", "1", "-t", "invoices/#"]);
    let mut running = program.start();
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "shop"));
    let mut accounts = Wire::connected(broker.address(), &Connect::durable(V5, "accounts"));
    let mut invoices = BTreeMap::<String, usize>::new();
    for number in 1..=ORDERS {
        order(&mut publisher, number);
        if number % 4 == 0 {
            for _ in 0..number / 4 % 3 {
                assert!(running.line().starts_with("published "));
            }
            drop(running);
            running = program.start();
        }
    }
    // All come, in the end also that of an order behind them.
    order(&mut publisher, ORDERS + 1);
    let mut receive = |accounts: &mut Wire| {
        let publish = accounts.expect_publish(V5);
        accounts.send(&acknowledge(PUBACK, publish.packet_id));
        *invoices.entry(publish.topic.clone()).or_default() += 1;
        (publish.topic, invoices.len())
    };
    while receive(&mut accounts).1 <= ORDERS {}
    drop(running);
    drop(program.start());
    publisher.send(&V5.publish(PUBLISH | 0x02, "invoices/end", 1, b"0"));
    publisher.expect(PUBACK);
    while receive(&mut accounts).0 != "invoices/end" {}
    let expected: BTreeMap<_, _> = (1..=ORDERS + 1)
        .map(|number| format!("invoices/{number}"))
        .chain(["invoices/end".to_owned()])
        .map(|topic| (topic, 1))
        .collect();
    assert_eq!(invoices, expected);
}

#[test]
fn with_sqlite_each_order_has_one_invoice_which_is_published_once() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let program = Program::new(&broker, SQLITE);
    publishes_once(&broker, &program);
    let count = "import sqlite3; print(sqlite3.connect('shop.db').execute(\"SELECT count(*), count(DISTINCT number) FROM invoices\").fetchone())";
    let output = program.python(count).output().unwrap();
    let expected = format!("({0}, {0})\n", ORDERS + 1);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn with_postgresql_each_order_has_one_invoice_which_is_published_once() {
    if peer::is_chosen() {
        return;
    }
    let database = Database::start("GRANT ALL ON SCHEMA public TO mqtt");
    let broker = Setup::default().start();
    let url = database.url();
    let port = url.rsplit_once(':').unwrap().1.split('/').next().unwrap();
    let open = format!(
        "import pg8000.dbapi\npg8000.dbapi.paramstyle = \"qmark\"\n\
         db = pg8000.dbapi.connect(user=\"mqtt\", password=\"{PASSWORD}\", host=\"127.0.0.1\", port={port}, database=\"iot\")"
    );
    publishes_once(&broker, &Program::new(&broker, &open));
    let count = database.run("SELECT count(*), count(DISTINCT number) FROM invoices");
    assert_eq!(count.trim(), format!("{0}|{0}", ORDERS + 1));
}
