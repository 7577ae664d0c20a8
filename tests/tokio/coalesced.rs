//! Small writes that are kept, to be records together, when something panics (H10) or pauses, and when
//! the connection is renegotiated.

use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::Waker;

use foreign_types::ForeignTypeRef;
use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{suspend, AsyncPolicy, CurrentJob};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::each::{opened_now, Peer, Stream};
use super::ends::{client, on_one_thread, server, server_context};
use super::polled::{poll_now, poll_with, Woken};
use super::renegotiation;
use super::wire::{wires, Act, Call, Wire};
use crate::common::engine::{Operation, Tells};
use crate::common::records::on_each_record;

const TAKES: usize = 0;
const IS_FULL: usize = 1;
const PANICS_ONCE: usize = 2;

#[test]
fn what_was_kept_when_a_transport_panicked_is_sent_in_its_order() {
    on_one_thread(async {
        let mode = Arc::new(AtomicUsize::new(TAKES));
        let does = Arc::clone(&mode);
        let (here, there) = wires();
        let here = here.with(move |call| match (call, does.load(Ordering::SeqCst)) {
            (Call::Write, IS_FULL) => Act::Wait,
            (Call::Write, PANICS_ONCE) => {
                does.store(TAKES, Ordering::SeqCst);
                panic!("a transport, on purpose")
            }
            _ => Act::All,
        });
        let mut ours = LocalSslStream::new(server(&server_context(|_| {})), here).unwrap();
        let mut peer = SslStream::new(client(), there).unwrap();
        let (accepted, connected) =
            tokio::join!(Pin::new(&mut ours).accept(), Pin::new(&mut peer).connect());
        accepted.and(connected).unwrap();

        // A record that is not taken comes first.
        mode.store(IS_FULL, Ordering::SeqCst);
        ours.write_all(b"first ").await.unwrap();
        ours.set_write_coalescing(true);
        ours.write_all(b"second ").await.unwrap();
        mode.store(PANICS_ONCE, Ordering::SeqCst);
        let flush = || poll_now(|cx| Pin::new(&mut ours).poll_flush(cx));
        assert!(catch_unwind(AssertUnwindSafe(flush)).is_err());
        ours.write_all(b"third").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "first second third");
    });
}

fn write(stream: &mut LocalSslStream<Wire>, bytes: &[u8]) {
    let written = poll_now(|cx| Pin::new(stream).poll_write(cx, bytes));
    assert_eq!(written.expect("there is room").unwrap(), bytes.len());
}

fn flush_with(stream: &mut LocalSslStream<Wire>, waker: &Waker) -> Option<()> {
    poll_with(waker, |cx| Pin::new(stream).poll_flush(cx)).map(Result::unwrap)
}

fn read_with(stream: &mut LocalSslStream<Wire>, waker: &Waker) -> Option<Vec<u8>> {
    let mut bytes = [0; 10];
    let mut buf = ReadBuf::new(&mut bytes);
    let read = poll_with(waker, |cx| Pin::new(stream).poll_read(cx, &mut buf));
    read.map(|read| {
        read.unwrap();
        buf.filled().to_vec()
    })
}

fn panics_at_its_next_write(wire: &mut Wire) {
    let mut panics = true;
    wire.set_script(move |call| match call {
        Call::Write if std::mem::take(&mut panics) => panic!("a transport, on purpose"),
        _ => Act::All,
    });
}

#[test]
fn what_libssl_took_before_a_transport_panicked_is_not_written_again() {
    on_one_thread(async {
        // A record that is copied, one that goes through, and several.
        for len in [500, 10_000, 50_000] {
            let (mut stream, mut peer) = opened_now::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
            stream.set_write_coalescing(true);
            let bytes: Vec<u8> = (0..len).map(|n| (n / 251 + n) as u8).collect();
            write(&mut stream, &bytes);
            panics_at_its_next_write(stream.get_mut());
            let flush = || poll_now(|cx| Pin::new(&mut stream).poll_flush(cx));
            assert!(catch_unwind(AssertUnwindSafe(flush)).is_err());
            stream.shutdown().await.unwrap();
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.unwrap();
            assert!(got == bytes, "{} of {len}", got.len());
        }
    });
}

#[test]
fn what_was_read_when_a_transport_panicked_over_a_write_is_read_again() {
    let (mut stream, mut peer) = opened_now::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
    let outgoing = stream.get_ref().outgoing.clone();
    outgoing.set_capacity(outgoing.len());
    write(&mut stream, b"unsent");
    let sent = poll_now(|cx| Pin::new(&mut peer).poll_write(cx, b"abcdefghijkl"));
    assert_eq!(sent.unwrap().unwrap(), 12);
    // It is sent once the read is done: not before, as there is something to read.
    let mut writes = 0;
    stream.get_mut().set_script(move |call| {
        writes += usize::from(call == Call::Write);
        match (call, writes) {
            (Call::Write, 1) => Act::Wait,
            (Call::Write, 2) => panic!("a transport, on purpose"),
            _ => Act::All,
        }
    });
    let (_, waker) = Woken::new();
    let first = catch_unwind(AssertUnwindSafe(|| read_with(&mut stream, &waker)));
    assert!(first.is_err(), "it was to panic: {first:?}");
    let mut got = Vec::new();
    while let Some(read) = read_with(&mut stream, &waker) {
        got.extend(read);
    }
    assert_eq!(got, b"abcdefghijkl");
}

thread_local! {
    /// What the next record waits for in its job.
    static NEXT: RefCell<Option<Operation>> = const { RefCell::new(None) };
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

/// A server each record of which asks those.
async fn opened_with_records_that_wait() -> (LocalSslStream<Wire>, Peer) {
    let ctx = server_context(|_ctx| {
        #[cfg(ossl111)]
        _ctx.set_num_tickets(0).unwrap();
    });
    let mut ssl = server(&ctx);
    on_each_record(&mut ssl, || {
        if CurrentJob::get().is_none() {
            return;
        }
        if let Some(operation) = NEXT.take() {
            operation.run();
        }
        if PANICS.take() {
            let _ = suspend(async { panic!("a future, on purpose") });
        }
    });
    let (here, there) = wires();
    let mut stream = LocalSslStream::new(ssl, here).unwrap();
    let mut peer: Peer = Stream::over(client(), there, AsyncPolicy::Always);
    let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
    accepted.and(connected).unwrap();
    (stream, peer)
}

#[test]
fn what_a_job_took_before_its_future_panicked_is_not_written_again() {
    on_one_thread(async {
        let (mut stream, mut peer) = opened_with_records_that_wait().await;
        stream.set_write_coalescing(true);
        write(&mut stream, b"once");
        stream.set_policy(AsyncPolicy::Always);
        PANICS.set(true);
        let flush = || poll_now(|cx| Pin::new(&mut stream).poll_flush(cx));
        assert!(catch_unwind(AssertUnwindSafe(flush)).is_err());
        stream.shutdown().await.unwrap();
        let mut got = String::new();
        peer.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "once");
    });
}

#[test]
fn a_writer_is_woken_though_a_reader_goes_on_with_what_it_wrote() {
    on_one_thread(async {
        let (mut stream, _peer) = opened_with_records_that_wait().await;
        let outgoing = stream.get_ref().outgoing.clone();
        outgoing.set_capacity(outgoing.len());
        // One that is unsent, and more than goes at once beside it.
        write(&mut stream, &[0; 1000]);
        stream.set_write_coalescing(true);
        write(&mut stream, &[0; 65_000]);
        stream.set_policy(AsyncPolicy::Always);
        let operation = Operation::new(Tells::ALL[0]);
        NEXT.set(Some(operation.clone()));
        let (writer, writers) = Woken::new();
        let (reader, readers) = Woken::new();
        assert!(flush_with(&mut stream, &writers).is_none());
        outgoing.set_capacity(usize::MAX);
        assert!(flush_with(&mut stream, &writers).is_none());
        assert!(stream.is_in_flight());
        assert!(read_with(&mut stream, &readers).is_none());
        writer.take();
        reader.take();
        operation.complete();
        loop {
            // The operation's thread, or the reactor.
            tokio::task::yield_now().await;
            let mut is_writers_turn = writer.take() > 0;
            if !is_writers_turn && reader.take() > 0 {
                assert!(read_with(&mut stream, &readers).is_none());
                is_writers_turn = writer.take() > 0;
                let goes_on = is_writers_turn || stream.is_in_flight();
                assert!(goes_on, "the writer is not woken");
            }
            if is_writers_turn && flush_with(&mut stream, &writers).is_some() {
                return;
            }
        }
    });
}

/// libssl takes no plaintext while it writes for a handshake: a read goes on with that.
#[test]
fn a_reader_that_waits_in_a_renegotiation_writes_nothing() {
    let (mut stream, mut peer) =
        renegotiation::opened::<LocalSslStream<Wire>>(AsyncPolicy::Handshake);
    stream.set_write_coalescing(true);
    write(&mut stream, b"kept");
    // SAFETY: a live SSL that nobody uses at the moment.
    let begun = unsafe { renegotiation::c::SSL_renegotiate(peer.ssl().as_ptr()) };
    assert_eq!(begun, 1);
    let _ = poll_now(|cx| peer.poll_handshakes(cx));
    let request = stream.get_ref().incoming.len();
    let sent = poll_now(|cx| Pin::new(&mut peer).poll_write(cx, b"data"));
    assert_eq!(sent.unwrap().unwrap(), 4);
    // What follows the request comes after the read has begun to wait.
    let mut reads = 0;
    stream.get_mut().set_script(move |call| {
        reads += usize::from(call == Call::Read);
        match (call, reads) {
            (Call::Read, 1) => Act::AtMost(request),
            (Call::Read, 2) => Act::Later,
            _ => Act::All,
        }
    });
    let (mut read, mut got) = (Vec::new(), Vec::new());
    let (_, waker) = Woken::new();
    for _ in 0..20 {
        read.extend(read_with(&mut stream, &waker).into_iter().flatten());
        let mut bytes = [0; 10];
        let mut buf = ReadBuf::new(&mut bytes);
        if let Some(peers) = poll_now(|cx| Pin::new(&mut peer).poll_read(cx, &mut buf)) {
            peers.unwrap();
            got.extend(buf.filled());
        }
    }
    assert_eq!((&read[..], &got[..]), (&b"data"[..], &b"kept"[..]));
}
