use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Flushes a stream, shuts down its sending side, and reads until the client closes, at most `reads_max` times 1 KiB. Unread input would make
/// the operating system reset the connection and discard sent bytes. The caller limits the time.
pub(in crate::server) async fn shut_down<S>(stream: &mut S, reads_max: usize) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.flush().await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    for _ in 0..reads_max {
        if stream.read(&mut unread).await? == 0 {
            break;
        }
    }
    Ok(())
}
