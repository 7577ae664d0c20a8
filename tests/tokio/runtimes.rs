//! A stream is of its thread, not of a runtime: a paused handshake goes on where there is no reactor,
//! no runtime, or another one than it began on.

use std::future::{poll_fn, Future};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use openssl_async_jobs::block_on;
use openssl_async_jobs::tokio::LocalSslStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use super::each::{Peer, Stream};
use super::evidence::{asked, paused_by};
use super::wire::Wire;
use crate::common::engine::{Operation, Tells};
use crate::common::thread::PATIENCE;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Both ends' handshakes, and a byte.
async fn finish(stream: &mut LocalSslStream<Wire>, peer: &mut Peer) {
    let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
    accepted.unwrap();
    connected.unwrap();
    stream.write_u8(1).await.unwrap();
    assert_eq!(peer.read_u8().await.unwrap(), 1);
}

/// Polls it once, as a task that goes on elsewhere.
async fn poll_once<F: Future>(future: F) {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        assert!(future.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Both ends' handshakes; the operation completes on another thread when all wait, so that somebody
/// has to wake them.
async fn finish_when_completed(
    stream: &mut LocalSslStream<Wire>,
    peer: &mut Peer,
    operation: &Operation,
) {
    let mut device = None;
    // Not every runtime here has a time-out.
    let stuck = Arc::new(AtomicBool::new(false));
    let (end, ended) = mpsc::channel::<()>();
    let mut ended = Some(ended);
    let mut rest = std::pin::pin!(finish(stream, peer));
    poll_fn(|cx| {
        let polled = rest.as_mut().poll(cx);
        assert!(!stuck.load(Ordering::SeqCst), "nobody was woken");
        if polled.is_pending() && device.is_none() {
            operation.assert_not_resumed();
            let operation = operation.clone();
            let (stuck, waker) = (Arc::clone(&stuck), cx.waker().clone());
            let ended = ended.take().unwrap();
            device = Some(thread::spawn(move || {
                operation.complete();
                if ended.recv_timeout(PATIENCE.unwrap()) == Err(RecvTimeoutError::Timeout) {
                    stuck.store(true, Ordering::SeqCst);
                    waker.wake();
                }
            }));
        }
        polled
    })
    .await;
    drop(end);
    device.expect("it was paused").join().unwrap();
}

#[test]
fn a_runtime_without_a_reactor_will_do() {
    for &tells in Tells::ALL {
        for _ in 0..2 {
            let (ctx, begins) = paused_by(tells);
            let (mut stream, mut peer) = asked(&ctx);
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(poll_once(stream.accepts()));
            let operation = begins.try_recv().unwrap();
            runtime.block_on(finish_when_completed(&mut stream, &mut peer, &operation));
            operation.assert_resumed_once();
        }
    }
}

#[test]
fn no_runtime_will_do() {
    for &tells in Tells::ALL {
        let (ctx, begins) = paused_by(tells);
        let (mut stream, mut peer) = asked(&ctx);
        block_on(Box::pin(poll_once(stream.accepts())), PATIENCE)
            .ok()
            .unwrap();
        let operation = begins.try_recv().unwrap();
        let rest = finish_when_completed(&mut stream, &mut peer, &operation);
        block_on(Box::pin(rest), PATIENCE).ok().expect("stuck");
        operation.assert_resumed_once();
    }
}

/// What becomes of the runtime that a handshake has begun on.
#[derive(Clone, Copy, Debug)]
enum Former {
    Gone,
    NotDriven,
    /// On another thread.
    Moved,
}

/// What it goes on with.
#[derive(Clone, Copy, Debug)]
enum Next {
    Other,
    WithoutReactor,
    ManyThreads,
    Nothing,
}

#[test]
fn a_paused_handshake_goes_on_with_another_runtime_on_its_thread() {
    for &tells in Tells::ALL {
        for former in [Former::Gone, Former::NotDriven, Former::Moved] {
            for next in [
                Next::Other,
                Next::WithoutReactor,
                Next::ManyThreads,
                Next::Nothing,
            ] {
                let (ctx, begins) = paused_by(tells);
                let (mut stream, mut peer) = asked(&ctx);
                let first = current_thread();
                // Twice: what is registered already stays so.
                for _ in 0..2 {
                    first.block_on(poll_once(stream.accepts()));
                }
                let operation = begins.try_recv().unwrap();
                let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
                let (mut kept, mut driver) = (None, None);
                match former {
                    Former::Gone => drop(first),
                    Former::NotDriven => kept = Some(first),
                    Former::Moved => {
                        let (driven, drives) = mpsc::channel();
                        driver = Some(thread::spawn(move || {
                            first.block_on(async {
                                driven.send(()).unwrap();
                                stopped.await
                            })
                        }));
                        drives.recv().unwrap();
                    }
                }
                goes_on(next, &mut stream, &mut peer, &operation);
                operation.assert_resumed_once();
                drop(stop);
                driver.map(|driver| driver.join().unwrap().unwrap_err());
                drop(stream);
                drop(kept);
            }
        }
    }
}

fn goes_on(next: Next, stream: &mut LocalSslStream<Wire>, peer: &mut Peer, operation: &Operation) {
    let rest = finish_when_completed(stream, peer, operation);
    match next {
        Next::Other => current_thread().block_on(rest),
        Next::WithoutReactor => Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(rest),
        Next::ManyThreads => Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
            .block_on(rest),
        Next::Nothing => block_on(Box::pin(rest), PATIENCE).ok().expect("stuck"),
    }
}
