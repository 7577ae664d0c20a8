//! How a stream writes: when plaintext becomes records, and when those are sent.

use std::io::ErrorKind;

use crate::error::Error;
use crate::tls::buffer::Buffer;
use crate::tls::drive::{PLAINTEXT, WRITE_LIMIT};
use crate::tls::link::{Direction, Link, Transport};
use crate::tls::Connection;

impl Link {
    pub(crate) fn write(
        &mut self,
        transport: &mut impl Transport,
        from: &[u8],
    ) -> Result<usize, Error> {
        if !self.coalesces {
            if !self.push(transport)? {
                if !transport.blocks() && self.may_hold(from) {
                    return self.hold(from);
                }
                self.write_coalesced(transport)?;
            }
            return self.write_now(transport, from);
        }
        if self.coalesced.len() == WRITE_LIMIT {
            self.write_coalesced(transport)?;
        }
        let len = self.coalesce(from);
        if self.coalesced.len() == WRITE_LIMIT {
            // If it cannot be, what comes next says so.
            let _ = self.write_coalesced(transport);
        }
        Ok(len)
    }

    /// Adds as much as there is room for.
    fn coalesce(&mut self, from: &[u8]) -> usize {
        let len = from.len().min(WRITE_LIMIT - self.coalesced.len());
        self.coalesced.extend(&from[..len]);
        len
    }

    /// Sends what there is, and then what the transport has held up. Whether it has taken all.
    #[inline]
    pub(super) fn push(&mut self, transport: &mut impl Transport) -> Result<bool, Error> {
        match self.send(transport) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
            sent => sent?,
        }
        if !self.coalesced.is_empty() {
            self.write_coalesced(transport)?;
        }
        Ok(self.connection.unsent() == 0)
    }

    /// Whether this write may wait for the transport as plaintext, which it does not take anyway: it
    /// is few records then, with what comes after it.
    fn may_hold(&self, from: &[u8]) -> bool {
        from.len() < PLAINTEXT && self.connection.may_hold_writes()
    }

    fn hold(&mut self, from: &[u8]) -> Result<usize, Error> {
        self.last = Direction::Write;
        self.writer_wants_read = false;
        match self.coalesce(from) {
            0 if !from.is_empty() => {
                self.waits = Direction::Write;
                Err(Error::Io(ErrorKind::WouldBlock.into()))
            }
            len => Ok(len),
        }
    }

    /// Has libssl take what was coalesced.
    pub(super) fn write_coalesced(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        /// Also if the transport panics.
        struct PutBack<'a>(&'a mut Link, Buffer);
        impl Drop for PutBack<'_> {
            fn drop(&mut self) {
                self.0.coalesced = std::mem::take(&mut self.1);
            }
        }
        while !self.coalesced.is_empty() {
            let plaintext = std::mem::take(&mut self.coalesced);
            let mut lent = PutBack(self, plaintext);
            let written = lent.0.write_now(transport, lent.1.bytes())?;
            lent.1.consume(written);
        }
        Ok(())
    }

    fn write_now(&mut self, transport: &mut impl Transport, from: &[u8]) -> Result<usize, Error> {
        // What was written before goes first; if it cannot, this is not written.
        match self.send(transport) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e.into()),
            _ => {}
        }
        if let Some(kind) = self.broken {
            return Err(Error::Io(kind.into()));
        }
        self.last = Direction::Write;
        self.writer_wants_read = false;
        let written = match self.connection.write_record(transport, from) {
            Some(written) => self.alerted(transport, written)?,
            None => self.drive(transport, Direction::Write, |connection, cx| {
                connection.poll_write(cx, from)
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
        self.write_coalesced(transport)?;
        self.flush_ciphertext(transport)?;
        Ok(transport.flush()?)
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
