//! The transfer of a connection's ciphertext, from a transport and to it.

use std::io::{self, Read, Write};

use crate::tls::wire::claims_too_much;
use crate::tls::Connection;

/// What the transport is offered to read into, in bytes, if there is a rest of the last read: a
/// record with its header and what a cipher adds.
const RECEIVE_ROOM: usize = 17 * 1024;

impl Connection {
    /// Reads ciphertext from the transport: once, as much as it gives at once. 0 is its end.
    ///
    /// # Errors
    ///
    /// Those of the transport; and [`InvalidData`](io::ErrorKind::InvalidData) if it says that it
    /// has read more than it was given room for.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn receive(connection: &mut Connection, mut bytes: &[u8]) -> std::io::Result<()> {
    ///     while !bytes.is_empty() {
    ///         connection.receive_from(&mut bytes)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[inline]
    pub fn receive_from<R: Read + ?Sized>(&mut self, transport: &mut R) -> io::Result<usize> {
        let wire = &self.session.wire;
        let received = wire.receive(RECEIVE_ROOM, |room| transport.read(room))?;
        self.starved = None;
        Ok(received)
    }

    /// How many bytes of ciphertext there are to send.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn wants_to_send(connection: &Connection) -> bool {
    ///     connection.unsent() > 0
    /// }
    /// ```
    #[inline]
    pub fn unsent(&self) -> usize {
        self.session.wire.outgoing().len()
    }

    /// Writes ciphertext to the transport: once, as much as it takes. What it does not take is
    /// kept. 0 if there is none.
    ///
    /// # Errors
    ///
    /// Those of the transport; [`WriteZero`](io::ErrorKind::WriteZero) if it takes nothing, and
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it says that it has written more than there
    /// was.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn send(connection: &mut Connection) -> std::io::Result<Vec<u8>> {
    ///     let mut sent = Vec::new();
    ///     while connection.unsent() > 0 {
    ///         connection.send_to(&mut sent)?;
    ///     }
    ///     Ok(sent)
    /// }
    /// ```
    #[inline]
    pub fn send_to<W: Write + ?Sized>(&mut self, transport: &mut W) -> io::Result<usize> {
        let mut outgoing = self.session.wire.outgoing_mut();
        if outgoing.is_empty() {
            return Ok(0);
        }
        match transport.write(outgoing.bytes())? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            len if len > outgoing.len() => Err(claims_too_much()),
            len => {
                outgoing.consume(len);
                Ok(len)
            }
        }
    }

    /// Whether a read may bring plaintext without another byte of the transport: there is some, or
    /// ciphertext that may be a record. Readers who wait for the transport read until they are told
    /// [`WantsCiphertext`](crate::Progress::WantsCiphertext), or ask this.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn reads_on(connection: &Connection) -> bool {
    ///     connection.has_pending()
    /// }
    /// ```
    pub fn has_pending(&self) -> bool {
        self.kept.has_plaintext()
            || self.session.wire.incoming_len() > 0
            || self.try_ssl().is_some_and(|ssl| ssl.pending() > 0)
    }

    /// For a transport that takes nothing any more.
    pub(crate) fn discard_unsent(&mut self) {
        let unsent = self.unsent();
        self.session.wire.outgoing_mut().consume(unsent);
    }

    /// For what is not sent at once: in no more memory than that takes. How much it is, in bytes.
    pub(crate) fn keep_unsent(&mut self) -> usize {
        self.session.wire.outgoing_mut().shrink();
        self.unsent()
    }

    /// Whether nothing is to be sent, or flushed where libssl would.
    #[inline]
    pub(crate) fn has_nothing_to_send(&self) -> bool {
        self.unsent() == 0 && !self.session.wire.wants_flush()
    }

    /// Whether libssl wants what was written to be flushed, since this was asked last.
    pub(crate) fn take_flush(&mut self) -> bool {
        self.session.wire.take_flush()
    }
}
