//! Writes that a full transport holds up.

use std::future::Future;
use std::pin::{pin, Pin};

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::each::{on_each_stream, opened_now, Peer, Stream};
use super::ends::on_one_thread;
use super::polled::{poll_now, poll_with, Woken};
use super::wire::Wire;

const RECORD: usize = 16 * 1024;

/// What a writer has to say, no piece of which is as another.
fn speech(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251 + n) as u8).collect()
}

/// Takes nothing more until [`open`].
fn fill(stream: &mut impl Stream<Wire>) {
    let outgoing = &stream.transport().outgoing;
    outgoing.set_capacity(outgoing.len());
}

fn open(stream: &mut impl Stream<Wire>) {
    stream.transport().outgoing.set_capacity(usize::MAX);
}

/// Writes pieces until it has to wait; how much has been accepted.
fn write_until_pending(stream: &mut impl Stream<Wire>, from: &[u8], piece: usize) -> usize {
    let mut written = 0;
    while written < from.len() {
        let end = from.len().min(written + piece);
        let poll = poll_now(|cx| Pin::new(&mut *stream).poll_write(cx, &from[written..end]));
        match poll {
            Some(len) => written += len.unwrap(),
            None => return written,
        }
    }
    written
}

fn flush(stream: &mut impl Stream<Wire>) {
    let flushed = poll_now(|cx| Pin::new(stream).poll_flush(cx));
    flushed.expect("it takes all").unwrap();
}

/// What has come to the peer.
fn got(peer: &mut Peer, len: usize) -> Vec<u8> {
    let mut got = vec![0; len];
    let mut read = pin!(peer.read_exact(&mut got));
    let read = poll_now(|cx| read.as_mut().poll(cx));
    read.expect("it has not come").unwrap();
    got
}

fn become_full_records<T: Stream<Wire> + 'static>(policy: AsyncPolicy) {
    on_one_thread(async {
        let (mut stream, mut peer) = opened_now::<T>(policy);
        let before = stream.transport().outgoing.records();
        fill(&mut stream);
        let speech = speech(1 << 20);
        let written = write_until_pending(&mut stream, &speech, 1000);
        assert_eq!(written, 1000 + 4 * RECORD, "what is held has its limit");
        open(&mut stream);
        flush(&mut stream);
        let records = stream.transport().outgoing.records() - before;
        assert_eq!(records, 1 + 4, "{policy:?}");
        assert!(got(&mut peer, written) == speech[..written]);
    });
}

#[test]
fn small_writes_that_a_full_transport_holds_up_are_full_records() {
    become_full_records::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
    become_full_records::<LocalSslStream<Wire>>(AsyncPolicy::Never);
    become_full_records::<SslStream<Wire>>(AsyncPolicy::Never);
}

async fn keeps_the_order<T: Stream<Wire>>(policy: AsyncPolicy) {
    for pieces in [&[10, 40_000, 10][..], &[100_000, 1], &[16_384, 1, 16_384]] {
        let (mut stream, mut peer) = opened_now::<T>(policy);
        fill(&mut stream);
        let speech = speech(pieces.iter().sum());
        let mut written = 0;
        for piece in pieces {
            let end = written + piece;
            written += write_until_pending(&mut stream, &speech[written..end], *piece);
        }
        open(&mut stream);
        let rest = speech[written..].to_vec();
        stream.write_all(&rest).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert!(got[..written] == speech[..written], "{pieces:?}");
        assert!(got[written..] == rest, "{pieces:?}");
    }
}

#[test]
fn what_was_held_up_goes_before_what_comes_after_it() {
    on_each_stream!(keeps_the_order, Wire);
}

async fn goes_with_a_read<T: Stream<Wire>>(policy: AsyncPolicy) {
    for something_comes in [true, false] {
        let (mut stream, mut peer) = opened_now::<T>(policy);
        fill(&mut stream);
        let speech = speech(5000);
        assert_eq!(write_until_pending(&mut stream, &speech, 1000), 5000);
        open(&mut stream);
        if something_comes {
            peer.write_all(b"x").await.unwrap();
        }
        let mut byte = [0];
        let read = poll_now(|cx| Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut byte)));
        assert_eq!(read.is_some(), something_comes);
        // Nobody calls the stream any more.
        assert!(got(&mut peer, 5000) == speech, "{policy:?}");
    }
}

#[test]
fn what_was_held_up_is_sent_with_a_read_whether_that_waits_or_not() {
    on_each_stream!(goes_with_a_read, Wire);
}

async fn wakes_the_writer<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, _peer) = opened_now::<T>(policy);
    let outgoing = stream.transport().outgoing.clone();
    fill(&mut stream);
    let speech = speech(1 << 20);
    let written = write_until_pending(&mut stream, &speech, 1000);
    let (woken, waker) = Woken::new();
    let mut write = || {
        let more = &speech[written..written + 1000];
        poll_with(&waker, |cx| Pin::new(&mut stream).poll_write(cx, more))
    };
    assert!(write().is_none());
    assert_eq!(woken.take(), 0, "{policy:?}");
    outgoing.set_capacity(usize::MAX);
    assert!(woken.take() > 0, "{policy:?}");
    assert!(write().is_some(), "{policy:?}");
}

#[test]
fn a_writer_that_waits_is_woken_when_the_transport_takes_more() {
    on_each_stream!(wakes_the_writer, Wire);
}

async fn is_refused<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, _peer) = opened_now::<T>(policy);
    fill(&mut stream);
    let closed = poll_now(|cx| Pin::new(&mut stream).poll_shutdown(cx));
    assert!(closed.is_none(), "the close_notify is not taken");
    let mut refused = false;
    for _ in 0..2 {
        // A job's write is done when it is accepted: the next one says how it went.
        let write = poll_now(|cx| Pin::new(&mut stream).poll_write(cx, b"late"));
        refused |= write.expect("it need not wait").is_err();
        if policy != AsyncPolicy::Always {
            assert!(refused, "{policy:?}");
        }
    }
    assert!(refused);
}

#[test]
fn a_write_after_the_end_is_refused_though_the_end_is_held_up() {
    on_each_stream!(is_refused, Wire);
}
