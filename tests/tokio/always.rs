//! Records as jobs: what an engine pauses after the handshake, what becomes of operations whose
//! callers are gone, and of what there is when the stream goes to another thread.

use std::cell::RefCell;
use std::pin::Pin;
use std::thread;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{AsyncPolicy, CurrentJob};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::each::{Peer, Stream};
use super::ends::{client, on_one_thread, server, server_context};
use super::polled::poll_now;
use super::wire::{wires, Wire};
use crate::common::engine::{Operation, Tells};
use crate::common::records::on_each_record;

thread_local! {
    /// What pauses the next record of this thread's connections.
    static NEXT: RefCell<Option<Operation>> = const { RefCell::new(None) };
}

fn pause_next(tells: Tells) -> Operation {
    let operation = Operation::new(tells);
    NEXT.set(Some(operation.clone()));
    operation
}

fn record() {
    if CurrentJob::get().is_some() {
        if let Some(operation) = NEXT.take() {
            operation.run();
        }
    }
}

async fn open() -> (LocalSslStream<Wire>, Peer) {
    let (here, there) = wires();
    let ctx = server_context(|_ctx| {
        #[cfg(ossl111)]
        _ctx.set_num_tickets(0).unwrap();
    });
    let mut ssl = server(&ctx);
    // Before the handshake: from 3.2 on libssl's records take it from there.
    on_each_record(&mut ssl, record);
    let mut stream = LocalSslStream::new(ssl, here).unwrap();
    stream.set_policy(AsyncPolicy::Always);
    let mut peer: Peer = Stream::over(client(), there, AsyncPolicy::Always);
    let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
    accepted.unwrap();
    connected.unwrap();
    (stream, peer)
}

/// Runs it for each way in which an engine tells.
macro_rules! for_all {
    (|$tells:ident| $test:expr) => {
        for &$tells in Tells::ALL {
            on_one_thread(async { $test });
        }
    };
}

/// Completes it from another thread, after many polls for nothing.
async fn complete_late<T>(operation: &Operation, mut poll: impl FnMut() -> Option<T>) {
    for _ in 0..20 {
        assert!(poll().is_none());
        tokio::task::yield_now().await;
    }
    operation.assert_not_resumed();
    let operation = operation.clone();
    thread::spawn(move || operation.complete());
}

#[test]
fn a_read_that_is_paused_goes_on_when_its_engine_is_done() {
    for_all!(|tells| {
        let (mut stream, mut peer) = open().await;
        peer.write_all(b"hello").await.unwrap();
        let operation = pause_next(tells);
        complete_late(&operation, || {
            poll_now(|cx| stream.poll_peeks(cx, &mut [0; 9]))
        })
        .await;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
        operation.assert_resumed_once();
    });
}

#[test]
fn a_write_that_is_paused_has_taken_its_bytes_and_a_flush_waits_for_it() {
    for_all!(|tells| {
        let (mut stream, mut peer) = open().await;
        let operation = pause_next(tells);
        // What the caller has it in may be used for another.
        let mut buffer = *b"hello";
        assert_eq!(stream.write(&buffer).await.unwrap(), 5);
        buffer.copy_from_slice(b"other");
        complete_late(&operation, || {
            poll_now(|cx| Pin::new(&mut stream).poll_flush(cx))
        })
        .await;
        assert_eq!(stream.write(&buffer).await.unwrap(), 5);
        stream.flush().await.unwrap();
        operation.assert_resumed_once();
        let mut received = [0; 10];
        peer.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"helloother");
    });
}

#[test]
fn a_shutdown_that_is_paused_goes_on_when_its_engine_is_done() {
    for_all!(|tells| {
        let (mut stream, mut peer) = open().await;
        stream.write_all(b"last").await.unwrap();
        stream.flush().await.unwrap();
        let operation = pause_next(tells);
        complete_late(&operation, || {
            poll_now(|cx| Pin::new(&mut stream).poll_shutdown(cx))
        })
        .await;
        assert!(!stream.get_ref().outgoing.has_ended());
        stream.shutdown().await.unwrap();
        operation.assert_resumed_once();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"last");
    });
}

#[test]
fn a_shutdown_comes_after_a_write_that_is_paused() {
    for_all!(|tells| {
        let (mut stream, mut peer) = open().await;
        let operation = pause_next(tells);
        stream.write_all(b"last").await.unwrap();
        complete_late(&operation, || {
            poll_now(|cx| Pin::new(&mut stream).poll_shutdown(cx))
        })
        .await;
        stream.shutdown().await.unwrap();
        operation.assert_resumed_once();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"last");
    });
}

/// A read whose caller is gone while an engine has paused it.
async fn cancelled_read(
    tells: Tells,
    stream: &mut LocalSslStream<Wire>,
    peer: &mut Peer,
) -> Operation {
    peer.write_all(b"for whoever reads next").await.unwrap();
    let operation = pause_next(tells);
    let mut buffer = vec![0; 100];
    tokio::select! {
        biased;
        _ = stream.read(&mut buffer) => panic!("it is paused"),
        () = tokio::task::yield_now() => {}
    }
    assert!(buffer.iter().all(|byte| *byte == 0));
    assert!(stream.is_in_flight());
    operation
}

#[test]
fn what_a_cancelled_read_brings_the_next_reader_has() {
    for_all!(|tells| {
        let (mut stream, mut peer) = open().await;
        let operation = cancelled_read(tells, &mut stream, &mut peer).await;
        // A writer goes on meanwhile, once it has brought it.
        operation.complete();
        stream.write_all(b"a write").await.unwrap();
        stream.flush().await.unwrap();
        operation.assert_resumed_once();
        let mut received = [0; 22];
        for piece in received.chunks_mut(5) {
            stream.read_exact(piece).await.unwrap();
        }
        assert_eq!(&received, b"for whoever reads next");
        let mut written = [0; 7];
        peer.read_exact(&mut written).await.unwrap();
        assert_eq!(&written, b"a write");
    });
}

#[test]
fn a_stream_with_an_operation_in_flight_stays_on_its_thread() {
    for_all!(|tells| {
        let (mut stream, mut peer) = open().await;
        let operation = cancelled_read(tells, &mut stream, &mut peer).await;
        let mut stream = stream.into_send().unwrap_err();
        assert!(stream.is_in_flight());
        operation.assert_not_resumed();
        operation.complete();
        let mut received = [0; 22];
        stream.read_exact(&mut received).await.unwrap();
        operation.assert_resumed_once();
        let mut stream = stream.into_send().unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), 1);
    });
}

#[test]
fn a_stream_before_its_handshake_or_within_it_stays_on_its_thread() {
    on_one_thread(async {
        for policy in [
            AsyncPolicy::Always,
            AsyncPolicy::Handshake,
            AsyncPolicy::Never,
        ] {
            let ctx = server_context(|_| {});
            let (here, there) = wires();
            let mut stream = LocalSslStream::new(server(&ctx), here).unwrap();
            stream.set_policy(policy);
            let mut peer: Peer = Stream::over(client(), there, policy);
            let mut rounds = 0;
            while poll_now(|cx| stream.poll_accepts(cx)).is_none() {
                stream = stream.into_send().expect_err("it is not done");
                let _ = poll_now(|cx| peer.poll_connects(cx));
                rounds += 1;
                assert!(rounds < 20, "stuck");
            }
            assert!(rounds > 0);
            drop(stream.into_send().unwrap());
            // One whose handshake has failed is none to hand over either.
            let (here, there) = wires();
            let mut stream = LocalSslStream::new(server(&ctx), here).unwrap();
            stream.set_policy(policy);
            drop(there);
            stream.accepts().await.unwrap_err();
            stream.into_send().expect_err("it has failed");
        }
    });
}

/// Sends all that there is, reads to the end, on another thread.
fn elsewhere(mut stream: SslStream<Wire>) -> (SslStream<Wire>, Vec<u8>) {
    thread::spawn(move || {
        on_one_thread(async move {
            let mut received = Vec::new();
            stream.read_to_end(&mut received).await.unwrap();
            stream.shutdown().await.unwrap();
            (stream, received)
        })
    })
    .join()
    .unwrap()
}

#[test]
fn what_was_read_and_not_asked_for_goes_along_to_another_thread() {
    for_all!(|tells| {
        for peeks in [true, false] {
            let (mut stream, mut peer) = open().await;
            let operation = cancelled_read(tells, &mut stream, &mut peer).await;
            operation.complete();
            // Some is still encrypted.
            peer.write_all(&[7; 40_000]).await.unwrap();
            peer.shutdown().await.unwrap();
            let mut first = [0; 3];
            let len = match peeks {
                true => {
                    assert_eq!(stream.peeks(&mut first).await.unwrap(), 3);
                    0
                }
                false => stream.read(&mut first).await.unwrap(),
            };
            assert_eq!(&first, b"for");
            let (_stream, received) = elsewhere(stream.into_send().unwrap());
            let mut expected = b"for whoever reads next"[len..].to_vec();
            expected.resize(expected.len() + 40_000, 7);
            assert!(received == expected, "{} bytes", received.len());
        }
    });
}

#[test]
fn what_was_written_and_not_sent_goes_along_to_another_thread() {
    on_one_thread(async {
        let (mut stream, mut peer) = open().await;
        let outgoing = stream.get_ref().outgoing.clone();
        outgoing.set_capacity(10);
        let mut accepted = 0;
        while let Some(written) =
            poll_now(|cx| Pin::new(&mut stream).poll_write(cx, &[accepted as u8; 3000]))
        {
            assert_eq!(written.unwrap(), 3000);
            accepted += 1;
        }
        assert!(accepted > 0);
        peer.shutdown().await.unwrap();
        let stream = stream.into_send().unwrap();
        outgoing.set_capacity(usize::MAX);
        let (_stream, _) = elsewhere(stream);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        let expected: Vec<u8> = (0..accepted).flat_map(|n| [n as u8; 3000]).collect();
        assert!(received == expected, "{} bytes", received.len());
    });
}
