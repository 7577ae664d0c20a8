//! What servers do with a stream.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is read at once at most, in bytes.
pub const READ: usize = 64 * 1024;

/// Answers so many messages of this size with the same bytes.
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    size: usize,
    messages: usize,
) -> io::Result<()> {
    let mut message = vec![0; size];
    for _ in 0..messages {
        stream.read_exact(&mut message).await?;
        stream.write_all(&message).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// Reads so many bytes.
pub async fn receive<S: AsyncRead + Unpin>(stream: &mut S, bytes: usize) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let mut received = 0;
    while received < bytes {
        let room = READ.min(bytes - received);
        match stream.read(&mut buffer[..room]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => received += len,
        }
    }
    Ok(())
}

/// Writes so many bytes, in writes of this size.
pub async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    size: usize,
    bytes: usize,
) -> io::Result<()> {
    let message = vec![0x5a; size];
    for _ in 0..bytes / size {
        stream.write_all(&message).await?;
    }
    stream.flush().await
}
