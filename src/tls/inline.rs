//! Operations of a connection that are a call of libssl here and now, and when they are.

use std::io::Write;
use std::rc::Rc;

use openssl::ssl::{self, SslStream};

use crate::tls::drive::{is_fatal, wants_ciphertext, Kind, PLAINTEXT};
use crate::tls::operation::to_the_last_message;
use crate::tls::wakers::Caller;
use crate::tls::wire::{Wire, WireEnd};
use crate::tls::{Connection, Progress};

/// From so many bytes of plaintext on it costs more to copy a record than to call the transport from
/// within libssl, which has to be kept from its errors.
const WRITTEN_THROUGH: usize = 4 * 1024;

impl Connection {
    /// Whether an operation is a call of libssl here and now: the first handshake is over, no job is
    /// asked for or in flight, and nothing that was accepted goes first.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.open && !self.runs_jobs() && self.in_flight.is_idle() && self.accepted.is_none()
    }

    /// Whether a read would bring nothing but that there is not enough ciphertext, and no writing
    /// goes first.
    #[inline]
    pub(crate) fn reads_nothing_yet(&self) -> bool {
        self.starved == Some(Kind::Read)
            && self.is_settled()
            && !self.kept.has_plaintext()
            && self.unsent() == 0
    }

    /// Whether a write would be a call of libssl that goes well, as long as nothing else is called.
    pub(crate) fn may_hold_writes(&self) -> bool {
        self.is_settled()
            && !self.write_failed
            && self.kept.write_error.is_none()
            && self.is_between_handshakes()
            && !self.session.has_sent_shutdown()
    }

    /// Whether a flush has nothing to do.
    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.in_flight.is_idle()
            && self.accepted.is_none()
            && self.kept.write_error.is_none()
            && self.unsent() == 0
    }

    /// Calls libssl here and now, with nothing in flight.
    #[inline]
    pub(super) fn inline<T>(
        &mut self,
        mut call: impl FnMut(&mut SslStream<WireEnd>) -> Result<T, ssl::Error>,
    ) -> Result<Progress<T>, ssl::Error> {
        self.has_role = true;
        self.starved = None;
        let (stream, wire) = self.stream();
        match to_the_last_message(wire, || call(stream)) {
            Ok(value) => Ok(Progress::Done(value)),
            Err(e) if wants_ciphertext(&e) => Ok(self.wants()),
            Err(e) => Err(e),
        }
    }

    /// Has libssl encrypt plaintext here and now.
    #[inline]
    pub(super) fn write_inline(&mut self, from: &[u8]) -> Result<Progress<usize>, ssl::Error> {
        let written = self.inline(|stream| stream.ssl_write(from));
        match &written {
            Ok(Progress::Done(len)) => self.plaintext_taken += *len as u64,
            Ok(_) => {}
            Err(e) => self.write_failed |= is_fatal(e),
        }
        written
    }

    /// Likewise all of it, or as much as goes without anything else; and what is fatal.
    pub(crate) fn write_held(&mut self, from: &[u8]) -> (usize, Result<(), ssl::Error>) {
        let starved = self.starved_reader();
        let mut len = 0;
        while len < from.len() {
            match self.write_inline(&from[len..]) {
                Ok(Progress::Done(written)) => len += written,
                Err(e) if is_fatal(&e) => return (len, Err(e)),
                // It is written again.
                Ok(_) | Err(_) => return (len, Ok(())),
            }
        }
        self.starved = starved;
        (len, Ok(()))
    }

    /// What a reader waits for has not come, whatever is written.
    #[inline]
    pub(super) fn starved_reader(&self) -> Option<Kind> {
        self.starved.filter(|kind| *kind == Kind::Read)
    }

    /// A write of one record at most, where nothing may pause and nothing else is to be sent first.
    /// The transport is given a large one from libssl's own memory. `None` if it is not as simple.
    #[inline]
    pub(crate) fn write_record(
        &mut self,
        transport: &mut dyn Write,
        from: &[u8],
    ) -> Option<Result<usize, ssl::Error>> {
        let is_simple = self.is_settled()
            && self.kept.write_error.is_none()
            && self.unsent() == 0
            && (1..=PLAINTEXT).contains(&from.len());
        if !is_simple {
            return None;
        }
        self.caller = Caller::Writer;
        let starved = self.starved_reader();
        let written = match from.len() < WRITTEN_THROUGH {
            true => self.write_inline(from),
            false => {
                let wire = Rc::clone(&self.session.wire);
                wire.through(transport, from.len(), || self.write_inline(from))
            }
        };
        match written {
            Ok(Progress::Done(written)) => {
                self.starved = starved;
                Some(Ok(written))
            }
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        }
    }

    /// Both ends of what libssl reads and writes, with nothing in flight.
    #[inline]
    pub(super) fn stream(&mut self) -> (&mut SslStream<WireEnd>, &Wire) {
        assert!(self.in_flight.is_idle(), "an operation is in flight");
        // SAFETY: nothing is in flight (H2), and `self` is borrowed as long as it is used.
        (unsafe { self.session.stream() }, &self.session.wire)
    }
}
