//! The payloads of `oncemq pub`.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::thread;

use bytes::Bytes;
use oncemq::codec::limits::REMAINING_LENGTH_MAX;
use tokio::sync::mpsc;

use super::error::MqttError;

/// Where payloads come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// One message.
    Payload(Vec<u8>),
    /// One message: the contents of a file.
    File(PathBuf),
    /// One message: all of standard input.
    Input,
    /// A message for each line of standard input that is not empty.
    Lines,
}

/// Payloads in order.
#[derive(Debug)]
pub(super) enum Payloads {
    One(Option<Bytes>),
    Lines(mpsc::Receiver<io::Result<Bytes>>),
}

impl Payloads {
    pub(super) fn open(source: Source) -> Result<Self, MqttError> {
        let read = |what: String, read: io::Result<Vec<u8>>| {
            let payload = read.map_err(|source| MqttError::File { what, source })?;
            Ok(Self::One(Some(payload.into())))
        };
        match source {
            Source::Payload(payload) => Ok(Self::One(Some(payload.into()))),
            Source::File(path) => read(path.display().to_string(), read_file(&path)),
            Source::Input => read(INPUT.to_owned(), read_all(io::stdin().lock())),
            Source::Lines => Self::lines().map_err(|source| MqttError::File { what: INPUT.to_owned(), source }),
        }
    }

    /// Reads lines on a thread of its own, because reading standard input blocks. The thread ends with the process.
    fn lines() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(LINES_AHEAD_MAX);
        let read = move || {
            let mut input = io::stdin().lock();
            while let Some(line) = next_line(&mut input).transpose() {
                let is_last = line.is_err();
                if sender.blocking_send(line).is_err() || is_last {
                    break;
                }
            }
        };
        thread::Builder::new().name("input".to_owned()).spawn(read)?;
        Ok(Self::Lines(receiver))
    }

    /// The next payload; `None` at the end. It can be dropped without a loss.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, MqttError> {
        match self {
            Self::One(payload) => Ok(payload.take()),
            Self::Lines(lines) => {
                let line = lines.recv().await.transpose();
                line.map_err(|source| MqttError::File { what: INPUT.to_owned(), source })
            }
        }
    }

    /// Whether there is one message at most.
    pub(super) const fn is_single(&self) -> bool {
        matches!(self, Self::One(_))
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_all(File::open(path)?)
}

fn read_all(input: impl Read) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    input.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut payload)?;
    if payload.len() as u64 > PAYLOAD_BYTES_MAX { Err(too_large()) } else { Ok(payload) }
}

/// The next line that is not empty, without its line break.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Bytes>> {
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(PAYLOAD_BYTES_MAX + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() as u64 > PAYLOAD_BYTES_MAX {
            return Err(too_large());
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.is_empty() {
            return Ok(Some(Bytes::copy_from_slice(text)));
        }
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "larger than a message can be (256 MiB)")
}

const INPUT: &str = "standard input";
/// No packet can be larger.
const PAYLOAD_BYTES_MAX: u64 = REMAINING_LENGTH_MAX as u64;
/// Lines that are read before they are sent.
const LINES_AHEAD_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_and_empty_ones_are_not() {
        let mut input = io::Cursor::new(b"a\n\n\r\nb\r\n\xFF\xFE\nlast".as_slice());
        let lines: Vec<Bytes> = std::iter::from_fn(|| next_line(&mut input).unwrap()).collect();
        assert_eq!(lines, [b"a".as_slice(), b"b", b"\xFF\xFE", b"last"]);
    }
}
