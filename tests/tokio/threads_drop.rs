//! The future of a handshake on job threads dropped in each of its states: it is cancelled on its
//! thread, and all that it had is freed there, with nobody else to poll for it (H1, H3). Closures:
//! `threads_drop_run.rs`.

use std::pin::{pin, Pin};

use openssl::ssl::Ssl;
use openssl_async_jobs::tokio::{JobThreads, SslStream};
use openssl_async_jobs::{suspend, Error, SuspendError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};

use super::ends::{client, on_many_threads, on_one_thread, server, server_context};
use super::held::{begin, poll_once, polled_times, Witness};
use super::pinned::{assert_idle, hook, hooked, one_thread, thread_of, until};
use crate::common::engine::{Operation, Tells};

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Server,
    Client,
}

const BOTH: [End; 2] = [End::Server, End::Client];

impl End {
    fn ssl(self) -> Ssl {
        match self {
            End::Server => server(&server_context(|_| {})),
            End::Client => client(),
        }
    }

    fn other(self) -> End {
        match self {
            End::Server => End::Client,
            End::Client => End::Server,
        }
    }

    async fn handshake(
        self,
        threads: &JobThreads,
        ssl: Ssl,
        io: DuplexStream,
    ) -> Result<SslStream<DuplexStream>, Error> {
        match self {
            End::Server => threads.accept(ssl, io).await,
            End::Client => threads.connect(ssl, io).await,
        }
    }

    /// An end that shakes hands as far as that goes, and says when the other one is gone.
    fn peer(self, io: DuplexStream) -> tokio::task::JoinHandle<()> {
        let mut stream = SslStream::new(self.ssl(), io).unwrap();
        tokio::spawn(async move {
            let mut stream = Pin::new(&mut stream);
            let _ = match self {
                End::Server => stream.as_mut().accept().await,
                End::Client => stream.as_mut().connect().await,
            };
            let _ = stream.read(&mut [0]).await;
        })
    }
}

fn for_both(test: impl AsyncFn(End)) {
    for end in BOTH {
        on_many_threads(test(end));
        on_one_thread(test(end));
    }
}

#[test]
fn a_handshake_that_was_never_polled_has_not_begun() {
    for_both(async |end| {
        let threads = one_thread(1);
        let (io, _there) = tokio::io::duplex(100);
        let mut ssl = end.ssl();
        let freed = Witness::of(&mut ssl);
        drop(end.handshake(&threads, ssl, io));
        assert_eq!(threads.operations(), 0);
        freed.await.unwrap();
        assert_eq!(threads.stats().await.started, 0);
    });
}

#[test]
fn a_handshake_that_waits_for_a_job_leaves_the_queue() {
    for_both(async |end| {
        let threads = one_thread(1);
        let thread = thread_of(&threads).await;
        let (open, opened) = oneshot::channel::<()>();
        let mut first = pin!(threads.run(move || suspend(opened).unwrap().unwrap()));
        begin(first.as_mut()).await;
        let (io, there) = tokio::io::duplex(10_000);
        let _peer = end.other().peer(there);
        let mut ssl = end.ssl();
        let freed = Witness::of(&mut ssl);
        let mut queued = Box::pin(end.handshake(&threads, ssl, io));
        begin(queued.as_mut()).await;
        let mut after_it = pin!(threads.run(|| "in turn"));
        begin(after_it.as_mut()).await;
        until(&threads, |stats| stats.waiting == 2).await;

        drop(queued);
        assert_eq!(freed.await.unwrap(), thread);
        until(&threads, |stats| stats.waiting == 1).await;
        open.send(()).unwrap();
        first.await;
        assert_eq!(after_it.await, "in turn");
        assert_idle(&threads).await;
    });
}

#[test]
fn a_handshake_that_waits_for_its_peer_gives_up_its_transport() {
    for_both(async |end| {
        let threads = one_thread(1);
        let thread = thread_of(&threads).await;
        let (io, mut there) = tokio::io::duplex(10_000);
        let mut ssl = end.ssl();
        let freed = Witness::of(&mut ssl);
        let mut waits = Box::pin(end.handshake(&threads, ssl, io));
        begin(waits.as_mut()).await;
        // The beginning of a record, with which its thread has been at it.
        there.write_all(&[22, 3, 1]).await.unwrap();
        until(&threads, |stats| stats.finished > 1).await;
        // It has no job meanwhile.
        assert_eq!(threads.run(|| "free").await, "free");
        assert_eq!(threads.operations(), 1);

        drop(waits);
        assert_eq!(freed.await.unwrap(), thread);
        there.read_to_end(&mut Vec::new()).await.unwrap();
        assert_idle(&threads).await;
    });
}

#[test]
fn a_suspended_handshake_is_told_and_its_future_is_dropped_on_its_thread() {
    for_both(async |end| {
        let threads = one_thread(1);
        let thread = thread_of(&threads).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let (futures, mut future) = mpsc::unbounded_channel();
        hook(&threads, move || {
            let (witness, dropped) = Witness::new();
            let _ = futures.send(dropped);
            let never = async move {
                let _witness = witness;
                std::future::pending::<()>().await
            };
            let _ = tell.send((suspend(never), std::thread::current().id()));
        })
        .await;
        let (io, there) = tokio::io::duplex(10_000);
        let peer = end.other().peer(there);
        let mut ssl = end.ssl();
        hooked(&mut ssl);
        let freed = Witness::of(&mut ssl);
        let mut suspended = Box::pin(end.handshake(&threads, ssl, io));
        begin(suspended.as_mut()).await;
        let dropped = future.recv().await.unwrap();
        assert!(told.try_recv().is_err());

        drop(suspended);
        assert_eq!(dropped.await.unwrap(), thread);
        assert_eq!(
            told.recv().await.unwrap(),
            (Err(SuspendError::Cancelled), thread)
        );
        assert_eq!(freed.await.unwrap(), thread);
        peer.await.unwrap();
        assert_idle(&threads).await;
    });
}

#[test]
fn a_handshake_that_an_engine_has_paused_is_freed_once_that_has_completed() {
    for tells in Tells::ALL {
        for_both(async |end| {
            let threads = one_thread(1);
            let thread = thread_of(&threads).await;
            let (begun, mut begins) = mpsc::unbounded_channel();
            hook(&threads, move || {
                let operation = Operation::new(*tells);
                let _ = operation.run_with(|| {
                    let _ = begun.send(operation.clone());
                });
            })
            .await;
            let (io, there) = tokio::io::duplex(10_000);
            let _peer = end.other().peer(there);
            let mut ssl = end.ssl();
            hooked(&mut ssl);
            let mut freed = Witness::of(&mut ssl);
            let mut paused = Box::pin(end.handshake(&threads, ssl, io));
            begin(paused.as_mut()).await;
            let first = begins.recv().await.unwrap();

            drop(paused);
            while threads.operations() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(threads.stats().await.in_flight, 1);
            first.assert_not_resumed();
            // The device: nobody polls for the job any more, and each completion brings the next.
            first.complete();
            let mut all = vec![first];
            let freed_on = loop {
                tokio::select! {
                    freed = &mut freed => break freed.unwrap(),
                    Some(next) = begins.recv() => {
                        next.complete();
                        all.push(next);
                    }
                }
            };
            assert_eq!(freed_on, thread);
            all.iter().for_each(Operation::assert_resumed_once);
            assert_idle(&threads).await;
            assert_eq!(threads.stats().await.reaped, 1);
        });
    }
}

#[test]
fn a_handshake_that_is_done_and_not_taken_is_closed() {
    for_both(async |end| {
        let threads = one_thread(1);
        let (io, there) = tokio::io::duplex(10_000);
        let mut ssl = end.ssl();
        let freed = Witness::of(&mut ssl);
        let mut done = Box::pin(end.handshake(&threads, ssl, io));
        begin(done.as_mut()).await;
        let peer = end.other().peer(there);
        while threads.operations() > 0 {
            tokio::task::yield_now().await;
        }
        drop(done);
        freed.await.unwrap();
        peer.await.unwrap();
        assert_idle(&threads).await;
    });
}

#[test]
fn a_handshake_dropped_after_any_number_of_polls_leaves_nothing() {
    for_both(async |end| {
        let threads = one_thread(2);
        hook(&threads, || {
            let _ = suspend(tokio::task::yield_now());
        })
        .await;
        for polls in 0.. {
            let (io, there) = tokio::io::duplex(700);
            let peer = end.other().peer(there);
            let mut ssl = end.ssl();
            hooked(&mut ssl);
            let freed = Witness::of(&mut ssl);
            let shaken = polled_times(polls, end.handshake(&threads, ssl, io)).await;
            if let Some(mut stream) = shaken.map(|shaken| shaken.unwrap()) {
                let mut buffer = [0];
                let mut read = pin!(stream.read(&mut buffer));
                begin(read.as_mut()).await;
                peer.abort();
                let _ = poll_once(read.as_mut()).await;
                break;
            }
            freed.await.unwrap();
            peer.await.unwrap();
            assert_idle(&threads).await;
        }
        until(&threads, |stats| stats.in_flight == 0).await;
    });
}
