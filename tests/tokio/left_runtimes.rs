//! A stream that is paused by a wait fd, and leaves the runtime whose reactor watches that (H9).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;

use openssl::ssl;
use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::{block_on, JobPool};
use tokio::io::DuplexStream;

use super::ends::{client, in_time, server, server_context};
use crate::common::engine::{Operation, Tells};
use crate::common::executor::quiet_waker;
use crate::common::thread::{on_a_new_thread, PATIENCE};

/// A server's handshake that is paused by a file descriptor which this runtime's reactor watches, the
/// operation, and the client.
fn paused_in(
    runtime: &tokio::runtime::Runtime,
) -> (
    LocalSslStream<DuplexStream>,
    Operation,
    SslStream<DuplexStream>,
) {
    let (begun, begins) = mpsc::channel::<Operation>();
    let ctx = server_context(|ctx| {
        ctx.set_servername_callback(move |_, _| {
            let operation = Operation::new(Tells::Fd);
            operation.run_with(|| begun.send(operation.clone()).unwrap());
            Ok(())
        })
    });
    let (here, there) = tokio::io::duplex(5000);
    let mut ours = LocalSslStream::new(server(&ctx), here).unwrap();
    let mut theirs = SslStream::new(client(), there).unwrap();
    let _inside = runtime.enter();
    let waker = quiet_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut theirs).poll_connect(&mut cx).is_pending());
    assert!(Pin::new(&mut ours).poll_accept(&mut cx).is_pending());
    (ours, begins.recv().unwrap(), theirs)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

#[test]
fn a_stream_that_leaves_its_runtime_goes_on_in_another_and_without_one() {
    let ways = [(true, true), (true, false), (false, true), (false, false)];
    for (elsewhere, outlives) in ways {
        on_a_new_thread(move || {
            let first = runtime();
            let (mut ours, operation, mut theirs) = paused_in(&first);
            // It is gone, or nobody drives it.
            let first = Some(first).filter(|_| !outlives);
            // The device waits until somebody waits for it without the first runtime.
            let (wait, waits) = mpsc::channel();
            let completes = operation.clone();
            let device = thread::spawn(move || {
                waits.recv().unwrap();
                completes.complete();
            });
            let mut wait = Some(wait);
            let both = poll_fn(|cx| {
                let accepted = Pin::new(&mut ours).poll_accept(cx)?;
                if let Some(wait) = wait.take() {
                    assert!(accepted.is_pending());
                    operation.assert_not_resumed();
                    wait.send(()).unwrap();
                }
                let connected = Pin::new(&mut theirs).poll_connect(cx)?;
                match (accepted, connected) {
                    (Poll::Ready(()), Poll::Ready(())) => Poll::Ready(Ok::<_, ssl::Error>(())),
                    _ => Poll::Pending,
                }
            });
            match elsewhere {
                true => runtime().block_on(in_time(both)).unwrap(),
                false => block_on(both, PATIENCE)
                    .unwrap_or_else(|_| panic!("stuck"))
                    .unwrap(),
            }
            device.join().unwrap();
            operation.assert_resumed_once();
            drop(first);
        });
    }
}

#[test]
fn a_stream_that_is_dropped_after_its_runtime_comes_home_when_its_operation_has() {
    on_a_new_thread(|| {
        let first = runtime();
        let (ours, operation, theirs) = paused_in(&first);
        drop(first);
        drop((ours, theirs));
        operation.assert_not_resumed();
        operation.complete();
        assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        operation.assert_resumed_once();
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}
