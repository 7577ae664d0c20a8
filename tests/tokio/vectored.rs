//! Vectored writes, reads and writes of nothing, and what a `ReadBuf` may be.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::pin::Pin;

use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::each::{on_each_stream, opened, Stream};
use super::wire::Wire;

/// How many records a vectored write of pieces of these lengths is, and how much it has taken.
async fn write_pieces<T: Stream<Wire>>(policy: AsyncPolicy, lens: &[usize]) -> (usize, usize) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    let outgoing = stream.transport().outgoing.clone();
    let before = outgoing.records();
    let pieces: Vec<Vec<u8>> = lens
        .iter()
        .zip(1u8..)
        .map(|(&len, n)| vec![n; len])
        .collect();
    let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let written = stream.write_vectored(&slices).await.unwrap();
    stream.flush().await.unwrap();
    let records = outgoing.records() - before;
    stream.shutdown().await.unwrap();
    let mut read = Vec::new();
    peer.read_to_end(&mut read).await.unwrap();
    assert!(read == pieces.concat()[..written], "{lens:?}");
    (records, written)
}

async fn writes_pieces<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (stream, _peer) = opened::<T>(policy).await;
    assert!(stream.is_write_vectored());
    // Small ones are a record together, whatever is between them.
    assert_eq!(write_pieces::<T>(policy, &[1; 100]).await, (1, 100));
    assert_eq!(
        write_pieces::<T>(policy, &[0, 5, 0, 0, 7, 0]).await,
        (1, 12)
    );
    assert_eq!(write_pieces::<T>(policy, &[0, 16384, 0]).await, (1, 16384));
    assert_eq!(write_pieces::<T>(policy, &[16000, 384]).await, (1, 16384));
    // None, and nothing, are no record.
    assert_eq!(write_pieces::<T>(policy, &[]).await, (0, 0));
    assert_eq!(write_pieces::<T>(policy, &[0, 0]).await, (0, 0));
    // Large ones are as many as it takes; how much of it goes at once is not the caller's affair.
    for lens in [
        &[100, 20_000][..],
        &[40_000, 40_000],
        &[1, 1 << 20, 1],
        &[1 << 20, 5],
    ] {
        let (records, written) = write_pieces::<T>(policy, lens).await;
        assert!(
            written >= 16384.min(lens.iter().sum()),
            "{written} of {lens:?}"
        );
        assert_eq!(records, written.div_ceil(16384), "{lens:?}");
    }
}

#[test]
fn small_pieces_of_a_vectored_write_are_one_record() {
    on_each_stream!(writes_pieces, Wire);
}

async fn nothing<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    let sent = stream.transport().outgoing.len();
    assert_eq!(stream.write(b"").await.unwrap(), 0);
    assert_eq!(stream.write_vectored(&[]).await.unwrap(), 0);
    stream.flush().await.unwrap();
    assert_eq!(stream.transport().outgoing.len(), sent, "an empty record");
    // Whether there is anything to read or not; it takes nothing, and is not the end.
    assert_eq!(stream.read(&mut []).await.unwrap(), 0);
    assert_eq!(stream.peeks(&mut []).await.unwrap(), 0);
    peer.write_all(b"x").await.unwrap();
    assert_eq!(stream.read(&mut []).await.unwrap(), 0);
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    peer.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut []).await.unwrap(), 0);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[test]
fn reads_and_writes_of_nothing_do_nothing() {
    on_each_stream!(nothing, Wire);
}

async fn fills<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    let mut memory = [MaybeUninit::<u8>::uninit(); 100];
    let mut buf = ReadBuf::uninit(&mut memory);
    buf.put_slice(b"before ");
    peer.write_all(b"the rest").await.unwrap();
    while buf.filled().len() < 15 {
        // Less room than there is memory, and some of it initialized before.
        let mut limited = buf.take(3);
        limited.initialize_unfilled_to(1);
        std::future::poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut limited))
            .await
            .unwrap();
        let (read, initialized) = (limited.filled().len(), limited.initialized().len());
        assert!((1..=3).contains(&read));
        // SAFETY: `limited` has initialized so many, and they are next.
        unsafe { buf.assume_init(initialized) };
        buf.advance(read);
    }
    assert_eq!(buf.filled(), b"before the rest");

    // One without room is left as it is.
    peer.write_all(b"more").await.unwrap();
    let mut memory = *b"full";
    let mut full = ReadBuf::new(&mut memory);
    full.set_filled(4);
    std::future::poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut full))
        .await
        .unwrap();
    assert_eq!(full.filled(), b"full");

    // Pending leaves it as it is.
    let mut memory = [7; 10];
    stream.read_exact(&mut memory[..4]).await.unwrap();
    let mut buf = ReadBuf::new(&mut memory);
    buf.set_filled(2);
    tokio::select! {
        biased;
        _ = std::future::poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf)) => {
            panic!("there is nothing to read");
        }
        _ = std::future::ready(()) => {}
    }
    assert_eq!(buf.filled().len(), 2);
    assert_eq!(buf.filled(), b"mo");
}

#[test]
fn a_read_adds_to_what_a_read_buf_has() {
    on_each_stream!(fills, Wire);
}
