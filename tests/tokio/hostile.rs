//! Transports that lie and panic, and streams in places where they do not belong: an error or a panic
//! of theirs, and nothing else of it (H2, H3, H7, H10).

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use openssl_async_jobs::tokio::{JobThreads, LocalSslStream, SslStream};
use openssl_async_jobs::{block_on, suspend, CurrentJob, Job, JobPool, SuspendError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::ends::{client, on_many_threads, on_one_thread, server, server_context};
use crate::common::executor::quiet_waker;
use crate::common::thread::{on_a_new_thread, PATIENCE};

/// What it does in place of reading or writing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Reads into another buffer, and says so much of it is read.
    OtherBuffer(usize),
    ClaimsToHaveWritten(usize),
    PanicsInRead,
    PanicsInWrite,
    PanicsInFlush,
}

struct Hostile {
    io: DuplexStream,
    deed: Rc<Cell<Option<Deed>>>,
}

impl AsyncRead for Hostile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.deed.get() {
            Some(Deed::PanicsInRead) => panic!("a read, on purpose"),
            Some(Deed::OtherBuffer(len)) => {
                *to = ReadBuf::new(Box::leak(vec![0; len].into_boxed_slice()));
                to.advance(len);
                Poll::Ready(Ok(()))
            }
            _ => Pin::new(&mut self.io).poll_read(cx, to),
        }
    }
}

impl AsyncWrite for Hostile {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.deed.get() {
            Some(Deed::PanicsInWrite) => panic!("a write, on purpose"),
            Some(Deed::ClaimsToHaveWritten(more)) => Poll::Ready(Ok(from.len() + more)),
            _ => Pin::new(&mut self.io).poll_write(cx, from),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.deed.get() {
            Some(Deed::PanicsInFlush) => panic!("a flush, on purpose"),
            _ => Pin::new(&mut self.io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[test]
fn a_transport_that_claims_more_than_it_was_given_is_an_error() {
    for deed in [
        Deed::OtherBuffer(10_000_000),
        Deed::ClaimsToHaveWritten(1),
        Deed::ClaimsToHaveWritten(usize::MAX / 2),
    ] {
        on_one_thread(async {
            let (io, _there) = tokio::io::duplex(5000);
            let deed = Rc::new(Cell::new(Some(deed)));
            let mut stream = LocalSslStream::new(client(), Hostile { io, deed }).unwrap();
            let e = Pin::new(&mut stream).connect().await.unwrap_err();
            let kind = e.io_error().map(io::Error::kind);
            assert_eq!(kind, Some(io::ErrorKind::InvalidData), "{e}");
        });
    }
}

#[test]
fn a_transport_that_reads_elsewhere_breaks_its_own_connection_only() {
    on_one_thread(async {
        let (io, _there) = tokio::io::duplex(5000);
        let deed = Rc::new(Cell::new(Some(Deed::OtherBuffer(100))));
        let mut stream = LocalSslStream::new(client(), Hostile { io, deed }).unwrap();
        let e = Pin::new(&mut stream).connect().await.unwrap_err();
        assert!(e.ssl_error().is_some(), "{e}");
    });
}

#[test]
fn a_transport_that_panics_may_be_called_again() {
    for deed in [Deed::PanicsInRead, Deed::PanicsInWrite, Deed::PanicsInFlush] {
        on_one_thread(async {
            let ctx = server_context(|ctx| {
                ctx.set_servername_callback(|_, _| {
                    suspend(tokio::task::yield_now()).unwrap();
                    Ok(())
                })
            });
            let (io, there) = tokio::io::duplex(5000);
            let does = Rc::new(Cell::new(None));
            let deed_of = Rc::clone(&does);
            let hostile = Hostile { io, deed: deed_of };
            let mut ours = LocalSslStream::new(server(&ctx), hostile).unwrap();
            let mut theirs = SslStream::new(client(), there).unwrap();
            let connects = tokio::task::spawn_local(async move {
                Pin::new(&mut theirs).connect().await.unwrap();
                theirs
            });
            does.set(Some(deed));
            let mut panics = 0;
            std::future::poll_fn(|cx| loop {
                let poll = || Pin::new(&mut ours).poll_accept(cx);
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)) {
                    Ok(polled) => return polled,
                    Err(_) => {
                        panics += 1;
                        does.set(None);
                    }
                }
            })
            .await
            .unwrap();
            assert_eq!(panics, 1);
            connects.await.unwrap();
        });
    }
}

#[test]
fn what_a_transport_panicked_over_is_sent_when_it_is_called_again() {
    on_one_thread(async {
        let ctx = server_context(|_| ());
        let (io, there) = tokio::io::duplex(5000);
        let deed = Rc::new(Cell::new(None));
        let hostile = Hostile {
            io,
            deed: Rc::clone(&deed),
        };
        let mut ours = LocalSslStream::new(server(&ctx), hostile).unwrap();
        let mut theirs = SslStream::new(client(), there).unwrap();
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut ours).accept(),
            Pin::new(&mut theirs).connect()
        );
        accepted.and(connected).unwrap();

        ours.write_all(b"first ").await.unwrap();
        deed.set(Some(Deed::PanicsInWrite));
        let waker = quiet_waker();
        let mut cx = Context::from_waker(&waker);
        let write = || Pin::new(&mut ours).poll_write(&mut cx, b"second ");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).unwrap_err();
        deed.set(None);
        ours.write_all(b"third").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "first second third");
    });
}

/// A server's handshake that pauses for ever in its callback, polled until it does.
fn suspended() -> (LocalSslStream<DuplexStream>, DuplexStream) {
    let ctx = server_context(|ctx| {
        ctx.set_servername_callback(|_, _| {
            assert_eq!(
                suspend(std::future::pending::<()>()),
                Err(SuspendError::Cancelled)
            );
            Err(openssl::ssl::SniError::ALERT_FATAL)
        })
    });
    let (here, there) = tokio::io::duplex(5000);
    let mut ours = LocalSslStream::new(server(&ctx), here).unwrap();
    let mut theirs = SslStream::new(client(), there).unwrap();
    let waker = quiet_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut theirs).poll_connect(&mut cx).is_pending());
    assert!(Pin::new(&mut ours).poll_accept(&mut cx).is_pending());
    assert!(ours.is_in_flight());
    let there = std::mem::replace(theirs.get_mut(), tokio::io::duplex(1).0);
    (ours, there)
}

#[test]
fn a_paused_stream_may_be_dropped_inside_the_callback_of_another() {
    on_one_thread(async {
        let (paused, _there) = suspended();
        // A callback is `Send` and `Sync`: so it is its thread that hands it the stream.
        thread_local!(static PAUSED: RefCell<Option<LocalSslStream<DuplexStream>>> =
            const { RefCell::new(None) });
        PAUSED.set(Some(paused));
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                assert!(CurrentJob::get().is_some());
                drop(PAUSED.take());
                suspend(tokio::task::yield_now()).unwrap();
                Ok(())
            })
        });
        let (here, there) = tokio::io::duplex(5000);
        let mut ours = LocalSslStream::new(server(&ctx), here).unwrap();
        let mut theirs = SslStream::new(client(), there).unwrap();
        let (accepted, connected) = tokio::join!(
            Pin::new(&mut ours).accept(),
            Pin::new(&mut theirs).connect()
        );
        accepted.unwrap();
        connected.unwrap();
        assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn a_paused_stream_that_is_forgotten_keeps_its_job_and_nothing_else() {
    on_a_new_thread(|| {
        on_one_thread(async {
            let (paused, _there) = suspended();
            std::mem::forget(paused);
            let (other, _there) = suspended();
            drop(other);
            assert_eq!(JobPool::stats().in_flight, 1);
            assert_eq!(Job::new(|| 3).await, 3);
        });
    });
}

#[test]
fn a_stream_in_a_closure_on_a_job_thread_pauses_with_it_and_is_cancelled_with_it() {
    on_many_threads(async {
        let threads = JobThreads::builder()
            .threads(1)
            .max_jobs(1)
            .build()
            .unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = std::sync::Mutex::new(Some(tell));
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(move |_, _| {
                tell.lock().unwrap().take().unwrap().send(()).unwrap();
                // The job is the closure's: the stream is inline in it.
                match suspend(std::future::pending::<()>()) {
                    Err(SuspendError::Cancelled) => Err(openssl::ssl::SniError::ALERT_FATAL),
                    other => panic!("{other:?}"),
                }
            })
        });
        let (here, there) = tokio::io::duplex(5000);
        let mut ours = SslStream::new(server(&ctx), here).unwrap();
        let connect = tokio::spawn(async move {
            let mut theirs = SslStream::new(client(), there).unwrap();
            Pin::new(&mut theirs).connect().await.unwrap_err();
        });
        let pool = threads.clone();
        let run = tokio::spawn(async move {
            pool.run(move || {
                let accepted = Box::pin(Pin::new(&mut ours).accept());
                block_on(accepted, None).ok().unwrap().unwrap_err();
            })
            .await
        });
        told.await.unwrap();
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        // With what it had captured.
        connect.await.unwrap();
        assert_eq!(threads.run(|| 1).await, 1);
        assert_eq!(threads.stats().await.in_flight, 0);
    });
}
