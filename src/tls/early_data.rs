//! Early data of TLS 1.3 (OpenSSL 1.1.1 and later).

use std::task::Context;

use openssl::ssl;

use crate::tls::operation::{Operation, Plaintext};
use crate::tls::progress::done;
use crate::tls::wakers::Caller;
use crate::tls::{Connection, Progress};

/// What a write of early data that may pause takes at most, in bytes.
const WRITE_LIMIT: usize = 16 * 1024;
/// Likewise a read.
const READ_LIMIT: usize = 16 * 1024;

impl Connection {
    /// Reads early data that the client sent with its hello (`SSL_read_early_data`), on a server
    /// before its handshake. `Done(0)` when there is no more: go on with the handshake.
    ///
    /// # Errors
    ///
    /// As for rust-openssl's [`read_early_data`](openssl::ssl::SslStream::read_early_data).
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn early(connection: &mut Connection, cx: &mut Context<'_>) -> Option<Vec<u8>> {
    ///     let mut buffer = vec![0; 1024];
    ///     match connection.poll_read_early_data(cx, &mut buffer) {
    ///         Ok(Progress::Done(len)) => Some(buffer[..len].to_owned()),
    ///         _ => None,
    ///     }
    /// }
    /// ```
    pub fn poll_read_early_data(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.caller = Caller::Reader;
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        if self.kept.early.is_none() {
            if self.is_flooded() {
                return Ok(Progress::HasCiphertext);
            }
            if !self.runs_jobs() {
                return self.inline(|stream| stream.read_early_data(to));
            }
            done!(self.run(cx, Operation::ReadEarly(to.len().min(READ_LIMIT)))?);
        }
        match self.kept.early.take() {
            Some(Ok(mut bytes)) => {
                let len = to.len().min(bytes.len());
                to[..len].copy_from_slice(&bytes[..len]);
                if len < bytes.len() {
                    bytes.drain(..len);
                    self.kept.early = Some(Ok(bytes));
                }
                Ok(Progress::Done(len))
            }
            Some(Err(e)) => Err(e),
            None => Ok(self.wants()),
        }
    }

    /// Writes early data (`SSL_write_early_data`): on a client with a session that allows it,
    /// before its handshake; on a server before the client's handshake is done. As
    /// [`poll_write`](Self::poll_write), one that may pause takes a copy.
    ///
    /// # Errors
    ///
    /// As for rust-openssl's [`write_early_data`](openssl::ssl::SslStream::write_early_data).
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn early(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_write_early_data(cx, b"GET /"), Ok(Progress::Done(5)))
    /// }
    /// ```
    pub fn poll_write_early_data(
        &mut self,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        self.caller = Caller::Writer;
        if from.is_empty() {
            return Ok(Progress::Done(0));
        }
        done!(self.written(cx)?);
        if self.is_flooded() {
            return Ok(Progress::HasCiphertext);
        }
        if !self.runs_jobs() {
            return self.inline(|stream| stream.write_early_data(from));
        }
        let len = from.len().min(WRITE_LIMIT);
        self.accept(cx, len, Operation::WriteEarly(Plaintext::new(&from[..len])))
    }
}
