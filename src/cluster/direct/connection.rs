//! A connection between two nodes: frames in both directions, each behind its length of four bytes.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, BufWriter, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::bus::{Arrived, Way};
use super::super::tunnel::{FRAME_BYTES_MAX, FRAMES_MAX};

/// What is to be written.
#[derive(Debug)]
pub(super) enum Outgoing {
    Frame(Bytes),
    /// Is answered when all before it is with the kernel.
    Flush(oneshot::Sender<()>),
}

/// Whose connection it is.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: String,
    pub(super) way: Way,
}

/// Carries frames until one of both nodes ends that. Those that come wait for room in `arrived`, and hold up the other node.
pub(super) async fn carry<S: AsyncRead + AsyncWrite>(
    stream: S,
    peer: &Peer,
    outgoing: mpsc::Receiver<Outgoing>,
    arrived: mpsc::Sender<Arrived>,
) -> io::Result<()> {
    let (reader, writer) = split(stream);
    tokio::select! {
        read = read_all(BufReader::with_capacity(BUFFER_BYTES, reader), peer, &arrived) => read,
        written = write_all(BufWriter::with_capacity(BUFFER_BYTES, writer), outgoing) => written,
        () = arrived.closed() => Ok(()),
    }
}

async fn read_all(mut reader: impl AsyncRead + Unpin, peer: &Peer, arrived: &mpsc::Sender<Arrived>) -> io::Result<()> {
    loop {
        let length = reader.read_u32_le().await?;
        let length = usize::try_from(length).ok().filter(|length| *length <= FRAME_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"))?;
        let mut frame = BytesMut::zeroed(length);
        reader.read_exact(&mut frame).await?;
        let frame = Arrived { node: peer.node.clone(), way: peer.way, frame: frame.freeze() };
        if arrived.send(frame).await.is_err() {
            return Ok(());
        }
    }
}

async fn write_all(
    mut writer: BufWriter<impl AsyncWrite + Unpin>,
    mut outgoing: mpsc::Receiver<Outgoing>,
) -> io::Result<()> {
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        // What waits is one write.
        while let Some(item) = next {
            match item {
                Outgoing::Frame(frame) => {
                    // A frame is shorter.
                    writer.write_u32_le(u32::try_from(frame.len()).unwrap_or_default()).await?;
                    writer.write_all(&frame).await?;
                }
                Outgoing::Flush(done) => {
                    writer.flush().await?;
                    // Who asked may have ended.
                    let _ = done.send(());
                }
            }
            next = outgoing.try_recv().ok();
        }
        writer.flush().await?;
    }
    timeout(END_LIMIT, writer.shutdown()).await.unwrap_or(Ok(()))
}

/// The most frames that wait to be written. A link sends at most half as many before they are acknowledged, and a few without items. When there are more, the
/// link is closed.
pub(super) const OUTGOING_MAX: usize = 128;
const _: () = assert!(OUTGOING_MAX as u64 == 2 * FRAMES_MAX, "twice the frames that are not acknowledged");
const BUFFER_BYTES: usize = 64 << 10;
/// How long the end of a connection may take.
const END_LIMIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn peer() -> Peer {
        Peer { node: "b".to_owned(), way: Way::Direct(3) }
    }

    #[tokio::test]
    async fn frames_arrive_in_their_order_whatever_their_length() {
        let (here, there) = duplex(1_000);
        let ((sender, outgoing), (_none_out, nothing)) = (mpsc::channel(OUTGOING_MAX), mpsc::channel(1));
        let ((arrived, mut frames), (none_in, _nobody)) = (mpsc::channel(4), mpsc::channel(1));
        tokio::spawn(async move { carry(here, &peer(), outgoing, none_in).await });
        tokio::spawn(async move { carry(there, &peer(), nothing, arrived).await });
        let sent: Vec<Bytes> = [0, 1, 999, FRAME_BYTES_MAX].map(|length| vec![7; length].into()).into();
        for frame in &sent {
            sender.send(Outgoing::Frame(frame.clone())).await.unwrap();
        }
        for frame in sent {
            let arrived = frames.recv().await.unwrap();
            assert_eq!((&*arrived.node, arrived.way, arrived.frame), ("b", Way::Direct(3), frame));
        }
        let (done, is_done) = oneshot::channel();
        sender.send(Outgoing::Flush(done)).await.unwrap();
        is_done.await.unwrap();
        // Its end is that of the other one.
        drop(sender);
        assert!(frames.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_ends_the_connection() {
        let (mut here, there) = duplex(1_000);
        let ((_sender, outgoing), (arrived, _frames)) = (mpsc::channel(1), mpsc::channel(1));
        let length = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
        here.write_u32_le(length).await.unwrap();
        let error = carry(there, &peer(), outgoing, arrived).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
