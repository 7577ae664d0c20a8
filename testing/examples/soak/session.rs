//! What the two ends of a connection say, once they have shaken hands.

use std::io;

use testing::random::{Bytes, Random};
use tokio::io::{split, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::plan::{Plan, Side};

pub async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    plan: &Plan,
    side: Side,
    stream: &mut S,
) -> io::Result<()> {
    match side {
        Side::Server => echo(plan, stream).await,
        Side::Client if plan.half_closes => both_at_once(plan, stream).await,
        Side::Client => in_turns(plan, stream).await,
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(plan: &Plan, stream: &mut S) -> io::Result<()> {
    let mut random = Random::new(plan.seed ^ 1);
    let mut buffer = vec![0; 40_000];
    loop {
        let len = random.length(buffer.len());
        match stream.read(&mut buffer[..len]).await? {
            0 => break,
            len => stream.write_all(&buffer[..len]).await?,
        }
        stream.flush().await?;
    }
    stream.shutdown().await
}

/// Closes its direction, and reads on.
async fn both_at_once<S: AsyncRead + AsyncWrite + Unpin>(
    plan: &Plan,
    stream: &mut S,
) -> io::Result<()> {
    let (mut reader, mut writer) = split(stream);
    let write = async {
        for (place, len) in pieces(plan) {
            writer.write_all(&Bytes(plan.seed).from(place, len)).await?;
        }
        writer.shutdown().await
    };
    let read = async {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await?;
        if all.len() < plan.len && !plan.is_clean() {
            // A transport's end is one for rust-openssl, too.
            same(plan, &all, 0, all.len());
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        same(plan, &all, 0, plan.len);
        Ok(())
    };
    tokio::try_join!(write, read).map(|_| ())
}

async fn in_turns<S: AsyncRead + AsyncWrite + Unpin>(
    plan: &Plan,
    stream: &mut S,
) -> io::Result<()> {
    for (place, len) in pieces(plan) {
        let bytes = Bytes(plan.seed).from(place, len);
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        let mut back = vec![0; len];
        stream.read_exact(&mut back).await?;
        same(plan, &back, place, len);
    }
    stream.shutdown().await?;
    assert_eq!(stream.read(&mut [0]).await?, 0);
    Ok(())
}

/// Where what is sent begins, and how long it is.
pub fn pieces(plan: &Plan) -> impl Iterator<Item = (usize, usize)> + '_ {
    let (mut random, mut place) = (Random::new(plan.seed ^ 2), 0);
    std::iter::from_fn(move || {
        let left = plan.len - place;
        let len = left.min(random.length(40_000));
        place += len;
        (len > 0).then_some((place - len, len))
    })
}

/// What came back is what was sent.
pub fn same(plan: &Plan, back: &[u8], place: usize, len: usize) {
    let sent = Bytes(plan.seed).from(place, len);
    let differ = sent.iter().zip(back).position(|(sent, back)| sent != back);
    assert!(
        differ.is_none() && back.len() == len,
        "{} of {len} bytes came back, the first {differ:?} is another: {plan:?}",
        back.len()
    );
}
