//! How a stream writes: when plaintext becomes records, and when those are sent.

use std::io::{self, ErrorKind};

use openssl::ssl;

use crate::error::Error;
use crate::tls::buffer::Plain;
use crate::tls::drive::{PLAINTEXT, WRITE_LIMIT};
use crate::tls::link::{Direction, Link, Transport};
use crate::tls::sending::flush;
use crate::tls::wakers::Caller;
use crate::tls::Connection;

impl Link {
    pub(crate) fn write(
        &mut self,
        transport: &mut impl Transport,
        from: &[u8],
    ) -> Result<usize, Error> {
        if self.coalesces {
            self.write_held(transport)?;
            return self.write_later(transport, from);
        }
        if !transport.blocks() && !self.push(transport)? && self.may_hold(from) {
            return self.hold(from);
        }
        self.write_kept(transport)?;
        self.write_now(transport, Caller::Writer, from)
    }

    /// Keeps it, to be a record together with others.
    fn write_later(&mut self, transport: &mut impl Transport, from: &[u8]) -> Result<usize, Error> {
        if self.coalesced.len() == WRITE_LIMIT {
            self.write_coalesced(transport, Caller::Writer)?;
        }
        let len = from.len().min(WRITE_LIMIT - self.coalesced.len());
        self.coalesced.extend(&from[..len]);
        if self.coalesced.len() == WRITE_LIMIT {
            // If it cannot be, what comes next says so.
            let _ = self.write_coalesced(transport, Caller::Writer);
        }
        Ok(len)
    }

    /// Sends what there is, and then what the transport has held up. Whether it has taken all.
    #[inline]
    fn push(&mut self, transport: &mut impl Transport) -> Result<bool, Error> {
        if self.owes_nothing() && self.held.is_empty() {
            return Ok(true);
        }
        loop {
            match self.send(transport) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                sent => sent?,
            }
            if self.connection.unsent() > 0 {
                return Ok(false);
            }
            if self.held.is_empty() {
                return Ok(true);
            }
            self.write_held(transport)?;
        }
    }

    /// Whether this write may wait for the transport as plaintext, which it does not take anyway: it
    /// is few records then, with those after it.
    fn may_hold(&self, from: &[u8]) -> bool {
        from.len() < PLAINTEXT
            && self.coalesced.is_empty()
            && self.broken.is_none()
            && self.connection.may_hold_writes()
    }

    fn hold(&mut self, from: &[u8]) -> Result<usize, Error> {
        self.last = Direction::Write;
        self.writer_wants_read = false;
        let unsent = self.connection.unsent() + self.held.len();
        let len = from.len().min(WRITE_LIMIT.saturating_sub(unsent));
        if len == 0 && !from.is_empty() {
            self.waits = Direction::Write;
            return Err(Error::Io(ErrorKind::WouldBlock.into()));
        }
        self.held.extend(&from[..len]);
        Ok(len)
    }

    /// Whatever is called next but another such write finds what was held as it would be without:
    /// ciphertext that is unsent. What libssl does not take now is as if it were coalesced; so it is
    /// after a fatal error, and each write or flush is told.
    #[inline]
    pub(super) fn encrypt_held(&mut self) -> Result<(), ssl::Error> {
        match self.held.is_empty() {
            true => Ok(()),
            false => self.encrypt_all_held(),
        }
    }

    fn encrypt_all_held(&mut self) -> Result<(), ssl::Error> {
        debug_assert!(self.coalesced.is_empty(), "it would be before that");
        let mut held = std::mem::take(&mut self.held);
        let (taken, result) = match self.connection.is_between_handshakes() {
            true => self.connection.write_held(held.bytes()),
            false => (0, Ok(())),
        };
        held.consume(taken);
        self.coalesced = held;
        result
    }

    /// [`encrypt_held`](Self::encrypt_held), where the peer can have the alert of an error.
    #[inline]
    pub(super) fn write_held(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        let held = self.encrypt_held();
        self.alerted(transport, held)
    }

    /// Has libssl take all that was written before.
    pub(super) fn write_kept(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        self.write_held(transport)?;
        self.write_coalesced(transport, Caller::Writer)
    }

    /// Has libssl take what was coalesced.
    #[inline]
    pub(super) fn write_coalesced(
        &mut self,
        transport: &mut impl Transport,
        caller: Caller,
    ) -> Result<(), Error> {
        match self.coalesced.is_empty() {
            true => Ok(()),
            false => self.write_all_coalesced(transport, caller),
        }
    }

    fn write_all_coalesced(
        &mut self,
        transport: &mut impl Transport,
        caller: Caller,
    ) -> Result<(), Error> {
        /// What has not been taken, also if the transport or a job panics.
        struct PutBack<'a> {
            link: &'a mut Link,
            plaintext: Plain,
            /// How much had been taken before.
            taken: u64,
        }
        impl Drop for PutBack<'_> {
            fn drop(&mut self) {
                let taken = self.link.connection.plaintext_taken - self.taken;
                self.plaintext.consume(taken as usize);
                self.link.coalesced = std::mem::take(&mut self.plaintext);
            }
        }
        if self.connection.write_failed {
            let lost =
                "what was written before is not sent, as libssl has refused a write for good";
            return Err(Error::Io(io::Error::new(ErrorKind::BrokenPipe, lost)));
        }
        while !self.coalesced.is_empty() {
            let lent = PutBack {
                plaintext: std::mem::take(&mut self.coalesced),
                taken: self.connection.plaintext_taken,
                link: self,
            };
            lent.link
                .write_now(transport, caller, lent.plaintext.bytes())?;
        }
        Ok(())
    }

    fn write_now(
        &mut self,
        transport: &mut impl Transport,
        caller: Caller,
        from: &[u8],
    ) -> Result<usize, Error> {
        // What was written before goes first; if it cannot, this is not written.
        if !self.owes_nothing() {
            match self.send(transport) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e.into()),
                _ => {}
            }
        }
        if let Some(kind) = self.broken {
            return Err(Error::Io(kind.into()));
        }
        self.last = Direction::Write;
        self.writer_wants_read = false;
        let written = match self.connection.write_record(transport, from) {
            Some(written) => self.alerted(transport, written)?,
            None => self.drive(transport, Direction::Write, |connection, cx| {
                connection.poll_write_for(caller, cx, from)
            })?,
        };
        // It is written from here on: an error is of what comes next, or the caller would write it
        // again.
        if transport.blocks() {
            // A caller that goes on to block elsewhere has sent it.
            if let Err(Error::Ssl(e)) = self.flush_ciphertext(transport) {
                self.connection.keep_write_error(e);
            }
        } else {
            let _ = self.send(transport);
        }
        Ok(written)
    }

    /// Sends what was written, and flushes the transport.
    pub(crate) fn flush(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        self.write_kept(transport)?;
        self.flush_ciphertext(transport)?;
        if let Some(kind) = self.broken {
            return Err(Error::Io(kind.into()));
        }
        let flushed = flush(transport).map_err(Error::Io);
        // Where it has to wait, that is waited for.
        self.flushes = matches!(&flushed, Err(e) if e.is_would_block());
        if let Err(e) = &flushed {
            self.note_wait(Direction::Write, e);
        }
        flushed
    }

    fn flush_ciphertext(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        if self.connection.is_flushed() {
            self.last = Direction::Write;
            self.writer_wants_read = false;
            return Ok(());
        }
        self.drive(transport, Direction::Write, Connection::poll_flush)
    }
}
