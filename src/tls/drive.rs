//! How a connection's operations go on, one at a time (H2): as a job, or with a call of `inline.rs`.

use std::panic::resume_unwind;
use std::task::{Context, Poll};

use openssl::ssl::{self, ErrorCode};

use crate::tls::buffer::{PIECE, RECORD};
use crate::tls::operation::{Operation, Outcome};
use crate::tls::progress::done;
use crate::tls::{AsyncPolicy, Connection, Progress};

/// What a record has of plaintext at most, in bytes.
pub(super) const PLAINTEXT: usize = 16 * 1024;
/// Plaintext for one call of the transport, in bytes: full records for all of a buffer.
pub(crate) const WRITE_LIMIT: usize = PIECE / RECORD * PLAINTEXT;
/// With so much, libssl is not called at all: the rest of it answers a peer that asks and does not
/// read. Below, reading goes on whatever the caller has written.
const FLOOD_LIMIT: usize = 2 * PIECE;
/// What a read that may pause asks for at most, in bytes: a record.
const READ_LIMIT: usize = PLAINTEXT;

/// An operation that its caller asks for again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Handshake,
    Read,
    Write,
    Shutdown,
}

/// Whether an outcome was that there is not enough ciphertext.
pub(super) enum Wants {
    Nothing,
    Ciphertext,
}

/// Memory takes all that is written, so it is never the other way.
pub(super) fn wants_ciphertext(e: &ssl::Error) -> bool {
    e.code() == ErrorCode::WANT_READ
}

/// Whether the connection is no more. Others may be called again, as that of a callback that wants
/// to be asked later.
pub(super) fn is_fatal(e: &ssl::Error) -> bool {
    matches!(e.code(), ErrorCode::SSL | ErrorCode::SYSCALL)
}

impl Connection {
    /// Gets plaintext into `kept`, if that takes a job; else there is nothing kept and nothing in
    /// flight, the connection is open, and an inline call may be made.
    #[inline]
    pub(super) fn fill(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Result<Progress<()>, ssl::Error> {
        if len == 0 || self.kept.has_plaintext() || (self.is_settled() && !self.is_flooded()) {
            return Ok(Progress::Done(()));
        }
        self.settle_and_fill(cx, len)
    }

    fn settle_and_fill(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
    ) -> Result<Progress<()>, ssl::Error> {
        done!(self.ready(cx)?);
        if self.kept.has_plaintext() {
            return Ok(Progress::Done(()));
        }
        // What is left of a record is read all the same: that brings nothing to send.
        if self.is_flooded() && self.session.ssl().pending() == 0 {
            return Ok(Progress::HasCiphertext);
        }
        if !self.runs_jobs() {
            return Ok(Progress::Done(()));
        }
        if self.starved == Some(Kind::Read) {
            return Ok(self.wants());
        }
        self.run(cx, Operation::Read(len.min(READ_LIMIT)))
    }

    /// How much plaintext may be encrypted before something is sent, in bytes: as many full records
    /// as have room in a buffer beside what is unsent.
    pub(super) fn write_room(&self) -> usize {
        PIECE.saturating_sub(self.unsent()) / RECORD * PLAINTEXT
    }

    /// Begins a write that owns its plaintext: with that the caller's is written.
    pub(super) fn accept(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        write: Operation,
    ) -> Result<Progress<usize>, ssl::Error> {
        // Before, as it is also if a future panics.
        self.plaintext_taken += len as u64;
        // Paused, or stuck for want of ciphertext, it goes on later.
        let error = match self.run(cx, write) {
            Ok(_) => self.kept.write_error.take(),
            Err(e) => Some(e),
        };
        match error {
            Some(e) => {
                self.plaintext_taken -= len as u64;
                Err(e)
            }
            None => Ok(Progress::Done(len)),
        }
    }

    /// Finishes what is in flight, and has libssl take what it was not able to take before. It may
    /// still not be: then `accepted` is there.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ssl::Error> {
        if self.in_flight.is_idle() && self.accepted.is_none() {
            return Ok(Poll::Ready(()));
        }
        if self.advance(cx)?.is_pending() {
            return Ok(Poll::Pending);
        }
        if self.starved == Some(Kind::Write) {
            return Ok(Poll::Ready(()));
        }
        let Some(write) = self.accepted.take() else {
            return Ok(Poll::Ready(()));
        };
        if self.runs_jobs() {
            return Ok(match self.run(cx, write)? {
                Progress::Pending => Poll::Pending,
                _ => Poll::Ready(()),
            });
        }
        let (stream, wire) = self.stream();
        let outcome = write.run(wire, stream);
        self.absorb(outcome)?;
        Ok(Poll::Ready(()))
    }

    /// [`settle`](Self::settle), until all that was written is encrypted.
    pub(super) fn written(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        match self.kept.write_error.take() {
            Some(e) => Err(e),
            None if self.accepted.is_some() => Ok(self.wants()),
            None => Ok(Progress::Done(())),
        }
    }

    /// Settles, and has the first handshake done.
    pub(super) fn ready(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        match self.open {
            true => Ok(Progress::Done(())),
            false => self.handshake(cx),
        }
    }

    /// With nothing in flight.
    pub(super) fn handshake(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.is_flooded() {
            return Ok(Progress::HasCiphertext);
        }
        if self.has_role && self.is_server() && self.session.wire.is_untouched() {
            return Ok(self.wants()); // the client begins
        }
        if !self.open {
            self.span.begin(self.is_server());
        }
        if self.runs_jobs() {
            if self.starved == Some(Kind::Handshake) {
                return Ok(self.wants());
            }
            return self.run(cx, Operation::Handshake);
        }
        let span = std::mem::take(&mut self.span);
        let progress = span.in_scope(|| self.inline(|stream| stream.do_handshake()));
        self.span = span;
        let over = match &progress {
            Ok(progress) => *progress == Progress::Done(()),
            Err(e) => is_fatal(e),
        };
        if over {
            self.note_open();
        }
        progress
    }

    /// The first handshake is over, done or failed.
    fn note_open(&mut self) {
        self.open = true;
        self.span.end();
    }

    #[inline]
    pub(crate) fn is_flooded(&self) -> bool {
        self.unsent() >= FLOOD_LIMIT
    }

    /// Whether a write may be done while its job is in flight.
    pub(super) fn may_leave_jobs(&self) -> bool {
        self.policy == AsyncPolicy::Always
    }

    #[inline]
    pub(super) fn runs_jobs(&self) -> bool {
        match self.policy {
            AsyncPolicy::Handshake => !self.open,
            AsyncPolicy::Always => true,
            AsyncPolicy::Never => false,
        }
    }

    /// Runs an operation as a job: done when its outcome is in `kept`.
    pub(super) fn run(
        &mut self,
        cx: &mut Context<'_>,
        operation: Operation,
    ) -> Result<Progress<()>, ssl::Error> {
        self.has_role = true;
        self.starved = None;
        self.in_flight.begin(&self.session, operation);
        Ok(match self.advance(cx)? {
            Poll::Ready(Wants::Ciphertext) => self.wants(),
            Poll::Ready(Wants::Nothing) => Progress::Done(()),
            Poll::Pending => Progress::Pending,
        })
    }

    /// Goes on with what is in flight.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Result<Poll<Wants>, ssl::Error> {
        if self.in_flight.is_idle() {
            return Ok(Poll::Ready(Wants::Nothing));
        }
        let all = self.wakers.waker(self.caller, cx.waker());
        let mut all = Context::from_waker(all.as_ref().unwrap_or(cx.waker()));
        let polled = self
            .span
            .in_scope(|| self.in_flight.poll(self.watcher, &mut all));
        let Poll::Ready((outcome, panic)) = polled else {
            self.wakers.wait(self.caller, cx.waker());
            return Ok(Poll::Pending);
        };
        self.wakers.wake_others(self.caller);
        let wants = match outcome {
            Some(outcome) => self.absorb(outcome),
            None => Ok(Wants::Nothing),
        };
        match panic {
            Some(payload) => resume_unwind(payload),
            None => wants.map(Poll::Ready),
        }
    }

    /// Keeps what has come of an operation, for whoever asks. A failed handshake is everybody's.
    pub(super) fn absorb(&mut self, outcome: Outcome) -> Result<Wants, ssl::Error> {
        match outcome {
            Outcome::Handshake(Ok(())) => self.note_open(),
            Outcome::Handshake(Err(e)) if wants_ciphertext(&e) => {
                self.starved = Some(Kind::Handshake);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Handshake(Err(e)) => {
                if is_fatal(&e) {
                    self.note_open();
                }
                return Err(e);
            }

            Outcome::Read(Err(e)) if wants_ciphertext(&e) => {
                self.starved = Some(Kind::Read);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Read(result) => self.kept.keep_read(result),

            Outcome::Write(plaintext, Err(e)) if wants_ciphertext(&e) => {
                self.accepted = Some(Operation::Write(plaintext));
                self.starved = Some(Kind::Write);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Write(_, result) => {
                self.write_failed |= result.as_ref().err().is_some_and(is_fatal);
                self.kept.write_error = result.err();
            }

            Outcome::Shutdown(Err(e)) if wants_ciphertext(&e) => {
                self.starved = Some(Kind::Shutdown);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Shutdown(result) => self.kept.shutdown = Some(result),

            #[cfg(ossl111)]
            Outcome::ReadEarly(Err(e)) if wants_ciphertext(&e) => return Ok(Wants::Ciphertext),
            #[cfg(ossl111)]
            Outcome::ReadEarly(result) => self.kept.early = Some(result),

            #[cfg(ossl111)]
            Outcome::WriteEarly(plaintext, Err(e)) if wants_ciphertext(&e) => {
                self.accepted = Some(Operation::WriteEarly(plaintext));
                self.starved = Some(Kind::Write);
                return Ok(Wants::Ciphertext);
            }
            #[cfg(ossl111)]
            Outcome::WriteEarly(_, result) => self.kept.write_error = result.err(),
        }
        Ok(Wants::Nothing)
    }

    /// What libssl cannot go on without the peer needs: first that it gets what it waits for.
    #[inline]
    pub(super) fn wants<T>(&self) -> Progress<T> {
        match self.unsent() {
            0 => Progress::WantsCiphertext,
            _ => Progress::HasCiphertext,
        }
    }
}
