//! What has come of operations whose caller does not ask at the moment (H2).

use std::mem::MaybeUninit;

use openssl::ssl::{self, ShutdownResult};

use crate::tls::copy::copy;

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

    /// What was taken, but did not get to its reader: for the next one, before the rest.
    pub(crate) fn put_back(&mut self, plaintext: &[u8]) {
        self.plaintext = [plaintext, &self.plaintext[self.taken..]].concat();
        self.taken = 0;
    }

    /// Whether there is plaintext, or an error in its place.
    #[inline]
    pub(crate) fn has_plaintext(&self) -> bool {
        self.taken < self.plaintext.len() || self.read_error.is_some()
    }

    /// Fills `to` from its start, and says how much of it.
    pub(crate) fn take_plaintext(
        &mut self,
        to: &mut [MaybeUninit<u8>],
    ) -> Option<Result<usize, ssl::Error>> {
        let plaintext = match self.next_plaintext(to.len())? {
            Ok(plaintext) => plaintext,
            Err(e) => return Some(Err(e)),
        };
        let len = plaintext.len();
        // SAFETY: the same bytes, which may only be read.
        let plaintext: &[MaybeUninit<u8>] =
            unsafe { std::slice::from_raw_parts(plaintext.as_ptr().cast(), len) };
        copy(&mut to[..len], plaintext);
        self.taken += len;
        if self.taken == self.plaintext.len() {
            (self.plaintext, self.taken) = (Vec::new(), 0);
        }
        Some(Ok(len))
    }

    pub(crate) fn peek_plaintext(&mut self, to: &mut [u8]) -> Option<Result<usize, ssl::Error>> {
        Some(self.next_plaintext(to.len())?.map(|plaintext| {
            to[..plaintext.len()].copy_from_slice(plaintext);
            plaintext.len()
        }))
    }

    /// An error is taken: it is reported once.
    fn next_plaintext(&mut self, len: usize) -> Option<Result<&[u8], ssl::Error>> {
        if len > 0 && self.taken == self.plaintext.len() {
            return self.read_error.take().map(Err);
        }
        let end = self.plaintext.len().min(self.taken + len);
        Some(Ok(&self.plaintext[self.taken..end]))
    }
}
