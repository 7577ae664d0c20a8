//! The operations of a connection that may pause. Each owns its buffers (H2), and so what it comes
//! to.

use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use openssl::ssl::{self, ErrorCode, ShutdownResult, SslStream};

use crate::job::{Job, Watcher};
use crate::panics::Payload;
use crate::tls::session::Session;
use crate::tls::wire::{Wire, WireEnd};

/// What a job shall do.
pub(crate) enum Operation {
    Handshake,
    /// At most so many bytes.
    Read(usize),
    Write(Plaintext),
    Shutdown,
    #[cfg(ossl111)]
    ReadEarly(usize),
    #[cfg(ossl111)]
    WriteEarly(Plaintext),
}

/// What has come of it.
pub(crate) enum Outcome {
    Handshake(Result<(), ssl::Error>),
    Read(Result<Vec<u8>, ssl::Error>),
    Write(Plaintext, Result<(), ssl::Error>),
    Shutdown(Result<ShutdownResult, ssl::Error>),
    #[cfg(ossl111)]
    ReadEarly(Result<Vec<u8>, ssl::Error>),
    #[cfg(ossl111)]
    WriteEarly(Plaintext, Result<(), ssl::Error>),
}

/// Plaintext that a caller was told is written; `start` says how much of it libssl has taken.
pub(crate) struct Plaintext {
    bytes: Vec<u8>,
    start: usize,
}

impl Plaintext {
    pub(crate) fn new(bytes: &[u8]) -> Plaintext {
        Plaintext {
            bytes: bytes.to_owned(),
            start: 0,
        }
    }

    /// Gives it to libssl, which takes a record a call.
    pub(crate) fn write(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Result<usize, ssl::Error>,
    ) -> Result<(), ssl::Error> {
        while self.start < self.bytes.len() {
            self.start += write(&self.bytes[self.start..])?;
        }
        Ok(())
    }
}

fn read(
    len: usize,
    read: impl FnOnce(&mut [u8]) -> Result<usize, ssl::Error>,
) -> Result<Vec<u8>, ssl::Error> {
    let mut plaintext = vec![0; len];
    let len = read(&mut plaintext)?;
    plaintext.truncate(len);
    Ok(plaintext)
}

impl Operation {
    pub(crate) fn run(self, wire: &Wire, stream: &mut SslStream<WireEnd>) -> Outcome {
        match self {
            Operation::Handshake => {
                Outcome::Handshake(to_the_last_message(wire, || stream.do_handshake()))
            }
            Operation::Read(len) => Outcome::Read(read(len, |to| {
                to_the_last_message(wire, || stream.ssl_read(to))
            })),
            Operation::Write(mut plaintext) => {
                let result =
                    plaintext.write(|bytes| to_the_last_message(wire, || stream.ssl_write(bytes)));
                Outcome::Write(plaintext, result)
            }
            Operation::Shutdown => {
                Outcome::Shutdown(to_the_last_message(wire, || stream.shutdown()))
            }
            #[cfg(ossl111)]
            Operation::ReadEarly(len) => Outcome::ReadEarly(read(len, |to| {
                to_the_last_message(wire, || stream.read_early_data(to))
            })),
            #[cfg(ossl111)]
            Operation::WriteEarly(mut plaintext) => {
                let result = plaintext
                    .write(|bytes| to_the_last_message(wire, || stream.write_early_data(bytes)));
                Outcome::WriteEarly(plaintext, result)
            }
        }
    }
}

/// Calls libssl until it has done, or all that has come is handled: without SSL_MODE_AUTO_RETRY it
/// wants to read after each message that brings no plaintext, and leaves the rest.
#[inline]
pub(crate) fn to_the_last_message<T>(
    wire: &Wire,
    mut call: impl FnMut() -> Result<T, ssl::Error>,
) -> Result<T, ssl::Error> {
    loop {
        // Counted, as more may come while it is paused.
        let before = wire.taken();
        let result = call();
        match result {
            Err(e)
                if e.code() == ErrorCode::WANT_READ
                    && wire.incoming_len() > 0
                    && wire.taken() > before => {}
            result => return result,
        }
    }
}

/// What has come of the operation in flight, if there was one, and its panic.
type Ended = (Option<Outcome>, Option<Payload>);

/// The one operation of a connection that is in flight, if there is one.
pub(crate) enum InFlight {
    Idle,
    Job(Job<Outcome>),
}

impl InFlight {
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, InFlight::Idle)
    }

    /// Makes a job of an operation. What is in flight already would be lost.
    pub(crate) fn begin(&mut self, session: &Rc<Session>, operation: Operation) {
        assert!(self.is_idle(), "one operation at a time");
        let owner = session.owner.clone();
        let session = Rc::clone(session);
        *self = InFlight::Job(Job::with_owner(&owner, move || {
            // SAFETY: until this has ended the connection lets nobody else at the stream (H2): it
            // is not idle. The session is alive, as this has it (H3).
            operation.run(&session.wire, unsafe { session.stream() })
        }));
    }

    /// Goes on with it. A panic is the caller's to raise, once it has kept the outcome: the
    /// operation may have come to its end all the same.
    pub(crate) fn poll(&mut self, watcher: Watcher, cx: &mut Context<'_>) -> Poll<Ended> {
        let InFlight::Job(job) = self else {
            return Poll::Ready((None, None));
        };
        job.set_watcher(watcher);
        let ended = job.poll_ended(cx);
        if ended.is_ready() {
            *self = InFlight::Idle;
        }
        ended
    }

    pub(crate) fn extend_with_wait_fds(&self, fds: &mut Vec<RawFd>) {
        if let InFlight::Job(job) = self {
            job.extend_with_wait_fds(fds);
        }
    }
}
