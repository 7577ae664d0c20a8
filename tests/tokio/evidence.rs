//! A paused operation is polled for many reasons, and resumed once, when its completion has come
//! (H6); the reactor watches what the engine has registered at the time, and no longer (H9).

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use openssl::ssl::SslContext;
use openssl_async_jobs::tokio::LocalSslStream;
use openssl_async_jobs::{suspend, AsyncPolicy, JobPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::each::{Peer, Stream};
use super::ends::{client, on_one_thread, server, server_context};
use super::polled::{poll_with, Woken};
use super::wire::{wires, Wire};
use crate::common::engine::{Operation, Tells};

/// A server whose handshake is paused by an engine that tells so, and where its operations come.
pub fn paused_by(tells: Tells) -> (SslContext, mpsc::Receiver<Operation>) {
    let (begun, begins) = mpsc::channel();
    let ctx = server_context(|ctx| {
        ctx.set_servername_callback(move |_, _| {
            let operation = Operation::new(tells);
            operation.run_with(|| begun.send(operation.clone()).unwrap());
            Ok(())
        })
    });
    (ctx, begins)
}

/// A server, and its client, which has sent its hello.
pub fn asked(ctx: &SslContext) -> (LocalSslStream<Wire>, Peer) {
    let (here, there) = wires();
    let mut peer: Peer = Stream::over(client(), there, AsyncPolicy::Never);
    assert!(super::polled::poll_now(|cx| peer.poll_connects(cx)).is_none());
    (LocalSslStream::new(server(ctx), here).unwrap(), peer)
}

/// Polls it for all kinds of reasons but its own.
async fn disturb<T>(mut operation: Pin<&mut impl Future<Output = T>>) {
    for _ in 0..30 {
        tokio::select! {
            biased;
            _ = operation.as_mut() => panic!("it has not completed"),
            () = yield_now() => {}
        }
        if timeout(Duration::ZERO, operation.as_mut()).await.is_ok() {
            panic!("it has not completed");
        }
    }
    let others = async {
        for _ in 0..30 {
            yield_now().await;
        }
    };
    tokio::select! {
        _ = operation.as_mut() => panic!("it has not completed"),
        _ = async { tokio::join!(others, yield_now()) } => {}
    }
}

#[test]
fn a_handshake_is_resumed_once_however_often_it_is_polled() {
    for &tells in Tells::ALL {
        on_one_thread(async {
            let (ctx, begins) = paused_by(tells);
            let (mut stream, mut peer) = asked(&ctx);
            let before = JobPool::stats();
            {
                let mut accept = std::pin::pin!(Pin::new(&mut stream).accept());
                disturb(accept.as_mut()).await;
                let operation = begins.try_recv().expect("it has begun");
                operation.assert_not_resumed();
                assert_eq!(JobPool::stats().resumed, before.resumed);
                operation.complete();
                let (accepted, connected) = tokio::join!(accept, peer.connects());
                accepted.unwrap();
                connected.unwrap();
                operation.assert_resumed_once();
            }
            assert_eq!(JobPool::stats().resumed, before.resumed + 1);
            stream.write_u8(1).await.unwrap();
            assert_eq!(peer.read_u8().await.unwrap(), 1);
        });
    }
}

#[test]
fn a_handshake_that_is_suspended_is_resumed_when_its_future_is_ready() {
    on_one_thread(async {
        let (ask, questions) = mpsc::channel::<oneshot::Sender<()>>();
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(move |_, _| {
                let (answer, answered) = oneshot::channel();
                ask.send(answer).unwrap();
                suspend(answered).unwrap().unwrap();
                Ok(())
            })
        });
        let (mut stream, mut peer) = asked(&ctx);
        let before = JobPool::stats();
        let mut accept = std::pin::pin!(Pin::new(&mut stream).accept());
        disturb(accept.as_mut()).await;
        assert_eq!(JobPool::stats().resumed, before.resumed);
        questions.try_recv().unwrap().send(()).unwrap();
        let (accepted, connected) = tokio::join!(accept, peer.connects());
        accepted.unwrap();
        connected.unwrap();
        assert_eq!(JobPool::stats().resumed, before.resumed + 1);
    });
}

#[test]
fn a_task_that_waits_for_an_engine_is_woken_when_it_has_completed_and_not_before() {
    for &tells in Tells::ALL {
        on_one_thread(async {
            let (ctx, begins) = paused_by(tells);
            let (mut stream, mut peer) = asked(&ctx);
            let (woken, waker) = Woken::new();
            for _ in 0..100 {
                assert!(poll_with(&waker, |cx| stream.poll_accepts(cx)).is_none());
                yield_now().await;
            }
            assert_eq!(woken.take(), 0, "{tells:?}: a busy loop");
            let operation = begins.try_recv().unwrap();
            operation.complete();
            while woken.take() == 0 {
                // The runtime looks at its reactor now and then.
                yield_now().await;
            }
            operation.assert_not_resumed();
            assert!(poll_with(&waker, |cx| stream.poll_accepts(cx)).is_none());
            operation.assert_resumed_once();
            let (accepted, connected) = tokio::join!(stream.accepts(), peer.connects());
            accepted.unwrap();
            connected.unwrap();
        });
    }
}
