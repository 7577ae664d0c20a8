//! The server: who connects, their handshakes, and their requests.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use openssl::ssl::{Ssl, SslContext};
use openssl_async_jobs::tokio::JobThreads;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::answer::{answer, About};
use crate::log::Log;
use crate::store::Store;
use crate::Result;

/// How long a client has to end what it has begun when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long a client may do nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// When `accept` fails for want of something, it is tried again after this.
const PAUSE: Duration = Duration::from_millis(100);

/// What does the handshakes.
#[derive(Clone)]
pub enum Handshakes {
    /// This crate.
    Jobs(JobThreads),
    /// tokio-openssl, on the runtime's workers.
    Sync,
}

pub struct Server {
    pub context: SslContext,
    pub store: Arc<Store>,
    pub handshakes: Handshakes,
    pub handshake_limit: Duration,
    pub log: Log,
    pub counts: Counts,
}

/// What the server has done.
#[derive(Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    pub handshakes: AtomicUsize,
    pub requests: AtomicUsize,
}

impl Server {
    /// Serves until it shall stop, and then ends what has begun.
    pub async fn run(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl std::future::Future<Output = ()>,
    ) {
        let graceful = GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => {
                        let (server, watcher) = (Arc::clone(&self), graceful.watcher());
                        tokio::spawn(server.welcome(socket, watcher));
                    }
                    // A client that has given up is its own affair.
                    Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(e) => {
                        eprintln!("https_server: cannot accept: {e}");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                () = &mut stop => break,
            }
        }
        drop(listener);
        self.log.always("stopping");
        if timeout(GRACE, graceful.shutdown()).await.is_err() {
            self.log.always("some connections were not done in time");
        }
    }

    async fn welcome(self: Arc<Self>, socket: TcpStream, watcher: Watcher) {
        let number = self.counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(e) = self.serve(number, socket, watcher).await {
            self.log.line(number, e);
        }
    }

    async fn serve(&self, number: usize, socket: TcpStream, watcher: Watcher) -> Result<()> {
        socket.set_nodelay(true)?;
        let ssl = Ssl::new(&self.context)?;
        match &self.handshakes {
            Handshakes::Jobs(threads) => {
                let accepted = self.in_time(threads.accept(ssl, socket)).await?;
                let about = About::of(accepted.ssl());
                self.requests(number, accepted, about, watcher).await
            }
            Handshakes::Sync => {
                let mut stream = tokio_openssl::SslStream::new(ssl, socket)?;
                self.in_time(Pin::new(&mut stream).accept()).await?;
                let about = About::of(stream.ssl());
                self.requests(number, stream, about, watcher).await
            }
        }
    }

    /// A client that goes no further is not waited for: its handshake is dropped, and so cancelled.
    async fn in_time<T, E: std::fmt::Display>(
        &self,
        handshake: impl std::future::Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        let limit = self.handshake_limit;
        let shaken = timeout(limit, handshake).await;
        let shaken = shaken.map_err(|_| format!("no handshake in {} ms", limit.as_millis()))?;
        let done = shaken.map_err(|e| format!("no handshake: {e}"))?;
        self.counts.handshakes.fetch_add(1, Ordering::Relaxed);
        Ok(done)
    }

    async fn requests<S>(
        &self,
        number: usize,
        stream: S,
        about: About,
        watcher: Watcher,
    ) -> Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| {
            self.counts.requests.fetch_add(1, Ordering::Relaxed);
            let (method, path) = (request.method(), request.uri().path());
            let line = format_args!("{method} {}", path.escape_debug());
            self.log.line(number, line);
            let answered = answer(&about, request, self.store.in_flight());
            ready(Ok::<_, Infallible>(answered))
        });
        let mut http = Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PATIENCE);
        // Not what the first bytes look like, but what ALPN has agreed on.
        let http = match about.h2 {
            true => http.http2_only(),
            false => http.http1_only(),
        };
        let connection = http.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    }
}
