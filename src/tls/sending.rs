//! What a stream sends, and when: at once, but for session tickets, which nobody waits for.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr;

use crate::error::Error;
use crate::tls::link::{Link, Transport};

/// So much may stay unsent when a handshake is done, in bytes: a few tickets, unless a large certificate of
/// the client's is in them.
const DEFERRED_LIMIT: usize = 4 * 1024;

impl Link {
    /// Whether all that is unsent, after the first handshake, is session tickets, and they are few.
    pub(super) fn has_only_tickets(&self) -> bool {
        (1..=DEFERRED_LIMIT).contains(&self.connection.unsent())
            && !self.flushes
            && !self.has_written_early
            && self.connection.ends_with_tickets()
    }

    /// They go with what is sent next, be it because a read waits.
    pub(super) fn defer(&mut self) {
        self.deferred = self.connection.keep_unsent();
    }

    /// Whether the peer waits for nothing that there is.
    #[inline]
    pub(super) fn owes_nothing(&self) -> bool {
        match self.deferred {
            0 => self.connection.has_nothing_to_send() && !self.flushes,
            deferred => self.connection.unsent() == deferred,
        }
    }

    /// Whether something waits for the transport to be writable.
    pub(super) fn waits_to_send(&self) -> bool {
        self.connection.unsent() > self.deferred || self.flushes
    }

    /// Sends all there is, and flushes it where libssl would.
    #[inline]
    pub(crate) fn send(&mut self, transport: &mut impl Transport) -> io::Result<()> {
        match self.connection.has_nothing_to_send() && !self.flushes {
            true => Ok(()),
            false => self.send_all(transport),
        }
    }

    fn send_all(&mut self, transport: &mut impl Transport) -> io::Result<()> {
        self.deferred = 0;
        if let (Some(kind), true) = (self.broken, self.connection.unsent() > 0) {
            self.connection.discard_unsent();
            return Err(kind.into());
        }
        while self.connection.unsent() > 0 {
            match self.connection.send_to(transport) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                sent => sent.map(|_| ())?,
            }
        }
        self.flushes |= self.connection.take_flush();
        if self.flushes {
            flush(transport)?;
            self.flushes = false;
        }
        Ok(())
    }

    /// The peer may wait for what reading has brought to send, and the caller goes on elsewhere. If
    /// sending fails, the next operation says so; if it panics, the next read has the plaintext.
    #[inline]
    pub(super) fn send_after_reading(
        &mut self,
        transport: &mut impl Transport,
        read: &[MaybeUninit<u8>],
    ) {
        if self.owes_nothing() {
            return;
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.send(transport))) {
            // SAFETY: so many bytes were filled by the read.
            let read = unsafe { &*(ptr::from_ref(read) as *const [u8]) };
            self.connection.kept.put_back(read);
            resume_unwind(payload);
        }
    }

    /// When there is nothing to send that the peer waits for.
    pub(super) fn receive_before_sending(
        &mut self,
        transport: &mut impl Transport,
    ) -> Result<(), Error> {
        match self.receive(transport) {
            Err(waits) if waits.is_would_block() => match self.send(transport) {
                Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e.into()),
                _ => Err(waits),
            },
            received => received,
        }
    }
}

pub(super) fn flush(transport: &mut impl Transport) -> io::Result<()> {
    loop {
        match transport.flush() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            flushed => return flushed,
        }
    }
}
