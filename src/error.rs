//! The crate's one error type.

use std::os::fd::RawFd;
use std::{error, fmt, io};

use openssl::error::ErrorStack;
use openssl::ssl;

/// What can go wrong.
///
/// It converts into [`io::Error`], for `?` in code that speaks of sockets.
///
/// ```
/// use openssl::ssl::{Ssl, SslContext, SslMethod};
/// use openssl_async_jobs::{Error, SslAsyncExt};
///
/// let ctx = SslContext::builder(SslMethod::tls())?.build();
/// let ssl = Ssl::new(&ctx)?;
/// assert!(matches!(ssl.all_async_fds(), Err(Error::NotStarted)));
/// # Ok::<(), openssl::error::ErrorStack>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// This `Ssl` has run no job yet, so it has no wait context to ask.
    NotStarted,
    /// The linked OpenSSL lacks what was asked for.
    Unsupported {
        /// The C function that is missing.
        what: &'static str,
        /// The first OpenSSL version that has it.
        since: &'static str,
    },
    /// The pool of this thread exists already; OpenSSL would leak it.
    PoolAlreadyInitialized,
    /// These sizes make no pool.
    PoolSize {
        /// What is wrong with them.
        reason: &'static str,
    },
    /// No job is running here, or another one than the handle was made for.
    NotInJob,
    /// A job is running here, inside which this cannot be done.
    InJob,
    /// The running job was started without a wait context, so OpenSSL could not resume it.
    NoWaitContext,
    /// Pausing is blocked here (`ASYNC_block_pause`).
    PauseBlocked,
    /// Pausing while this thread panics would carry the panic into other jobs.
    Panicking,
    /// A wait fd is registered under this key already.
    KeyInUse {
        /// The file descriptor that is registered.
        fd: RawFd,
    },
    /// No wait fd is registered under this key.
    KeyNotFound,
    /// A negative number is no file descriptor.
    InvalidFd {
        /// The number that was given.
        fd: RawFd,
    },
    /// The caller's buffer is too small; nothing was written.
    BufferTooSmall {
        /// The file descriptors there are.
        needed: usize,
        /// The file descriptors the buffer holds.
        len: usize,
    },
    /// This `Ssl` ran its first job before it was given a callback, and libssl looks only then.
    CallbackTooLate,
    /// This `Ssl` is not for TLS over a stream of bytes.
    NotTls {
        /// What it is for: `"DTLS"` or `"QUIC"`.
        protocol: &'static str,
    },
    /// An error of libcrypto.
    OpenSsl(ErrorStack),
    /// An error of libssl.
    Ssl(ssl::Error),
    /// An error of the transport or of a file descriptor.
    Io(io::Error),
}

impl Error {
    /// Whether the operation is to be called again when what it waits for has come, as on a
    /// non-blocking transport.
    ///
    /// ```
    /// use openssl_async_jobs::Error;
    /// use std::io;
    ///
    /// assert!(Error::from(io::Error::from(io::ErrorKind::WouldBlock)).is_would_block());
    /// ```
    #[inline]
    pub fn is_would_block(&self) -> bool {
        matches!(self, Error::Io(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// For what the linked OpenSSL is too old to have.
    #[cfg(not(ossl300))]
    pub(crate) fn since_300(what: &'static str) -> Error {
        Error::Unsupported { what, since: "3.0" }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotStarted => f.write_str(
                "this Ssl has run no asynchronous job yet: set the asynchronous mode and call a \
                 TLS operation first",
            ),
            Error::Unsupported { what, since } => write!(
                f,
                "{what} needs OpenSSL {since} or later, and this program runs with {}",
                openssl::version::version()
            ),
            Error::PoolAlreadyInitialized => f.write_str(
                "this thread has its job pool already: set its sizes once, before the thread's \
                 first job",
            ),
            Error::PoolSize { reason } => write!(f, "wrong size for a job pool: {reason}"),
            Error::NotInJob => f.write_str(
                "the asynchronous job that this handle was made for is not the one running on \
                 this thread: get a CurrentJob inside the job, and use it there only",
            ),
            Error::InJob => f.write_str(
                "an asynchronous job is running here: do this outside it, where its thread goes on",
            ),
            Error::NoWaitContext => f.write_str(
                "the running job was started without a wait context, so it cannot be paused: \
                 pass one to ASYNC_start_job",
            ),
            Error::PauseBlocked => f.write_str(
                "the job cannot be paused here: OpenSSL, or somebody else, has blocked it for now",
            ),
            Error::Panicking => f.write_str(
                "this thread is panicking: a job cannot be paused while its stack unwinds",
            ),
            Error::KeyInUse { fd } => write!(
                f,
                "the wait context has file descriptor {fd} under this key already: clear it first"
            ),
            Error::KeyNotFound => {
                f.write_str("the wait context has no file descriptor under this key")
            }
            Error::InvalidFd { fd } => write!(f, "{fd} is not a file descriptor"),
            Error::BufferTooSmall { needed, len } => write!(
                f,
                "there are {needed} file descriptors, and the buffer holds {len}: pass a larger one"
            ),
            Error::CallbackTooLate => f.write_str(
                "this Ssl has run its first job, and libssl takes a callback before that only: \
                 set it on the new Ssl",
            ),
            Error::NotTls { protocol } => write!(
                f,
                "this Ssl is for {protocol}, which needs datagrams: make it of a context with \
                 SslMethod::tls() (or tls_client, tls_server)"
            ),
            Error::OpenSsl(e) => write!(f, "OpenSSL: {e}"),
            Error::Ssl(e) => e.fmt(f),
            Error::Io(e) => e.fmt(f),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::OpenSsl(e) => Some(e),
            Error::Ssl(e) => Some(e),
            Error::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<ErrorStack> for Error {
    fn from(e: ErrorStack) -> Error {
        Error::OpenSsl(e)
    }
}

impl From<ssl::Error> for Error {
    fn from(e: ssl::Error) -> Error {
        Error::Ssl(e)
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        Error::Io(e)
    }
}

impl From<Error> for io::Error {
    fn from(e: Error) -> io::Error {
        let kind = match e {
            Error::Io(e) => return e,
            Error::Ssl(e) => return e.into_io_error().unwrap_or_else(io::Error::other),
            Error::Unsupported { .. } => io::ErrorKind::Unsupported,
            Error::KeyInUse { .. } => io::ErrorKind::AlreadyExists,
            Error::KeyNotFound => io::ErrorKind::NotFound,
            Error::PoolSize { .. }
            | Error::InvalidFd { .. }
            | Error::BufferTooSmall { .. }
            | Error::NotTls { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}
