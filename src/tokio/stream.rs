//! The stream of a task that may go from thread to thread.

use std::fmt;

use openssl::ssl::{self, Ssl, SslRef};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Error;
use crate::tls::{Buffer, Plain};
use crate::tokio::channel::Channel;
use crate::tokio::task_transport::Waiting;
use crate::trace::HandshakeSpan;

pin_project! {
    /// A TLS stream that any thread may have, as `tokio_openssl::SslStream`: it runs no jobs.
    ///
    /// [`JobThreads`](crate::tokio::JobThreads) and
    /// [`LocalSslStream::into_send`](crate::tokio::LocalSslStream::into_send) give one after a
    /// handshake that may have paused; [`new`](Self::new) makes one whose handshake runs where its
    /// task is, too. What libssl does for it runs on its task's thread, and an engine that would pause
    /// does not: it works, or waits, there. In callbacks of the context
    /// [`suspend`](crate::suspend) answers [`NotInJob`](crate::SuspendError::NotInJob), after the
    /// handshake as well (those of sessions, for example).
    ///
    /// What is written is accepted first and then sent: an error in sending is said by the next write,
    /// flush or shutdown.
    ///
    /// See [`SSL_read(3)`](https://docs.openssl.org/master/man3/SSL_read/). OpenSSL 1.1.0 and later.
    ///
    /// ```
    /// fn send_and_sync<T: Send + Sync>() {}
    /// send_and_sync::<openssl_async_jobs::tokio::SslStream<tokio::net::TcpStream>>();
    /// ```
    ///
    /// It is `Send` and `Sync` if its transport is:
    ///
    /// ```compile_fail
    /// fn send<T: Send>() {}
    /// send::<openssl_async_jobs::tokio::SslStream<std::rc::Rc<()>>>();
    /// ```
    ///
    /// ```
    /// use openssl::ssl::{SslConnector, SslMethod};
    /// use openssl_async_jobs::tokio::SslStream;
    /// use std::pin::Pin;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// use tokio::net::TcpStream;
    ///
    /// async fn get(host: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    ///     let connector = SslConnector::builder(SslMethod::tls_client())?.build();
    ///     let ssl = connector.configure()?.into_ssl(host)?;
    ///     let mut stream = SslStream::new(ssl, TcpStream::connect((host, 443)).await?)?;
    ///     Pin::new(&mut stream).connect().await?;
    ///     stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    ///     let mut answer = Vec::new();
    ///     stream.read_to_end(&mut answer).await?;
    ///     Ok(answer)
    /// }
    /// ```
    pub struct SslStream<S> {
        #[pin]
        pub(super) channel: Channel<S>,
    }
}

// All that a channel has of `Rc` and `Cell` is its own, without clones elsewhere, and so goes along:
// `leave_thread` sees to that, and a new one has shared nothing yet.
// SAFETY: no job is in flight and none comes (H1): the policy is `Never` (`leave_thread`, `new`), and
// nothing of this type sets it. What else it has is `Send`, as is asserted below.
unsafe impl<S: Send> Send for SslStream<S> {}

// SAFETY: through `&self` there are only the transport and the `SslRef`, which is `Sync`: `ssl` reads
// what only `&mut self` changes. Nothing else takes `&self` but `Debug`, which looks at those two.
unsafe impl<S: Sync> Sync for SslStream<S> {}

/// What the above relies on, of others' types.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Ssl>();
    is_send::<ssl::Error>();
    is_send::<Buffer>();
    is_send::<Plain>();
    is_send::<Waiting>();
    is_send::<HandshakeSpan>();
};

impl<S: AsyncRead + AsyncWrite> SslStream<S> {
    /// A stream of this `Ssl` over a transport, before its handshake, which will run where the task
    /// is: nothing pauses.
    ///
    /// # Errors
    ///
    /// As for [`Connection::new`](crate::Connection::new).
    ///
    /// ```
    /// use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// use openssl_async_jobs::tokio::SslStream;
    ///
    /// let context = SslContext::builder(SslMethod::tls())?.build();
    /// let (transport, _peer) = tokio::io::duplex(1024);
    /// let stream = SslStream::new(Ssl::new(&context)?, transport)?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn new(ssl: Ssl, stream: S) -> Result<SslStream<S>, Error> {
        let mut channel = Channel::new(ssl, stream)?;
        channel.connection_mut().never_run_jobs();
        Ok(SslStream { channel })
    }
}

impl<S> SslStream<S> {
    /// Of one that has left its thread.
    pub(super) fn from_channel(channel: Channel<S>) -> SslStream<S> {
        SslStream { channel }
    }

    /// The `Ssl`, to look at.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::SslStream;
    /// fn version(stream: &SslStream<tokio::net::TcpStream>) -> &'static str {
    ///     stream.ssl().version_str()
    /// }
    /// ```
    pub fn ssl(&self) -> &SslRef {
        self.channel.connection().ssl()
    }
}

impl<S: fmt::Debug> fmt::Debug for SslStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslStream")
            .field("transport", self.channel.transport())
            .field("ssl", self.ssl())
            .finish()
    }
}
