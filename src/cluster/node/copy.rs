use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::clock::now;
use super::view::View;
use crate::cluster::copying::{Begun, CHUNK_BYTES, Denied, Question, decode_answer};
use crate::cluster::engine::Engine;
use crate::cluster::place::Place;
use crate::store::{Home, Incoming, Mark, OpenError, SpaceFor, StreamFile};

/// From which nodes a copy can be fetched: not from one whose log was found damaged, for a while.
#[derive(Default)]
pub(super) struct Sources(BTreeMap<String, Damaged>);

struct Damaged {
    attempts: u32,
    /// When it is asked again.
    until: Instant,
    reason: String,
}

impl Sources {
    fn damaged(&mut self, view: &View, node: &str, reason: &str) {
        let members = view.members.borrow();
        self.0.retain(|name, _| members.nodes().any(|(known, _, _)| known == name));
        let attempts = self.0.get(node).map_or(0, |damaged| damaged.attempts);
        let pause = DAMAGED_PAUSE.saturating_mul(1 << attempts).min(DAMAGED_PAUSE_MAX);
        let damaged = Damaged { attempts: (attempts + 1).min(16), until: now() + pause, reason: reason.to_owned() };
        self.0.insert(node.to_owned(), damaged);
    }

    /// Why this node is not asked now.
    fn excuse(&self, node: &str) -> Option<String> {
        let damaged = self.0.get(node).filter(|damaged| damaged.until > now())?;
        Some(format!("{}: that is tried again later", damaged.reason))
    }
}

/// Why a node gave no copy.
enum Failure {
    Denied(Denied),
    /// This node cannot write the copy.
    Own(String),
}

impl Failure {
    fn own(error: impl Into<io::Error>) -> Self {
        Self::Own(format!("the copy cannot be written: {}", error.into()))
    }

    const fn refused(reason: String) -> Self {
        Self::Denied(Denied::Refused(reason))
    }

    const fn damaged(reason: String) -> Self {
        Self::Denied(Denied::Damaged(reason))
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

/// Fetches a copy of the log from the owner, or from another node with a copy, in place of the one in the directory. Returns the name of the node. `beyond`:
/// the position up to which the one in the directory is good; a copy that ends there or before is not fetched.
///
/// # Errors
/// No node has a better copy, or it cannot be written. The copy that was there is still there then, unless the disk had no space for both.
pub(super) async fn fetch(
    engine: &dyn Engine,
    view: &View,
    (sources, beyond): (&mut Sources, u64),
) -> Result<String, String> {
    let home = view.identity.home.clone();
    if !spawn_blocking(move || is_empty_or_copy(&home)).await.unwrap_or(false) {
        return Err("the store is not a copy, or cannot be read: it is not replaced".to_owned());
    }
    let nodes: Vec<String> = view.members.borrow().with_copies().into_iter().map(str::to_owned).collect();
    let mut reasons = Vec::new();
    for node in nodes {
        if let Some(excuse) = sources.excuse(&node) {
            reasons.push(excuse);
            continue;
        }
        match fetch_from(engine, view, &node, beyond).await {
            Ok(()) => return Ok(node),
            Err(Failure::Own(reason)) => return Err(reason),
            Err(Failure::Denied(Denied::Refused(reason))) => reasons.push(reason),
            Err(Failure::Denied(Denied::Damaged(reason))) => {
                view.warn(&reason);
                sources.damaged(view, &node, &reason);
                reasons.push(reason);
            }
        }
    }
    if reasons.is_empty() {
        return Err("there is no node to fetch a copy from".to_owned());
    }
    Err(format!("no node gives a copy of the log: {}", reasons.join("; ")))
}

async fn fetch_from(engine: &dyn Engine, view: &View, node: &str, beyond: u64) -> Result<(), Failure> {
    let begun = ask(engine, node, &Question::Begin).await?;
    let begun: Begun = serde_json::from_slice(&begun)
        .map_err(|error| Failure::refused(format!("node {node} answers what is no copy: {error}")))?;
    let copy = begun.copy;
    let trimmed = view.members.borrow().trimmed();
    let fetched = match Place::decode(&begun.state).map(|place| place.reader.position) {
        Some(position) if position > beyond && position + 1 >= trimmed => fetch_files(engine, view, node, begun).await,
        _ => Err(Failure::refused(format!("node {node} has a copy that does not lead further"))),
    };
    let _ = ask(engine, node, &Question::End { copy }).await; // it ends by itself, too
    fetched
}

async fn fetch_files(engine: &dyn Engine, view: &View, node: &str, begun: Begun) -> Result<(), Failure> {
    let Begun { copy, sequence, state, files, streams } = begun;
    let (home, mark, segments) = (view.identity.home.clone(), Mark { sequence, state }, files.clone());
    let of_streams = streams.into_iter().map(|(stream, name, bytes)| StreamFile { stream, name, bytes });
    let of_streams: Vec<StreamFile> = of_streams.collect();
    let all: u64 = files.iter().map(|(_, bytes)| bytes).chain(of_streams.iter().map(|file| &file.bytes)).sum();
    let wanted = files.into_iter().map(|(segment, bytes)| (Wanted::Segment(segment), bytes));
    let wanted =
        wanted.chain(of_streams.iter().map(|file| (Wanted::Stream(file.stream, file.name.clone()), file.bytes)));
    let wanted: Vec<(Wanted, u64)> = wanted.collect();
    let incoming = spawn_blocking(move || home.receive(&mark, &segments, &of_streams)).await;
    let incoming = incoming.map_err(Failure::own)?.map_err(|error| Failure::Own(error.to_string()))?;
    let mut incoming = make_space(view, incoming).await.map_err(Failure::own)?;
    let (mut done, mut told): (u64, u64) = (0, 0);
    for (file, length) in wanted {
        let mut offset = 0;
        while offset < length {
            let bytes = u32::try_from(length - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let chunk = ask(engine, node, &file.question(copy, offset, bytes)).await?;
            if chunk.is_empty() || chunk.len() > bytes as usize {
                return Err(Failure::damaged(format!("node {node} has less of {file} than it said")));
            }
            let (at, read, to) = (offset, chunk.len() as u64, file.clone());
            let written = spawn_blocking(move || to.write(&mut incoming, at, &chunk).map(|()| incoming)).await;
            incoming = written.map_err(io::Error::other).flatten().map_err(Failure::own)?;
            offset += read;
            done += read;
            if let Some(percent) = (100 * done).checked_div(all).filter(|percent| *percent >= told + 10) {
                told = percent;
                view.log(&format!("the copy of the log: {percent} % of {all} bytes are here"));
            }
        }
    }
    match spawn_blocking(move || incoming.finish()).await.map_err(Failure::own)? {
        Ok(()) => Ok(()),
        Err(OpenError::Damaged { first, .. }) => {
            if let Some(segment) = first.segment() {
                let _ = ask(engine, node, &Question::Verify { copy, segment }).await; // it tells its operators
            }
            Err(Failure::damaged(format!("the copy from node {node} is damaged: {first}")))
        }
        Err(error @ OpenError::OffMark { .. }) => {
            Err(Failure::damaged(format!("the copy from node {node} is of no use: {error}")))
        }
        Err(error) => Err(Failure::Own(format!("the copy cannot be written: {error}"))),
    }
}

/// A file that is fetched.
#[derive(Debug, Clone)]
enum Wanted {
    Segment(u32),
    Stream(u32, String),
}

impl Wanted {
    fn question(&self, copy: u64, offset: u64, bytes: u32) -> Question {
        match self {
            Self::Segment(segment) => Question::Read { copy, segment: *segment, offset, bytes },
            Self::Stream(stream, file) => {
                Question::ReadStream { copy, stream: *stream, file: file.clone(), offset, bytes }
            }
        }
    }

    fn write(&self, to: &mut Incoming, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Segment(segment) => to.write(*segment, offset, bytes),
            Self::Stream(stream, file) => to.write_stream(*stream, file, offset, bytes),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => write!(formatter, "segment {segment}"),
            Self::Stream(stream, file) => write!(formatter, "file {file} of stream {stream}"),
        }
    }
}

/// If there is no space for two copies, that of the other node is worth more than the one that is there, which cannot be continued.
async fn make_space(view: &View, incoming: Incoming) -> io::Result<Incoming> {
    let (space, incoming) = spawn_blocking(move || (incoming.space(), incoming)).await.map_err(io::Error::other)?;
    match space? {
        SpaceFor::Both => Ok(incoming),
        SpaceFor::None { needed, free } => Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("it needs {needed} bytes, and there is space for {free}, with that of the present one"),
        )),
        SpaceFor::One => {
            view.warn("the disk has no space for a second copy of the log: the present one is removed before the new one is here");
            let removed = spawn_blocking(move || incoming.remove_former().map(|()| incoming)).await;
            removed.map_err(io::Error::other).flatten()
        }
    }
}

/// Whether nothing is lost if the directory is cleared. A store that cannot be read may have something.
fn is_empty_or_copy(home: &Home) -> bool {
    home.is_copy()
        || match home.check() {
            Ok(report) => report.entries == 0 && report.damages.is_empty(),
            Err(error) => matches!(error, OpenError::NoStore { .. } | OpenError::IncompleteCopy),
        }
}

async fn ask(engine: &dyn Engine, node: &str, question: &Question) -> Result<Bytes, Denied> {
    let answer = engine.ask(node, question.encode()).await.map_err(|error| format!("node {node}: {error}"))?;
    decode_answer(&answer).map_err(|denied| match denied {
        Denied::Refused(reason) => Denied::Refused(format!("node {node}: {reason}")),
        Denied::Damaged(reason) => Denied::Damaged(format!("node {node}: {reason}")),
    })
}

/// How long a node with a damaged log is not asked for a copy, at first. Each time twice as long.
const DAMAGED_PAUSE: Duration = Duration::from_secs(10);
const DAMAGED_PAUSE_MAX: Duration = Duration::from_secs(600);
