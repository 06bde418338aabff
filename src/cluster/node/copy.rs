use std::io;
use std::path::Path;

use tokio::task::spawn_blocking;

use super::view::View;
use crate::cluster::copying::{Begun, CHUNK_BYTES, Question, decode_answer};
use crate::cluster::engine::Engine;
use crate::store::{Incoming, Mark, OpenError, SpaceFor, check, is_copy};

/// Fetches a copy of the log from the owner, in place of the one in the directory.
///
/// # Errors
/// There is no owner, it does not answer, or the copy cannot be written. The copy that was there is still there then, unless the disk had no space for
/// both.
pub(super) async fn fetch(engine: &dyn Engine, view: &View) -> Result<(), String> {
    let directory = view.identity.directory.clone();
    if !spawn_blocking(move || is_empty_or_copy(&directory)).await.unwrap_or(false) {
        return Err("the store is not a copy, or cannot be read: it is not replaced".to_owned());
    }
    let owner = view.members.borrow().owner().map(|(name, _)| name.to_owned());
    let owner = owner.ok_or("there is no owner to fetch a copy from")?;
    let begun = ask(engine, &owner, &Question::Begin).await?;
    let begun: Begun =
        serde_json::from_slice(&begun).map_err(|error| format!("node {owner} answers what is no copy: {error}"))?;
    let copy = begun.copy;
    let fetched = fetch_files(engine, view, &owner, begun).await;
    let _ = ask(engine, &owner, &Question::End { copy }).await; // it ends by itself, too
    fetched
}

async fn fetch_files(engine: &dyn Engine, view: &View, owner: &str, begun: Begun) -> Result<(), String> {
    let Begun { copy, sequence, state, files } = begun;
    let failed = |error: io::Error| format!("the copy cannot be written: {error}");
    let (directory, mark, segments) = (view.identity.directory.clone(), Mark { sequence, state }, files.clone());
    let incoming = spawn_blocking(move || Incoming::begin(&directory, &mark, &segments)).await;
    let incoming = incoming.map_err(|error| failed(io::Error::other(error)))?.map_err(|error| error.to_string())?;
    let mut incoming = make_space(view, incoming).await.map_err(failed)?;
    let (mut done, mut told): (u64, u64) = (0, 0);
    let all: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    for (segment, length) in files {
        let mut offset = 0;
        while offset < length {
            let bytes = u32::try_from(length - offset).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let chunk = ask(engine, owner, &Question::Read { copy, segment, offset, bytes }).await?;
            if chunk.is_empty() || chunk.len() > bytes as usize {
                return Err(format!("node {owner} has less of segment {segment} than it said"));
            }
            let (at, read) = (offset, chunk.len() as u64);
            let written = spawn_blocking(move || incoming.write(segment, at, &chunk).map(|()| incoming)).await;
            incoming = written.map_err(io::Error::other).flatten().map_err(failed)?;
            offset += read;
            done += read;
            if let Some(percent) = (100 * done).checked_div(all).filter(|percent| *percent >= told + 10) {
                told = percent;
                view.log(&format!("the copy of the log: {percent} % of {all} bytes are here"));
            }
        }
    }
    let finished = spawn_blocking(move || incoming.finish()).await.map_err(|error| failed(io::Error::other(error)))?;
    finished.map_err(|error| format!("the copy from node {owner} is of no use: {error}"))
}

/// If there is no space for two copies, the owner's is worth more than the one that is there, which cannot be continued.
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
fn is_empty_or_copy(directory: &Path) -> bool {
    is_copy(directory)
        || match check(directory, &mut |_| ()) {
            Ok(report) => report.entries == 0 && report.damages.is_empty(),
            Err(error) => matches!(error, OpenError::NoStore { .. } | OpenError::IncompleteCopy),
        }
}

async fn ask(engine: &dyn Engine, node: &str, question: &Question) -> Result<bytes::Bytes, String> {
    let answer = engine.ask(node, question.encode()).await.map_err(|error| format!("node {node}: {error}"))?;
    decode_answer(&answer).map_err(|reason| format!("node {node}: {reason}"))
}
