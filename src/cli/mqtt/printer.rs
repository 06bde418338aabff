use std::io::{self, Write};
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// Writes to standard output on a thread of its own: a pipe that nobody reads must stop neither Keep Alive nor signals. The thread ends with
/// the process.
pub(super) struct Printer {
    chunks: mpsc::Sender<(Vec<u8>, oneshot::Sender<io::Result<()>>)>,
}

/// The end of a write.
pub(super) type Printed = oneshot::Receiver<io::Result<()>>;

impl Printer {
    pub(super) fn new() -> io::Result<Self> {
        let (chunks, mut received) = mpsc::channel::<(Vec<u8>, oneshot::Sender<io::Result<()>>)>(1);
        let write = move || {
            while let Some((chunk, printed)) = received.blocking_recv() {
                let mut output = io::stdout().lock();
                // Nobody waits any more after a signal.
                let _ = printed.send(output.write_all(&chunk).and_then(|()| output.flush()));
            }
        };
        thread::Builder::new().name("output".to_owned()).spawn(write)?;
        Ok(Self { chunks })
    }

    /// Starts to write. The caller waits for the end before the next chunk.
    pub(super) fn print(&self, chunk: Vec<u8>) -> Printed {
        let (sender, printed) = oneshot::channel();
        // Without room, the sender is dropped, which the caller sees.
        let _ = self.chunks.try_send((chunk, sender));
        printed
    }
}
