//! This crate's streams.

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use openssl::ssl::{SniError, Ssl, SslContext};
use openssl_async_jobs::suspend;
use openssl_async_jobs::tokio::{JobThreads, LocalSslStream, SslStream};
use tokio::net::TcpStream;

use crate::identity::Key;
use crate::peers::{openssl_server, Operation, Peer};

fn context(key: Key, operation: Operation) -> SslContext {
    openssl_server(key, |ctx| match operation {
        Operation::Nothing => {}
        Operation::Millisecond => ctx.set_servername_callback(|_, _| {
            let sleep = tokio::time::sleep(Duration::from_millis(1));
            suspend(sleep).map_err(|_| SniError::ALERT_FATAL)
        }),
        Operation::Never => ctx
            .set_servername_callback(|_, _| suspend(pending()).map_err(|_| SniError::ALERT_FATAL)),
    })
}

/// `LocalSslStream`, with the default policy.
#[derive(Clone)]
pub struct Ours {
    context: SslContext,
}

impl Peer for Ours {
    type Stream = LocalSslStream<TcpStream>;

    fn new(key: Key, operation: Operation) -> Ours {
        Ours {
            context: context(key, operation),
        }
    }

    async fn accept(&self, socket: TcpStream) -> io::Result<LocalSslStream<TcpStream>> {
        let mut stream = LocalSslStream::new(Ssl::new(&self.context)?, socket)?;
        let accepted = Pin::new(&mut stream).accept().await;
        accepted.map_err(io::Error::other)?;
        Ok(stream)
    }
}

/// Likewise, with small writes put together until a flush.
#[derive(Clone)]
pub struct Coalescing(Ours);

impl Peer for Coalescing {
    type Stream = LocalSslStream<TcpStream>;

    fn new(key: Key, operation: Operation) -> Coalescing {
        Coalescing(Ours::new(key, operation))
    }

    async fn accept(&self, socket: TcpStream) -> io::Result<LocalSslStream<TcpStream>> {
        let mut stream = self.0.accept(socket).await?;
        stream.set_write_coalescing(true);
        Ok(stream)
    }
}

/// `JobThreads` with one thread, and the stream that any thread may have.
#[derive(Clone)]
pub struct OursOnThreads {
    context: SslContext,
    threads: JobThreads,
}

impl Peer for OursOnThreads {
    type Stream = SslStream<TcpStream>;

    fn new(key: Key, operation: Operation) -> OursOnThreads {
        let threads = JobThreads::builder().threads(1).build();
        OursOnThreads {
            context: context(key, operation),
            threads: threads.expect("a thread"),
        }
    }

    async fn accept(&self, socket: TcpStream) -> io::Result<SslStream<TcpStream>> {
        let ssl = Ssl::new(&self.context)?;
        Ok(self.threads.accept(ssl, socket).await?)
    }
}
