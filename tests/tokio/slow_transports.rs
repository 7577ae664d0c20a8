//! Transports that take a part, are pending, or take nothing for a while: nothing is lost, and what
//! is not sent yet whoever comes next sends.

use std::pin::Pin;
use std::task::Poll;

use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::each::{on_each_stream, opened, opened_over, Peer, Stream};
use super::polled::poll_now;
use super::wire::{wires, Act, Call, Wire};
use crate::common::script::Numbers;

fn bytes(len: usize) -> Vec<u8> {
    Numbers::new(len as u64).bytes(len)
}

async fn talk<T: Stream<Wire>>(stream: T, peer: Peer, len: usize) {
    let (up, down) = (bytes(len), bytes(len + 20_000.min(len)));
    async fn end<T: Stream<Wire>>(stream: T, sends: &[u8]) -> (Vec<u8>, T) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut received = Vec::new();
        let write = async {
            writer.write_all(sends).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(reader.read_to_end(&mut received), write);
        read.unwrap();
        (received, reader.unsplit(writer))
    }
    let ((ours, _stream), (theirs, _peer)) = tokio::join!(end(stream, &up), end(peer, &down));
    assert!(ours == down, "{} bytes", ours.len());
    assert!(theirs == up, "{} bytes", theirs.len());
}

/// What the transport does, by the number of the call of its kind.
type Pattern = fn(usize, &mut Numbers) -> Act;
const PATTERNS: &[Pattern] = &[
    |n, _| if n % 2 == 0 { Act::Later } else { Act::All },
    |n, _| {
        if n % 2 == 0 {
            Act::Later
        } else {
            Act::AtMost(100)
        }
    },
    |_, _| Act::AtMost(37),
    |n, numbers| match n % 3 {
        0 => Act::Later,
        _ => Act::AtMost(1 + numbers.below(3000)),
    },
];

async fn gets_through<T: Stream<Wire>>(policy: AsyncPolicy) {
    for pattern in PATTERNS {
        let (here, there) = wires();
        let (mut calls, mut numbers) = ([0; 4], Numbers::new(5));
        let here = here.with(move |call| {
            let n = &mut calls[call as usize];
            *n += 1;
            pattern(*n, &mut numbers)
        });
        let (stream, peer) = opened_over::<T, _>(policy, here, there).await;
        talk(stream, peer, 40_000).await;
    }
    // Ways that are shorter than a record.
    for (capacity, len) in [(1, 500), (500, 40_000), (20_000, 70_000)] {
        let (here, there) = wires();
        here.outgoing.set_capacity(capacity);
        here.incoming.set_capacity(capacity);
        let (stream, peer) = opened_over::<T, _>(policy, here, there).await;
        talk(stream, peer, len).await;
    }
}

#[test]
fn everything_gets_through_a_transport_that_is_slow_in_any_way() {
    on_each_stream!(gets_through, Wire);
}

/// Who sends what a transport has not taken, after a write that was accepted.
async fn sends_later<T: Stream<Wire>>(policy: AsyncPolicy) {
    for who in ["flush", "read", "peek", "shutdown", "write"] {
        let (mut stream, mut peer) = opened::<T>(policy).await;
        peer.write_all(b"for a read").await.unwrap();
        let outgoing = stream.transport().outgoing.clone();
        let sent = outgoing.len();
        outgoing.set_capacity(0);
        assert_eq!(stream.write(b"hello").await.unwrap(), 5, "accepted");
        assert_eq!(outgoing.len(), sent);
        // It is flushed when it is sent, not before.
        assert!(poll_now(|cx| Pin::new(&mut stream).poll_flush(cx)).is_none());
        outgoing.set_capacity(usize::MAX);
        assert_eq!(outgoing.len(), sent);
        match who {
            "flush" => stream.flush().await.unwrap(),
            "read" => drop(stream.read(&mut [0; 3]).await.unwrap()),
            "peek" => drop(stream.peeks(&mut [0; 3]).await.unwrap()),
            "shutdown" => stream.shutdown().await.unwrap(),
            _ => assert_eq!(stream.write(b" world").await.unwrap(), 6),
        }
        let mut hello = [0; 5];
        peer.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello", "{who}");
        if who == "write" {
            let mut world = [0; 6];
            peer.read_exact(&mut world).await.unwrap();
        }
    }
}

#[test]
fn what_the_transport_does_not_take_is_sent_by_whoever_comes_next() {
    on_each_stream!(sends_later, Wire);
}

async fn waits_for_room<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    let outgoing = stream.transport().outgoing.clone();
    outgoing.set_capacity(0);
    // Memory for what is not sent is bounded.
    let mut accepted = Vec::new();
    let piece = bytes(5000);
    while let Some(written) = poll_now(|cx| Pin::new(&mut stream).poll_write(cx, &piece)) {
        accepted.extend_from_slice(&piece[..written.unwrap()]);
        assert!(accepted.len() < 1 << 18, "accepts without an end");
    }
    assert!(!accepted.is_empty());
    // Reading goes on meanwhile.
    peer.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    assert!(poll_now(|cx| Pin::new(&mut stream).poll_shutdown(cx)).is_none());
    assert!(!outgoing.has_ended(), "before what was written is sent");
    outgoing.set_capacity(1000);
    let mut received = Vec::new();
    let (closed, read) = tokio::join!(stream.shutdown(), peer.read_to_end(&mut received));
    closed.unwrap();
    read.unwrap();
    assert!(received == accepted);
}

#[test]
fn a_writer_waits_while_too_much_is_unsent_and_a_reader_does_not() {
    on_each_stream!(waits_for_room, Wire);
}

async fn flushes<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    stream.transport().take_calls();
    stream.write_all(b"hello").await.unwrap();
    stream.flush().await.unwrap();
    let calls = stream.transport().take_calls();
    let last = calls.iter().rposition(|call| *call == Call::Write).unwrap();
    let flush = calls.iter().rposition(|call| *call == Call::Flush).unwrap();
    assert!(last < flush, "{calls:?}");
    // A flush that is pending is not done.
    let mut n = 0;
    stream.transport().set_script(move |call| match call {
        Call::Flush if n < 3 => {
            n += 1;
            Act::Later
        }
        _ => Act::All,
    });
    for _ in 0..3 {
        assert!(poll_now(|cx| Pin::new(&mut stream).poll_flush(cx)).is_none());
    }
    assert!(matches!(
        poll_now(|cx| Pin::new(&mut stream).poll_flush(cx)),
        Some(Ok(()))
    ));
    // Nor is a shutdown whose transport is not shut down.
    let mut n = 0;
    stream.transport().set_script(move |call| match call {
        Call::Shutdown if n < 3 => {
            n += 1;
            Act::Later
        }
        _ => Act::All,
    });
    for _ in 0..3 {
        assert!(poll_now(|cx| Pin::new(&mut stream).poll_shutdown(cx)).is_none());
    }
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    peer.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"hello");
}

#[test]
fn a_flush_and_a_shutdown_wait_for_the_transports() {
    on_each_stream!(flushes, Wire);
}

async fn stays_broken<T: Stream<Wire>>(policy: AsyncPolicy) {
    use std::io::ErrorKind;
    let (mut stream, mut peer) = opened::<T>(policy).await;
    stream.transport().set_script(|call| match call {
        Call::Write => Act::Fail(ErrorKind::BrokenPipe),
        _ => Act::All,
    });
    // Accepted, as far as the caller knows; then refused, again and again.
    let _ = stream.write(b"hello").await;
    for _ in 0..3 {
        assert_eq!(
            stream.write(b"x").await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(
            stream.flush().await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    }
    assert_eq!(
        stream.shutdown().await.unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    // What has come is read all the same.
    peer.write_all(b"an answer").await.unwrap();
    peer.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"an answer");
}

#[test]
fn after_an_error_in_sending_writers_are_refused_and_readers_go_on() {
    on_each_stream!(stays_broken, Wire);
}

/// Writes of other things than the one that was pending: no record is spoilt.
async fn writes_another<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened::<T>(policy).await;
    let outgoing = stream.transport().outgoing.clone();
    outgoing.set_capacity(outgoing.len() + 10);
    let mut accepted = Vec::new();
    for n in 0..200u8 {
        let piece = vec![n; 3000];
        match poll_now(|cx| Pin::new(&mut stream).poll_write(cx, &piece)) {
            Some(written) => accepted.extend_from_slice(&piece[..written.unwrap()]),
            None => outgoing.set_capacity(outgoing.len() + 5000),
        }
        let mut memory = [0; 10];
        let mut buf = ReadBuf::new(&mut memory);
        let read = poll_now(|cx| match Pin::new(&mut stream).poll_read(cx, &mut buf) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => Poll::Pending,
        });
        assert!(read.is_none(), "there is nothing");
    }
    outgoing.set_capacity(usize::MAX);
    stream.shutdown().await.unwrap();
    let mut received = Vec::new();
    peer.read_to_end(&mut received).await.unwrap();
    assert!(received == accepted);
}

#[test]
fn a_write_that_was_pending_need_not_be_the_next() {
    on_each_stream!(writes_another, Wire);
}

#[cfg(ossl111)]
async fn is_read_to_its_end<T: Stream<Wire>>(policy: AsyncPolicy) {
    use crate::common::key_update::update_keys;
    use tokio::io::AsyncWrite;
    const RECORD: usize = 16 * 1024;
    let (mut stream, mut peer) = opened::<T>(policy).await;
    stream.transport().outgoing.set_capacity(0);
    // The answers to these are what is to be sent: more and more, until nothing is read any more.
    for round in 0.. {
        assert!(round < 1000, "there is a limit");
        for _ in 0..300 {
            assert!(update_keys(peer.ssl(), true));
            let _ = poll_now(|cx| peer.poll_handshakes(cx));
        }
        let sent = poll_now(|cx| Pin::new(&mut peer).poll_write(cx, &[7; RECORD]));
        assert_eq!(sent.unwrap().unwrap(), RECORD);
        let mut memory = [0; 1024];
        let mut got = 0;
        loop {
            let mut buf = ReadBuf::new(&mut memory);
            match poll_now(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf)) {
                Some(read) => read.unwrap(),
                None if got == 0 => return,
                None => panic!("{got} bytes of a record that is there"),
            }
            got += buf.filled().len();
            if got == RECORD {
                break;
            }
        }
    }
}

/// Read in pieces, it was decrypted as a whole.
#[cfg(ossl111)]
#[test]
fn a_record_that_is_begun_is_read_to_its_end_whatever_is_to_be_sent() {
    on_each_stream!(is_read_to_its_end, Wire);
}
