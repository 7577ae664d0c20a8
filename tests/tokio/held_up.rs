//! Writes that a full transport holds up: they are records together, and whatever is called next
//! finds them as it would find what is only unsent.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::{pin, Pin};

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{AsyncPolicy, JobPool};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::each::{on_each_stream, opened_now, Peer, Stream};
use super::ends::on_one_thread;
#[cfg(ossl111)]
use super::ends::{server, server_context};
use super::polled::{poll_now, poll_with, Woken};
use super::renegotiation;
#[cfg(ossl111)]
use super::wire::wires;
use super::wire::{Act, Call, Wire};

const RECORD: usize = 16 * 1024;
/// What TLS 1.3 adds to a record.
#[cfg(ossl111)]
const OVERHEAD: usize = 22;
/// What AES-GCM in TLS 1.2 does.
#[cfg(not(ossl111))]
const OVERHEAD: usize = 29;

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

/// A stream that has accepted what its transport does not take.
fn held<T: Stream<Wire>>(policy: AsyncPolicy) -> (T, Peer, Vec<u8>) {
    let (mut stream, peer) = opened_now::<T>(policy);
    fill(&mut stream);
    let speech = speech(5000);
    assert_eq!(write_until_pending(&mut stream, &speech, 1000), 5000);
    (stream, peer, speech)
}

fn flush(stream: &mut impl Stream<Wire>) {
    let flushed = poll_now(|cx| Pin::new(stream).poll_flush(cx));
    flushed.expect("it takes all").unwrap();
}

fn read_now(stream: &mut impl Stream<Wire>) -> Option<io::Result<Vec<u8>>> {
    let mut bytes = [0; 10];
    let mut buf = ReadBuf::new(&mut bytes);
    let read = poll_now(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buf));
    read.map(|read| read.map(|()| buf.filled().to_vec()))
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
        assert_eq!(
            written,
            1000 + 4 * RECORD - (1000 + OVERHEAD),
            "it has a limit"
        );
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
        let (mut stream, mut peer, speech) = held::<T>(policy);
        open(&mut stream);
        if something_comes {
            peer.write_all(b"x").await.unwrap();
        }
        assert_eq!(read_now(&mut stream).is_some(), something_comes);
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

async fn goes_with_a_read_that_fails<T: Stream<Wire>>(policy: AsyncPolicy) {
    type Fail = fn(&mut Wire, &mut Peer);
    let fails: [Fail; 4] = [
        |_, peer| {
            let closed = poll_now(|cx| Pin::new(peer).poll_shutdown(cx));
            closed.unwrap().unwrap();
        },
        |wire, _| wire.incoming.end(),
        |wire, _| {
            wire.set_script(|call| match call {
                Call::Read => Act::Fail(ErrorKind::TimedOut),
                _ => Act::All,
            });
        },
        // No record.
        |wire, _| wire.incoming.tamper(|bytes| bytes.extend([0; 20])),
    ];
    for (number, fail) in fails.iter().enumerate() {
        let (mut stream, mut peer, speech) = held::<T>(policy);
        fail(stream.transport(), &mut peer);
        open(&mut stream);
        let read = read_now(&mut stream).expect("it need not wait");
        assert!(read.is_err() || read.is_ok_and(|bytes| bytes.is_empty()));
        assert!(got(&mut peer, 5000) == speech, "{policy:?} {number}");
    }
}

#[test]
fn what_was_held_up_is_sent_with_a_read_that_fails() {
    on_each_stream!(goes_with_a_read_that_fails, Wire);
}

async fn goes_before_the_alert<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer, speech) = held::<T>(policy);
    stream
        .transport()
        .incoming
        .tamper(|bytes| bytes.extend([0; 20]));
    read_now(&mut stream).expect("it is no record").unwrap_err();
    open(&mut stream);
    // Of a job's error it tells; but the peer has all there is.
    let _ = poll_now(|cx| Pin::new(&mut stream).poll_flush(cx));
    assert!(got(&mut peer, 5000) == speech, "{policy:?}");
}

#[test]
fn what_was_held_up_goes_before_the_alert_of_a_read() {
    on_each_stream!(goes_before_the_alert, Wire);
}

async fn goes_with_a_handshake<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer, speech) = held::<T>(policy);
    open(&mut stream);
    let done = poll_now(|cx| stream.poll_handshakes(cx));
    done.expect("it is done").unwrap();
    assert!(got(&mut peer, 5000) == speech, "{policy:?}");
}

#[test]
fn what_was_held_up_is_sent_with_a_handshake_that_is_done() {
    on_each_stream!(goes_with_a_handshake, Wire);
}

#[test]
fn what_was_held_up_is_not_coalesced_when_that_begins() {
    let (mut stream, mut peer, speech) = held::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
    stream.set_write_coalescing(true);
    let more = poll_now(|cx| Pin::new(&mut stream).poll_write(cx, b"more"));
    assert_eq!(more.unwrap().unwrap(), 4);
    open(&mut stream);
    let sent = poll_now(|cx| Pin::new(&mut peer).poll_write(cx, b"x"));
    sent.unwrap().unwrap();
    assert_eq!(read_now(&mut stream).unwrap().unwrap(), b"x");
    assert!(got(&mut peer, 5000) == speech);
    assert!(read_now(&mut peer).is_none());
    flush(&mut stream);
    assert_eq!(got(&mut peer, 4), b"more");
}

#[test]
fn what_was_held_up_goes_along_to_another_thread() {
    let (stream, mut peer, speech) = held::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
    let mut stream = stream.into_send().ok().unwrap();
    let closing = std::thread::spawn(move || {
        open(&mut stream);
        let closed = poll_now(|cx| Pin::new(&mut stream).poll_shutdown(cx));
        closed.unwrap().unwrap();
    });
    closing.join().unwrap();
    assert!(got(&mut peer, 5000) == speech);
}

#[test]
fn what_was_held_up_is_written_as_it_was_before_the_ssl_or_the_policy_is_changed() {
    let records = |change: fn(&mut LocalSslStream<Wire>)| {
        let (mut stream, mut peer, speech) = held::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
        let before = stream.transport().outgoing.records();
        change(&mut stream);
        open(&mut stream);
        let jobs = JobPool::stats().started;
        flush(&mut stream);
        assert_eq!(JobPool::stats().started, jobs);
        let records = stream.transport().outgoing.records() - before;
        assert!(got(&mut peer, 5000) == speech);
        records
    };
    let unchanged = records(|_| ());
    let with_small_records = records(|stream| {
        use foreign_types::ForeignTypeRef;
        const SET_MAX_SEND_FRAGMENT: std::os::raw::c_int = 52;
        let ssl = stream.ssl_mut().expect("nothing is in flight").as_ptr();
        // SAFETY: a live SSL that nobody uses at the moment, and a size that there may be.
        let set =
            unsafe { openssl_sys::SSL_ctrl(ssl, SET_MAX_SEND_FRAGMENT, 512, std::ptr::null_mut()) };
        assert_eq!(set, 1);
    });
    let as_jobs = records(|stream| stream.set_policy(AsyncPolicy::Always));
    assert_eq!([with_small_records, as_jobs], [unchanged; 2]);
}

/// Until it is refused, which it has to be soon.
#[cfg(ossl111)]
fn assert_writes_are_refused(stream: &mut impl Stream<Wire>) {
    for _ in 0..2 {
        let write = poll_now(|cx| Pin::new(&mut *stream).poll_write(cx, &[0; 1000]));
        // A job's write is done when it is accepted: the next one says how it went.
        if write.expect("it need not wait").is_err() {
            return;
        }
    }
    panic!("two writes were accepted");
}

#[cfg(ossl111)]
async fn is_refused_after_a_fatal_error<T: Stream<Wire>>(policy: AsyncPolicy) {
    let (mut stream, mut peer) = opened_now::<T>(policy);
    fill(&mut stream);
    peer.write_all(b"x").await.unwrap();
    let spoil = |bytes: &mut std::collections::VecDeque<u8>| *bytes.back_mut().unwrap() ^= 1;
    stream.transport().incoming.tamper(spoil);
    read_now(&mut stream).unwrap().unwrap_err();
    assert_writes_are_refused(&mut stream);

    let (here, there) = wires();
    let no_hello = [0x16, 3, 1, 0, 4, 9, 9, 9, 9];
    there.outgoing.tamper(|bytes| bytes.extend(no_hello));
    here.outgoing.set_capacity(0);
    let mut stream = T::over(server(&server_context(|_| {})), here, policy);
    let accepted = poll_now(|cx| stream.poll_accepts(cx));
    accepted.unwrap().unwrap_err();
    assert_writes_are_refused(&mut stream);
}

/// OpenSSL 1.1.0 goes on encrypting.
#[cfg(ossl111)]
#[test]
fn a_write_after_a_fatal_error_is_refused_though_the_transport_is_full() {
    on_each_stream!(is_refused_after_a_fatal_error, Wire);
}

/// libssl has its answer to a change of keys flushed.
#[cfg(ossl111)]
#[test]
fn a_flush_that_is_held_up_holds_up_no_write() {
    use crate::common::key_update::update_keys;
    let (mut stream, mut peer) = opened_now::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
    assert!(update_keys(peer.ssl(), true));
    let sent = poll_now(|cx| Pin::new(&mut peer).poll_write(cx, b"x"));
    sent.unwrap().unwrap();
    stream.transport().set_script(|call| match call {
        Call::Flush => Act::Wait,
        _ => Act::All,
    });
    assert_eq!(read_now(&mut stream).unwrap().unwrap(), b"x");
    assert_eq!(write_until_pending(&mut stream, b"abc", 1), 3);
    assert_eq!(got(&mut peer, 3), b"abc");
}

/// Our client begins a handshake while the server's data is on its way: libssl takes that with a read, and
/// not with a write.
#[test]
fn what_was_held_up_is_not_written_while_a_renegotiation_goes_on() {
    use foreign_types::ForeignTypeRef;
    extern "C" {
        fn SSL_set_options(ssl: *mut openssl_sys::SSL, options: u64) -> u64;
    }
    /// Of OpenSSL 3; without, it is allowed.
    const ALLOW_CLIENT_RENEGOTIATION: u64 = 1 << 8;
    for is_asked_for_first in [true, false] {
        let (mut stream, mut peer) =
            renegotiation::opened::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
        if cfg!(ossl300) {
            // SAFETY: a live SSL that nobody uses at the moment.
            unsafe { SSL_set_options(peer.ssl().as_ptr(), ALLOW_CLIENT_RENEGOTIATION) };
        }
        let renegotiate = |stream: &LocalSslStream<Wire>| {
            // SAFETY: likewise.
            let begun = unsafe { renegotiation::c::SSL_renegotiate(stream.ssl().as_ptr()) };
            assert_eq!(begun, 1);
        };
        fill(&mut stream);
        assert_eq!(write_until_pending(&mut stream, b"first ", 6), 6);
        let (mut ours, mut peers) = (Vec::new(), Vec::new());
        let mut second = 0;
        if is_asked_for_first {
            renegotiate(&stream);
            second += write_until_pending(&mut stream, b"second", 6);
        } else {
            second += write_until_pending(&mut stream, b"second", 6);
            renegotiate(&stream);
        }
        open(&mut stream);
        assert!(read_now(&mut stream).is_none());
        assert_eq!(
            poll_now(|cx| Pin::new(&mut peer).poll_write(cx, b"data"))
                .unwrap()
                .unwrap(),
            4
        );
        for _ in 0..8 {
            ours.extend(read_now(&mut stream).into_iter().flat_map(Result::unwrap));
            peers.extend(read_now(&mut peer).into_iter().flat_map(Result::unwrap));
        }
        for _ in 0..8 {
            second += write_until_pending(&mut stream, &b"second"[second..], 6);
            let _ = poll_now(|cx| Pin::new(&mut stream).poll_flush(cx));
            peers.extend(read_now(&mut peer).into_iter().flat_map(Result::unwrap));
        }
        assert_eq!(
            (&ours[..], &peers[..]),
            (&b"data"[..], &b"first second"[..])
        );
    }
}
