//! One trace of those of all nodes: each sends what happens at its cells, and the lines are put into the order of time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use futures_util::stream::{StreamExt as _, unfold};
use serde::Deserialize;
use serde_json::json;
use tokio::select;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::each::{error_of, json_of};
use super::missing::MissingNodeJson;
use super::place::{Away, Target};
use super::{CellsApi, NODE_TIME, get};
use crate::admin::api::failure::Failure;
use crate::admin::api::parameters::Parameters;
use crate::admin::api::trace::{DURATION_DEFAULT, DURATION_MAX};
use crate::admin::caller::Caller;

impl CellsApi {
    /// Shows what happens at all nodes.
    pub(super) async fn trace(self: &Arc<Self>, request: Request) -> Result<Response, Failure> {
        let parameters = Parameters::parse(request.uri().query().unwrap_or_default())?;
        let duration = parameters.number("duration", 1..=DURATION_MAX)?.map_or(DURATION_DEFAULT, Duration::from_secs);
        let end = Instant::now() + duration;
        let target = request.uri().path_and_query().map_or("/trace", |target| target.as_str()).to_owned();
        let caller = request.extensions().get::<Caller>().cloned();
        let own = self.ask_self(request).await;
        if !own.status().is_success() {
            return Ok(own);
        }
        let (sender, lines) = mpsc::channel(LINES_UNREAD_MAX);
        let mut sources =
            Sources { api: Arc::clone(self), target, caller, sender, tasks: JoinSet::new(), nodes: BTreeMap::new() };
        sources.read(own.into_body());
        let missing = sources.follow().await;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let merging = Merging {
            lines,
            ticks,
            end,
            order: Order::default(),
            said: None,
            missing,
            missing_said: Vec::new(),
            sources: Some(sources),
            looks: 0,
        };
        let stream = unfold(merging, |mut merging| async move {
            let text = merging.next().await?;
            Some((Ok::<_, Infallible>(text), merging))
        });
        Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response())
    }

    /// Begins the trace of another node.
    async fn trace_at(&self, node: &Arc<str>, request: Request) -> Result<Body, Away> {
        let asked = self.stream_of(Arc::clone(node), Target::Node, request);
        let response = timeout(NODE_TIME, asked).await.unwrap_or_else(|_| Err(Away::Silent(Arc::clone(node))))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (_, answer) = json_of(response).await?;
        Err(Away::Fails(error_of(&answer)))
    }
}

/// The traces of all nodes. Dropping it ends them.
struct Sources {
    api: Arc<CellsApi>,
    /// Path and query of the request.
    target: String,
    caller: Option<Caller>,
    sender: mpsc::Sender<Line>,
    tasks: JoinSet<()>,
    /// Those of other nodes.
    nodes: BTreeMap<Arc<str>, AbortHandle>,
}

impl Sources {
    /// Begins with the nodes that are not followed, and returns those that don't answer.
    async fn follow(&mut self) -> Vec<MissingNodeJson> {
        while self.tasks.try_join_next().is_some() {}
        self.nodes.retain(|_, task| !task.is_finished());
        let nodes = self.api.other_nodes();
        let begun = nodes.iter().filter(|(node, _)| !self.nodes.contains_key(node)).map(async |(node, is_alive)| {
            let asked = match get(&self.target, self.caller.as_ref()) {
                Ok(request) if *is_alive => self.api.trace_at(node, request).await,
                Ok(_) => Err(Away::Silent(Arc::clone(node))),
                Err(failure) => Err(Away::Fails(failure.to_string())),
            };
            (Arc::clone(node), asked)
        });
        let mut missing = Vec::new();
        for (node, asked) in join_all(begun).await {
            match asked {
                Ok(body) => {
                    let task = self.read(body);
                    self.nodes.insert(node, task);
                }
                Err(away) => missing.push(MissingNodeJson::new(&node, &away)),
            }
        }
        missing
    }

    /// Reads the lines of a node, until they end or nobody wants them.
    fn read(&mut self, body: Body) -> AbortHandle {
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let (mut parts, mut read) = (body.into_data_stream(), Vec::new());
            while let Some(Ok(part)) = parts.next().await {
                for line in take_lines(&mut read, &part) {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
                if read.len() > LINE_BYTES_MAX {
                    return;
                }
            }
        })
    }
}

/// A line of the trace of a node.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// With the time in it.
    Entry(String, Bytes),
    LeftOut(u64),
}

/// The lines that end in what was read, and this next part.
fn take_lines(read: &mut Vec<u8>, part: &[u8]) -> Vec<Line> {
    #[derive(Deserialize)]
    struct Head {
        at: Option<String>,
        left_out: Option<u64>,
    }
    read.extend_from_slice(part);
    let Some(end) = read.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let rest = read.split_off(end + 1);
    let whole = std::mem::replace(read, rest);
    let lines = whole.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let head: Head = serde_json::from_slice(line).ok()?;
        match (head.at, head.left_out) {
            (Some(at), _) => Some(Line::Entry(at, Bytes::copy_from_slice(line))),
            (None, Some(count)) => Some(Line::LeftOut(count)),
            (None, None) => None,
        }
    });
    lines.collect()
}

/// Puts lines that come from several nodes into the order of their times: each waits for one or two turns for earlier ones.
#[derive(Debug, Default)]
struct Order {
    /// By their times, and the order in which they have come.
    waiting: BTreeMap<(String, u64), Bytes>,
    /// Their bytes.
    bytes: usize,
    came: u64,
    /// The last time before the last turn.
    mark: Option<String>,
    left_out: u64,
}

impl Order {
    fn add(&mut self, line: Line) {
        match line {
            Line::LeftOut(count) => self.left_out += count,
            Line::Entry(..) if self.waiting.len() >= LINES_WAITING_MAX || self.bytes >= BYTES_WAITING_MAX => {
                self.left_out += 1;
            }
            Line::Entry(at, text) => {
                self.came += 1;
                self.bytes += text.len();
                self.waiting.insert((at, self.came), text);
            }
        }
    }

    /// Ends a turn: the lines up to the last one of the turn before.
    fn turn(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            if self.mark.as_ref().is_none_or(|mark| first.key().0 > *mark) {
                break;
            }
            let line = first.remove();
            self.bytes -= line.len();
            text.extend_from_slice(&line);
        }
        self.mark = self.waiting.last_key_value().map(|((at, _), _)| at.clone());
        text
    }
}

/// The lines of all nodes.
struct Merging {
    lines: mpsc::Receiver<Line>,
    ticks: Interval,
    end: Instant,
    order: Order,
    /// When it was last said how much was left out.
    said: Option<Instant>,
    missing: Vec<MissingNodeJson>,
    missing_said: Vec<MissingNodeJson>,
    /// `None`: it is over.
    sources: Option<Sources>,
    /// Turns since the nodes were looked at.
    looks: u32,
}

impl Merging {
    /// Waits for the next part; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            select! {
                biased;
                () = sleep_until(self.end) => return self.last(),
                _ = self.ticks.tick() => {
                    let text = self.turn().await;
                    if !text.is_empty() {
                        return Some(text);
                    }
                }
                Some(line) = self.lines.recv() => self.order.add(line),
            }
        }
    }

    async fn turn(&mut self) -> Vec<u8> {
        self.looks += 1;
        if let Some(sources) = self.sources.as_mut().filter(|_| self.looks >= LOOK_TURNS) {
            self.missing = sources.follow().await;
            self.looks = 0;
        }
        let mut text = self.order.turn();
        let now = Instant::now();
        let is_due = self.said.is_none_or(|said| now.duration_since(said) >= SAID_PERIOD);
        let is_other = self.missing != self.missing_said;
        if is_due || is_other || self.order.left_out > 0 {
            let left_out = std::mem::take(&mut self.order.left_out);
            let line = match is_other {
                true => json!({ "left_out": left_out, "missing_nodes": self.missing }),
                false => json!({ "left_out": left_out }),
            };
            self.missing_said.clone_from(&self.missing);
            text.extend_from_slice(format!("{line}\n").as_bytes());
            self.said = Some(now);
        }
        text
    }

    /// What waits for its turn still, once.
    fn last(&mut self) -> Option<Vec<u8>> {
        self.sources.take()?;
        while let Ok(line) = self.lines.try_recv() {
            self.order.add(line);
        }
        Some([self.order.turn(), self.order.turn()].concat())
    }
}

/// The time that a line waits for earlier ones of other nodes.
const TICK: Duration = Duration::from_millis(250);
/// Other nodes come and go: about a second.
const LOOK_TURNS: u32 = 4;
/// As often, a line shows that the broker is there.
const SAID_PERIOD: Duration = Duration::from_secs(5);
/// Lines that wait for their turn. Further ones are left out.
const LINES_WAITING_MAX: usize = 8_192;
/// Their bytes, but for the last one.
const BYTES_WAITING_MAX: usize = 8 << 20;
/// Lines that wait to be read. Then the nodes wait, and leave out what they have no room for.
const LINES_UNREAD_MAX: usize = 64;
/// More than a line has.
const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: u32, of: &str) -> String {
        format!("{{\"at\":\"{at:03}\",\"event\":\"{of}\"}}\n")
    }

    #[test]
    fn lines_are_found_in_whatever_parts_they_come() {
        let text = [&entry(1, "a"), "{\"left_out\":7}\n", "nonsense\n", "{}\n", &entry(2, "\u{E4}")].concat();
        let expected = [
            Line::Entry("001".to_owned(), entry(1, "a").into()),
            Line::LeftOut(7),
            Line::Entry("002".to_owned(), entry(2, "\u{E4}").into()),
        ];
        for length in 1..text.len() {
            let mut read = Vec::new();
            let lines: Vec<_> = text.as_bytes().chunks(length).flat_map(|part| take_lines(&mut read, part)).collect();
            assert_eq!(lines, expected, "{length}");
        }
    }

    #[test]
    fn lines_of_several_nodes_come_in_the_order_of_time_and_late_ones_come_too() {
        let mut order = Order::default();
        let add =
            |order: &mut Order, at: u32, of: &str| order.add(Line::Entry(format!("{at:03}"), entry(at, of).into()));
        let turn = |order: &mut Order| String::from_utf8(order.turn()).unwrap();
        add(&mut order, 5, "b");
        add(&mut order, 2, "b");
        assert_eq!(turn(&mut order), "", "earlier ones may come");
        add(&mut order, 3, "c");
        add(&mut order, 9, "c");
        add(&mut order, 3, "d");
        let expected = [(2, "b"), (3, "c"), (3, "d"), (5, "b")].map(|(at, of)| entry(at, of)).concat();
        assert_eq!(turn(&mut order), expected);
        add(&mut order, 1, "late");
        assert_eq!(turn(&mut order), [entry(1, "late"), entry(9, "c")].concat());
        assert_eq!(turn(&mut order), "");
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_counted() {
        let mut order = Order::default();
        for at in 0..LINES_WAITING_MAX + 3 {
            order.add(Line::Entry(at.to_string(), Bytes::new()));
        }
        order.add(Line::LeftOut(4));
        assert_eq!((order.waiting.len(), order.left_out), (LINES_WAITING_MAX, 7));
        let (mut order, long) = (Order::default(), Bytes::from(vec![b' '; 1 << 20]));
        for turn in 1..4 {
            (0..10).for_each(|at| order.add(Line::Entry(at.to_string(), long.clone())));
            assert_eq!((order.waiting.len(), order.left_out), (8, 2 * turn));
            let text = [order.turn(), order.turn()].concat();
            assert_eq!((text.len(), order.bytes), (8 << 20, 0));
        }
    }
}
