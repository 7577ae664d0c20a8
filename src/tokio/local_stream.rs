//! The stream of a task that stays on its thread.

use std::fmt;

use openssl::ssl::{Ssl, SslRef};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Error;
use crate::tls::AsyncPolicy;
use crate::tokio::channel::Channel;
use crate::tokio::SslStream;

pin_project! {
    /// A TLS stream for a task that stays on its thread: its operations run as asynchronous jobs, as
    /// its [`AsyncPolicy`] says.
    ///
    /// It is used as `tokio_openssl::SslStream`, on a current-thread runtime or in a
    /// [`LocalSet`](tokio::task::LocalSet). While an operation is paused its thread goes on with other
    /// tasks. A task that is polled for another reason (`select!`, a time-out) resumes nothing; the
    /// completion callback of OpenSSL 3.0 wakes the task without a system call, and wait fds are
    /// watched by the runtime's reactor.
    ///
    /// What a read brings after its caller has gone is kept for the next reader, and a write that has
    /// paused has taken its bytes: any operation may be dropped, and any other called then. See
    /// [`Connection`](crate::Connection). An error in sending is said by the next write, flush or
    /// shutdown.
    ///
    /// See [`SSL_read(3)`](https://docs.openssl.org/master/man3/SSL_read/) and
    /// [`ASYNC_start_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL 1.1.0
    /// and later.
    ///
    /// # Send
    ///
    /// It is neither `Send` nor `Sync`: it may have a job in flight (H1). After the handshake
    /// [`into_send`](Self::into_send) gives a stream that is.
    ///
    /// ```compile_fail
    /// fn send<T: Send>() {}
    /// send::<openssl_async_jobs::tokio::LocalSslStream<tokio::net::TcpStream>>();
    /// ```
    ///
    /// # Dropping it
    ///
    /// As for a [`Connection`](crate::Connection): safe at any time, at once, and without a
    /// `close_notify`. What an engine has paused is kept until the engine is done; a local task with
    /// [`JobPool::reap`](crate::JobPool::reap) sees to that while nothing else runs.
    ///
    /// ```
    /// use openssl::ssl::{Ssl, SslContext};
    /// use openssl_async_jobs::tokio::LocalSslStream;
    /// use std::pin::Pin;
    /// use tokio::io::AsyncWriteExt;
    /// use tokio::net::TcpStream;
    ///
    /// async fn serve(context: &SslContext, socket: TcpStream) -> Result<(), openssl_async_jobs::Error> {
    ///     let mut stream = LocalSslStream::new(Ssl::new(context)?, socket)?;
    ///     Pin::new(&mut stream).accept().await?;
    ///     stream.write_all(b"hello").await?;
    ///     Ok(stream.shutdown().await?)
    /// }
    /// ```
    pub struct LocalSslStream<S> {
        #[pin]
        pub(super) channel: Channel<S>,
    }
}

impl<S: AsyncRead + AsyncWrite> LocalSslStream<S> {
    /// A stream of this `Ssl` over a transport, before its handshake.
    ///
    /// # Errors
    ///
    /// As for [`Connection::new`](crate::Connection::new).
    ///
    /// ```
    /// use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// use openssl_async_jobs::tokio::LocalSslStream;
    ///
    /// let context = SslContext::builder(SslMethod::tls())?.build();
    /// let (transport, _peer) = tokio::io::duplex(1024);
    /// let stream = LocalSslStream::new(Ssl::new(&context)?, transport)?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn new(ssl: Ssl, stream: S) -> Result<LocalSslStream<S>, Error> {
        Ok(LocalSslStream {
            channel: Channel::new(ssl, stream)?,
        })
    }
}

impl<S> LocalSslStream<S> {
    /// A stream that any thread may have, and that runs no jobs any more.
    ///
    /// # Errors
    ///
    /// This stream, if its handshake is not done, or an operation is in flight.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
    /// # use tokio::net::TcpStream;
    /// fn hand_over(stream: LocalSslStream<TcpStream>) -> Option<SslStream<TcpStream>> {
    ///     stream.into_send().ok()
    /// }
    /// ```
    #[allow(clippy::result_large_err)] // It comes back as it was.
    pub fn into_send(mut self) -> Result<SslStream<S>, LocalSslStream<S>> {
        match self.channel.leave_thread() {
            true => Ok(SslStream::from_channel(self.channel)),
            false => Err(self),
        }
    }

    /// Which operations run as jobs from now on: [`AsyncPolicy::Handshake`] unless this says
    /// otherwise.
    ///
    /// ```
    /// # use openssl_async_jobs::{tokio::LocalSslStream, AsyncPolicy};
    /// fn offload_records(stream: &mut LocalSslStream<tokio::net::TcpStream>) {
    ///     stream.set_policy(AsyncPolicy::Always);
    /// }
    /// ```
    pub fn set_policy(&mut self, policy: AsyncPolicy) {
        self.channel.connection_mut().set_policy(policy);
    }

    /// The `Ssl`, to look at.
    ///
    /// # Panics
    ///
    /// While an operation is in flight, as [`Connection::ssl`](crate::Connection::ssl).
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::LocalSslStream;
    /// fn version(stream: &LocalSslStream<tokio::net::TcpStream>) -> &'static str {
    ///     stream.ssl().version_str()
    /// }
    /// ```
    #[track_caller]
    pub fn ssl(&self) -> &SslRef {
        self.channel.connection().ssl()
    }

    /// The `Ssl`, to look at; `None` while an operation is in flight.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::LocalSslStream;
    /// fn is_resumed(stream: &LocalSslStream<tokio::net::TcpStream>) -> bool {
    ///     stream.try_ssl().is_some_and(|ssl| ssl.session_reused())
    /// }
    /// ```
    pub fn try_ssl(&self) -> Option<&SslRef> {
        self.channel.connection().try_ssl()
    }

    /// The `Ssl`, to change; `None` while an operation is in flight.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::LocalSslStream;
    /// fn be_server(stream: &mut LocalSslStream<tokio::net::TcpStream>) {
    ///     if let Some(ssl) = stream.ssl_mut() {
    ///         ssl.set_accept_state();
    ///     }
    /// }
    /// ```
    pub fn ssl_mut(&mut self) -> Option<&mut SslRef> {
        self.channel.ssl_mut()
    }

    /// Whether an operation is in flight: paused, or waiting for a free job.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::LocalSslStream;
    /// fn may_hand_over(stream: &LocalSslStream<tokio::net::TcpStream>) -> bool {
    ///     !stream.is_in_flight()
    /// }
    /// ```
    pub fn is_in_flight(&self) -> bool {
        self.channel.connection().is_in_flight()
    }
}

impl<S: fmt::Debug> fmt::Debug for LocalSslStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSslStream")
            .field("transport", self.channel.transport())
            .field("connection", self.channel.connection())
            .finish()
    }
}
