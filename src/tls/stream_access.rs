//! What a stream says of itself, and that it is read and written as others are.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use openssl::ssl::SslRef;

use crate::error::Error;
use crate::tls::link::is_end;
use crate::tls::{AsyncPolicy, Interest, SslStream};

impl<S> SslStream<S> {
    /// What the last operations that answered `WouldBlock` wait for, one that reads and one that
    /// writes: each until it is called again. Nothing, if the next call need not wait.
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &SslStream<std::net::TcpStream>) {
    /// let interest = stream.interest();
    /// for fd in interest.fds { /* add it to the poller, to be readable */ }
    /// # }
    /// ```
    pub fn interest(&self) -> Interest {
        let mut fds = Vec::new();
        if self.link.connection.is_in_flight() {
            self.link.connection.wait_fds(&mut fds);
            fds.extend(self.wake.as_ref().map(|(fd, _)| fd.as_raw_fd()));
        }
        Interest {
            readable: self.link.reader_wants_read || self.link.writer_wants_read,
            writable: self.link.waits_to_send(),
            fds,
        }
    }

    /// Whether a read may bring something without waiting for the transport, as
    /// [`Connection::has_pending`](crate::Connection::has_pending).
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &SslStream<std::net::TcpStream>) -> bool {
    /// stream.has_pending()
    /// # }
    /// ```
    pub fn has_pending(&self) -> bool {
        self.link.connection.has_pending()
    }

    /// Which operations run as jobs from now on.
    ///
    /// ```
    /// # use openssl_async_jobs::{AsyncPolicy, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) {
    /// stream.set_policy(AsyncPolicy::Always);
    /// # }
    /// ```
    pub fn set_policy(&mut self, policy: AsyncPolicy) {
        self.link.connection.set_policy(policy);
    }

    /// The `Ssl`, to look at.
    ///
    /// # Panics
    ///
    /// While an operation is in flight, as [`Connection::ssl`](crate::Connection::ssl); so not on a blocking transport.
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &SslStream<std::net::TcpStream>) -> &str {
    /// stream.ssl().version_str()
    /// # }
    /// ```
    #[track_caller]
    pub fn ssl(&self) -> &SslRef {
        self.link.connection.ssl()
    }

    /// The `Ssl`, to look at; `None` while an operation is in flight.
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &SslStream<std::net::TcpStream>) -> bool {
    /// stream.try_ssl().is_some_and(|ssl| ssl.session_reused())
    /// # }
    /// ```
    pub fn try_ssl(&self) -> Option<&SslRef> {
        self.link.connection.try_ssl()
    }

    /// The `Ssl`, to change; `None` while an operation is in flight.
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) {
    /// if let Some(ssl) = stream.ssl_mut() {
    ///     ssl.set_accept_state();
    /// }
    /// # }
    /// ```
    pub fn ssl_mut(&mut self) -> Option<&mut SslRef> {
        self.link.ssl_mut()
    }

    /// The transport.
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &SslStream<std::net::TcpStream>) -> std::io::Result<std::net::SocketAddr> {
    /// stream.get_ref().peer_addr()
    /// # }
    /// ```
    pub fn get_ref(&self) -> &S {
        &self.transport
    }

    /// The transport, to change. What is read from it or written to it is missed by TLS.
    ///
    /// ```
    /// # use openssl_async_jobs::SslStream;
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> std::io::Result<()> {
    /// stream.get_mut().set_nodelay(true)
    /// # }
    /// ```
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.transport
    }
}

impl<S: Read + Write> Read for SslStream<S> {
    /// 0 is the end of the stream: the peer's `close_notify`, or where OpenSSL does not take it for
    /// an error, that of the transport.
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.ssl_read(to) {
            Err(Error::Ssl(e)) if is_end(&e) => Ok(0),
            other => Ok(other?),
        }
    }
}

impl<S: Read + Write> Write for SslStream<S> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(self.ssl_write(from)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        let (link, mut transport) = self.parts();
        Ok(link.flush(&mut transport)?)
    }
}

impl<S: fmt::Debug> fmt::Debug for SslStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SslStream")
            .field("transport", &self.transport)
            .field("connection", &self.link.connection)
            .finish()
    }
}
