//! A transport that panics once while small writes are kept: what comes out is what went in, or it
//! ends (H10).

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::common::handshake::{client_context, server_context};
use openssl::ssl::Ssl;
use openssl_async_jobs::tokio::LocalSslStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Takes,
    IsFull,
    Panics,
}

struct Moody(DuplexStream, Rc<Cell<Mode>>);

impl AsyncRead for Moody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Moody {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.1.get() {
            Mode::Takes => Pin::new(&mut self.0).poll_write(cx, from),
            Mode::IsFull => Poll::Pending,
            Mode::Panics => {
                self.1.set(Mode::Takes);
                panic!("once")
            }
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_transport_that_panics_does_not_have_kept_writes_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (here, there) = tokio::io::duplex(1 << 20);
        let mode = Rc::new(Cell::new(Mode::Takes));
        let server = Ssl::new(&server_context(|_| ())).unwrap();
        let client = Ssl::new(&client_context(|_| ())).unwrap();
        let mut ours = LocalSslStream::new(server, Moody(here, Rc::clone(&mode))).unwrap();
        let mut peer = tokio_openssl::SslStream::new(client, there).unwrap();
        let (a, b) = tokio::join!(Pin::new(&mut ours).accept(), Pin::new(&mut peer).connect());
        a.unwrap();
        b.unwrap();
        // A record that is not taken.
        mode.set(Mode::IsFull);
        ours.write_all(b"first").await.unwrap();
        ours.set_write_coalescing(true);
        ours.write_all(b"second").await.unwrap();
        mode.set(Mode::Panics);
        let mut flush = std::pin::pin!(ours.flush());
        let flushed = std::future::poll_fn(|cx| {
            Poll::Ready(catch_unwind(AssertUnwindSafe(|| flush.as_mut().poll(cx))))
        })
        .await;
        assert!(flushed.is_err());
        ours.write_all(b"third").await.unwrap();
        ours.flush().await.unwrap();
        let mut got = vec![0; 16];
        let n = tokio::select! {
            read = peer.read_exact(&mut got) => read.unwrap(),
            () = async { for _ in 0..1000 { tokio::task::yield_now().await } } => 0,
        };
        assert_eq!(
            (n, String::from_utf8_lossy(&got)),
            (16, "firstsecondthird".into())
        );
    });
}
