//! What has come of operations whose caller does not ask at the moment (H2).

use openssl::ssl::{self, ShutdownResult};

/// Nothing of it is lost: it is given to the next caller of its kind.
#[derive(Default)]
pub(crate) struct Kept {
    plaintext: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
    pub(crate) read_error: Option<ssl::Error>,
    pub(crate) write_error: Option<ssl::Error>,
    pub(crate) shutdown: Option<Result<ShutdownResult, ssl::Error>>,
    /// Of one read: no bytes are the end of early data.
    #[cfg(ossl111)]
    pub(crate) early: Option<Result<Vec<u8>, ssl::Error>>,
}

impl Kept {
    pub(crate) fn keep_read(&mut self, result: Result<Vec<u8>, ssl::Error>) {
        debug_assert!(!self.has_plaintext(), "it would be lost");
        match result {
            Ok(plaintext) => (self.plaintext, self.taken) = (plaintext, 0),
            Err(e) => self.read_error = Some(e),
        }
    }

    /// Whether there is plaintext, or an error in its place.
    pub(crate) fn has_plaintext(&self) -> bool {
        self.taken < self.plaintext.len() || self.read_error.is_some()
    }

    pub(crate) fn take_plaintext(&mut self, to: &mut [u8]) -> Option<Result<usize, ssl::Error>> {
        let peeked = self.peek_plaintext(to)?;
        if let Ok(len) = peeked {
            self.taken += len;
            if self.taken == self.plaintext.len() {
                (self.plaintext, self.taken) = (Vec::new(), 0);
            }
        }
        Some(peeked)
    }

    /// An error is taken: it is reported once.
    pub(crate) fn peek_plaintext(&mut self, to: &mut [u8]) -> Option<Result<usize, ssl::Error>> {
        let plaintext = &self.plaintext[self.taken..];
        if to.is_empty() {
            return Some(Ok(0));
        }
        if plaintext.is_empty() {
            return self.read_error.take().map(Err);
        }
        let len = to.len().min(plaintext.len());
        to[..len].copy_from_slice(&plaintext[..len]);
        Some(Ok(len))
    }
}
