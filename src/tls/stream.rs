//! A TLS stream for std: `Read` and `Write` over a transport that is read and written.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use openssl::ssl::{ShutdownResult, Ssl};

use crate::error::Error;
use crate::tls::link::{Direction, Link};
use crate::tls::transport::{StdTransport, Wake};
#[cfg(doc)]
use crate::Connection;

/// A TLS stream over `S`, whose operations run as asynchronous jobs as its [`AsyncPolicy`](crate::AsyncPolicy) says.
///
/// It is used as rust-openssl's [`SslStream`](openssl::ssl::SslStream). On a blocking transport its
/// operations block, also while a job is paused: they wait with poll(2), and other jobs of the
/// thread that nobody owns any more go on meanwhile. On a non-blocking one they answer
/// [`WouldBlock`](io::ErrorKind::WouldBlock), [`interest`](Self::interest) says what to poll for, and
/// then any operation may be called, with any buffer: see [`Connection`].
///
/// Unlike rust-openssl's, it receives as much at once as the transport has. With a poller, read until
/// `WouldBlock`, or ask [`has_pending`](Self::has_pending): the next record may be here already. And
/// what is written is accepted first and then sent: an error in sending is said by the next write,
/// flush or shutdown.
///
/// A blocking stream waits in the thread's queue when its [`JobPool`](crate::JobPool) has no job
/// left, and nothing else runs meanwhile: leave it a job that no paused owner on its thread has.
///
/// See [`SSL_read(3)`](https://docs.openssl.org/master/man3/SSL_read/) and
/// [`ASYNC_start_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL 1.1.0 and
/// later.
///
/// # Send
///
/// It is neither `Send` nor `Sync`: it may have a job in flight (H1).
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<openssl_async_jobs::SslStream<std::net::TcpStream>>();
/// ```
///
/// # Dropping it
///
/// As for a [`Connection`]: safe at any time. No `close_notify` is sent; [`shutdown`](Self::shutdown)
/// does that.
///
/// # Example
///
/// ```no_run
/// use openssl::ssl::{SslConnector, SslMethod};
/// use openssl_async_jobs::SslStream;
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
///
/// let connector = SslConnector::builder(SslMethod::tls_client())?.build();
/// let ssl = connector.configure()?.into_ssl("example.org")?;
/// let mut stream = SslStream::new(ssl, TcpStream::connect("example.org:443")?)?;
/// stream.connect()?;
/// stream.write_all(b"GET / HTTP/1.0\r\nHost: example.org\r\n\r\n")?;
/// let mut answer = Vec::new();
/// stream.read_to_end(&mut answer)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SslStream<S> {
    pub(super) link: Link,
    pub(super) transport: S,
    blocks: fn(&S) -> bool,
    /// For pollers, from the first pause on.
    pub(super) wake: Wake,
}

impl<S: Read + Write + AsFd> SslStream<S> {
    /// A stream over a socket, before the handshake. Whether operations block is what the socket is
    /// set to do (`O_NONBLOCK`) at the time.
    ///
    /// # Errors
    ///
    /// As for [`Connection::new`].
    ///
    /// ```
    /// use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// use openssl_async_jobs::{Error, SslStream};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let context = SslContext::builder(SslMethod::tls())?.build();
    /// let (socket, _peer) = UnixStream::pair()?;
    /// socket.set_nonblocking(true)?;
    /// let mut stream = SslStream::new(Ssl::new(&context)?, socket)?;
    /// assert!(stream.connect().unwrap_err().is_would_block());
    /// assert!(stream.interest().readable);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(ssl: Ssl, socket: S) -> Result<SslStream<S>, Error> {
        SslStream::with(ssl, socket, |socket| {
            // SAFETY: a file descriptor that is borrowed; the flags are only read.
            let flags = unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_GETFL) };
            flags & libc::O_NONBLOCK == 0
        })
    }
}

impl<S: AsFd> SslStream<S> {
    /// Waits with poll(2) for what the last operation waits for that answered `WouldBlock`: false when the time-out, if
    /// there is one, is over before.
    ///
    /// # Errors
    ///
    /// Those of poll(2).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # use std::net::TcpStream;
    /// fn accept(stream: &mut SslStream<TcpStream>) -> Result<(), Error> {
    ///     loop {
    ///         match stream.accept() {
    ///             Err(e) if e.is_would_block() => stream.wait(None).map(|_| ())?,
    ///             done => return done,
    ///         }
    ///     }
    /// }
    /// ```
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut interest = self.interest();
        // Of that operation only: a writer that waits does not wait for what is to be read.
        interest.readable = match self.link.waits {
            Direction::Write => self.link.writer_wants_read,
            Direction::Both | Direction::Read => self.link.reader_wants_read,
        };
        interest.wait(self.transport.as_fd(), timeout)
    }
}

impl<S: Read + Write> SslStream<S> {
    /// A stream over any transport, which is told to be a blocking one or not: whether the
    /// operations of the stream wait for paused jobs. When the transport answers `WouldBlock`, so do
    /// they, in any case.
    ///
    /// # Errors
    ///
    /// As for [`Connection::new`].
    ///
    /// ```
    /// use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// use openssl_async_jobs::{Error, SslStream};
    ///
    /// struct Tunnel;
    /// # impl std::io::Read for Tunnel {
    /// #     fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> { Ok(0) }
    /// # }
    /// # impl std::io::Write for Tunnel {
    /// #     fn write(&mut self, from: &[u8]) -> std::io::Result<usize> { Ok(from.len()) }
    /// #     fn flush(&mut self) -> std::io::Result<()> { Ok(()) }
    /// # }
    /// let context = SslContext::builder(SslMethod::tls())?.build();
    /// let mut stream = SslStream::over(Ssl::new(&context)?, Tunnel, true)?;
    /// stream.connect().unwrap_err(); // the tunnel has an end at once
    /// # Ok::<(), Error>(())
    /// ```
    pub fn over(ssl: Ssl, transport: S, blocking: bool) -> Result<SslStream<S>, Error> {
        SslStream::with(
            ssl,
            transport,
            match blocking {
                true => |_| true,
                false => |_| false,
            },
        )
    }

    fn with(ssl: Ssl, transport: S, blocks: fn(&S) -> bool) -> Result<SslStream<S>, Error> {
        Ok(SslStream {
            link: Link::new(ssl)?,
            transport,
            blocks,
            wake: None,
        })
    }

    pub(super) fn parts(&mut self) -> (&mut Link, StdTransport<'_, S>) {
        let transport = StdTransport {
            transport: &mut self.transport,
            blocks: self.blocks,
            wake: &mut self.wake,
        };
        (&mut self.link, transport)
    }

    /// The handshake as a client (`SSL_connect`).
    ///
    /// # Errors
    ///
    /// Of the transport, [`Error::Io`], among them `WouldBlock`; of libssl, [`Error::Ssl`].
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<(), Error> {
    /// stream.connect()
    /// # }
    /// ```
    pub fn connect(&mut self) -> Result<(), Error> {
        let (link, mut transport) = self.parts();
        link.connect(&mut transport)
    }

    /// The handshake as a server (`SSL_accept`).
    ///
    /// With TLS 1.3 the session tickets, which no client waits for, are sent by what is called next
    /// if the transport is not a blocking one: with what is written, with a flush or a shutdown, or
    /// when a read waits. A stream that is dropped before any of that sends none.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<(), Error> {
    /// stream.accept()
    /// # }
    /// ```
    pub fn accept(&mut self) -> Result<(), Error> {
        let (link, mut transport) = self.parts();
        link.accept(&mut transport)
    }

    /// The handshake, as what the `Ssl` was set to be (`SSL_do_handshake`).
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<(), Error> {
    /// stream.ssl_mut().expect("nothing is in flight").set_accept_state();
    /// stream.do_handshake()
    /// # }
    /// ```
    pub fn do_handshake(&mut self) -> Result<(), Error> {
        let (link, mut transport) = self.parts();
        link.handshake(&mut transport)
    }

    /// Reads plaintext (`SSL_read`), and tells an end of the stream from an error, as [`Read`] does
    /// not.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect), and
    /// [`ZERO_RETURN`](openssl::ssl::ErrorCode::ZERO_RETURN) when the peer has closed the
    /// connection.
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<usize, Error> {
    /// let mut buffer = [0; 1024];
    /// stream.ssl_read(&mut buffer)
    /// # }
    /// ```
    pub fn ssl_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let (link, mut transport) = self.parts();
        link.read(&mut transport, to)
    }

    /// Reads plaintext and leaves it for the next read (`SSL_peek`).
    ///
    /// # Errors
    ///
    /// As for [`ssl_read`](Self::ssl_read).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<usize, Error> {
    /// let mut first = [0];
    /// stream.ssl_peek(&mut first)
    /// # }
    /// ```
    pub fn ssl_peek(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let (link, mut transport) = self.parts();
        link.peek(&mut transport, to)
    }

    /// Writes plaintext (`SSL_write`), and offers it to the transport. What a non-blocking
    /// transport does not take is kept, and sent before anything else.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<usize, Error> {
    /// stream.ssl_write(b"hello")
    /// # }
    /// ```
    pub fn ssl_write(&mut self, from: &[u8]) -> Result<usize, Error> {
        let (link, mut transport) = self.parts();
        link.write(&mut transport, from)
    }

    /// Reads early data, on a server before its handshake; 0 when there is no more
    /// (`SSL_read_early_data`, OpenSSL 1.1.1).
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<usize, Error> {
    /// stream.ssl_mut().expect("nothing is in flight").set_accept_state();
    /// let mut buffer = [0; 1024];
    /// stream.read_early_data(&mut buffer)
    /// # }
    /// ```
    #[cfg(ossl111)]
    pub fn read_early_data(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let (link, mut transport) = self.parts();
        link.read_early_data(&mut transport, to)
    }

    /// Writes early data (`SSL_write_early_data`, OpenSSL 1.1.1).
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<usize, Error> {
    /// stream.ssl_mut().expect("nothing is in flight").set_connect_state();
    /// stream.write_early_data(b"GET /")
    /// # }
    /// ```
    #[cfg(ossl111)]
    pub fn write_early_data(&mut self, from: &[u8]) -> Result<usize, Error> {
        let (link, mut transport) = self.parts();
        link.write_early_data(&mut transport, from)
    }

    /// Closes the connection (`SSL_shutdown`): first [`Sent`](ShutdownResult::Sent); the next call
    /// waits for the peer, and then [`Received`](ShutdownResult::Received).
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    ///
    /// ```
    /// # use openssl_async_jobs::{Error, SslStream};
    /// use openssl::ssl::ShutdownResult;
    /// # fn f(stream: &mut SslStream<std::net::TcpStream>) -> Result<(), Error> {
    /// while stream.shutdown()? != ShutdownResult::Received {}
    /// # Ok(())
    /// # }
    /// ```
    pub fn shutdown(&mut self) -> Result<ShutdownResult, Error> {
        let (link, mut transport) = self.parts();
        link.shutdown(&mut transport)
    }
}
