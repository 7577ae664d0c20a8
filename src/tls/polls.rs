//! What a caller does with a connection: handshake, read, write, shut down.

use std::mem::MaybeUninit;
use std::task::Context;

use openssl::ssl::{self, ShutdownResult};

use crate::tls::copy::AT_ONCE;
use crate::tls::drive::Kind;
use crate::tls::operation::{Operation, Plaintext};
use crate::tls::progress::done;
use crate::tls::wakers::Caller;
use crate::tls::{Connection, Progress};

impl Connection {
    /// Goes on with the handshake (`SSL_do_handshake`).
    ///
    /// # Errors
    ///
    /// Those of the handshake, be it that it was another method that went on with it.
    ///
    /// # Panics
    ///
    /// Like every `poll_` method: with what a future panicked that a callback had suspended on.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn is_done(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_handshake(cx), Ok(Progress::Done(())))
    /// }
    /// ```
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        self.caller = Caller::Handshake;
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        match self.is_between_handshakes() {
            true => Ok(Progress::Done(())),
            false => self.handshake(cx),
        }
    }

    /// Reads plaintext (`SSL_read`): as much as there is, 1 byte at least.
    ///
    /// # Errors
    ///
    /// [`ZERO_RETURN`](ssl::ErrorCode::ZERO_RETURN) when the peer has closed the connection, and others
    /// as for rust-openssl's [`ssl_read`](openssl::ssl::SslStream::ssl_read).
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn read(
    ///     connection: &mut Connection,
    ///     cx: &mut Context<'_>,
    /// ) -> Result<Progress<usize>, openssl::ssl::Error> {
    ///     let mut buffer = [0; 4096];
    ///     connection.poll_read(cx, &mut buffer)
    /// }
    /// ```
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.poll_read_uninit(cx, as_uninit(to))
    }

    /// [`poll_read`](Self::poll_read) into memory that need not be initialized. As much of it is
    /// afterwards, from its start, as this says.
    pub(crate) fn poll_read_uninit(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [MaybeUninit<u8>],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.caller = Caller::Reader;
        done!(self.fill(cx, to.len())?);
        if to.is_empty() || self.kept.has_plaintext() {
            if let Some(kept) = self.kept.take_plaintext(to) {
                return kept.map(Progress::Done);
            }
        }
        if self.starved == Some(Kind::Read) {
            return Ok(self.wants());
        }
        let (mut len, mut most) = (0, usize::MAX);
        // What is there already costs no call of the transport.
        while len < to.len() && (len == 0 || self.reads_on(most)) {
            if self.session.wire.is_slow_to(to[len..].as_ptr() as usize) {
                most = AT_ONCE;
            }
            let end = to.len().min(len.saturating_add(most));
            match self.inline(|stream| stream.ssl_read_uninit(&mut to[len..end])) {
                Ok(Progress::Done(read)) => len += read,
                Ok(wants) if len == 0 => {
                    self.starved = Some(Kind::Read);
                    return Ok(wants);
                }
                Ok(_) => break,
                Err(e) if len == 0 => return Err(e),
                Err(e) => {
                    self.kept.read_error = Some(e);
                    return Ok(Progress::Done(len));
                }
            }
        }
        // Asked now, libssl would want more: it costs it an allocation and an error to say so.
        if len > 0 && self.session.is_read_out() {
            self.starved = Some(Kind::Read);
        }
        Ok(Progress::Done(len))
    }

    /// Whether a read may bring more without another byte of the transport: another record, if not too
    /// much is to be sent already, or the rest of this one, where so much was asked for at most.
    #[inline]
    fn reads_on(&self, most: usize) -> bool {
        (self.session.wire.incoming_len() > 0 && !self.is_flooded())
            || (most == AT_ONCE && self.session.ssl().pending() > 0)
    }

    /// Reads plaintext and leaves it for the next read (`SSL_peek`).
    ///
    /// # Errors
    ///
    /// As for [`poll_read`](Self::poll_read).
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn first_byte(connection: &mut Connection, cx: &mut Context<'_>) -> Option<u8> {
    ///     let mut byte = [0];
    ///     match connection.poll_peek(cx, &mut byte) {
    ///         Ok(Progress::Done(1)) => Some(byte[0]),
    ///         _ => None,
    ///     }
    /// }
    /// ```
    pub fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.caller = Caller::Reader;
        done!(self.fill(cx, to.len())?);
        match self.kept.peek_plaintext(to) {
            Some(kept) => kept.map(Progress::Done),
            None if to.is_empty() => Ok(Progress::Done(0)),
            None => self.inline(|stream| stream.ssl_peek(to)),
        }
    }

    /// Writes plaintext (`SSL_write`), as many records as there is room for unsent ciphertext.
    ///
    /// A write that may pause takes a copy, and is done with that: how it ends, the next write,
    /// flush or shutdown says.
    ///
    /// # Errors
    ///
    /// As for rust-openssl's [`ssl_write`](openssl::ssl::SslStream::ssl_write), for this write or
    /// for what was written before.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn write(
    ///     connection: &mut Connection,
    ///     cx: &mut Context<'_>,
    /// ) -> Result<Progress<usize>, openssl::ssl::Error> {
    ///     connection.poll_write(cx, b"hello")
    /// }
    /// ```
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.poll_write_for(Caller::Writer, cx, from)
    }

    /// [`poll_write`](Self::poll_write), for this caller.
    pub(crate) fn poll_write_for(
        &mut self,
        caller: Caller,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.caller = caller;
        if from.is_empty() {
            return Ok(Progress::Done(0));
        }
        done!(self.written(cx)?);
        done!(self.ready(cx)?);
        let room = self.write_room();
        if room == 0 {
            return Ok(Progress::HasCiphertext);
        }
        if self.runs_jobs() {
            let len = from.len().min(room);
            return self.accept(cx, len, Operation::Write(Plaintext::new(&from[..len])));
        }
        let starved = self.starved_reader();
        let mut len = 0;
        while len < from.len() {
            // Without SSL_MODE_ENABLE_PARTIAL_WRITE it takes all that it is given.
            let piece = &from[len..from.len().min(len + self.write_room())];
            if piece.is_empty() {
                break;
            }
            match self.write_inline(piece) {
                Ok(Progress::Done(written)) => len += written,
                Ok(wants) if len == 0 => return Ok(wants),
                Ok(_) => break,
                Err(e) if len == 0 => return Err(e),
                Err(e) => {
                    self.kept.write_error = Some(e);
                    return Ok(Progress::Done(len));
                }
            }
        }
        self.starved = starved;
        Ok(Progress::Done(len))
    }

    /// Whether all that was written has been encrypted and taken by
    /// [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// Those of the writes before it.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn is_flushed(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_flush(cx), Ok(Progress::Done(())))
    /// }
    /// ```
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        self.caller = Caller::Writer;
        match self.written(cx)? {
            Progress::Done(()) if self.unsent() > 0 => Ok(Progress::HasCiphertext),
            other => Ok(other),
        }
    }

    /// Closes the connection (`SSL_shutdown`), after what was written before: first with
    /// [`Sent`](ShutdownResult::Sent), when our `close_notify` is there to be sent; then with
    /// [`Received`](ShutdownResult::Received), when the peer's has come.
    ///
    /// # Errors
    ///
    /// As for rust-openssl's [`shutdown`](openssl::ssl::SslStream::shutdown), and those of the
    /// writes before it.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn close(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_shutdown(cx), Ok(Progress::Done(_)))
    /// }
    /// ```
    pub fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<Progress<ShutdownResult>, ssl::Error> {
        self.caller = Caller::Writer;
        done!(self.written(cx)?);
        if self.kept.shutdown.is_none() && self.is_flooded() {
            return Ok(Progress::HasCiphertext);
        }
        if self.kept.shutdown.is_none() && !self.runs_jobs() {
            return self.inline(|stream| stream.shutdown());
        }
        if self.kept.shutdown.is_none() && self.starved == Some(Kind::Shutdown) {
            return Ok(self.wants());
        }
        if self.kept.shutdown.is_none() {
            done!(self.run(cx, Operation::Shutdown)?);
        }
        match self.kept.shutdown.take() {
            Some(result) => result.map(Progress::Done),
            None => Ok(Progress::Pending),
        }
    }
}

/// Memory that is only ever filled.
pub(super) fn as_uninit(to: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    // SAFETY: the same bytes; what writes there writes bytes, as `poll_read_uninit` and
    // rust-openssl's `ssl_read_uninit` say.
    unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len()) }
}
