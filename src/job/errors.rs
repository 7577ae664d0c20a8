//! OpenSSL's queue of errors. It is the thread's there; here the job and who polls it have one each.

use openssl::error::ErrorStack;

/// What was in a queue: as a rule nothing.
#[derive(Default)]
pub(crate) struct Errors(Option<Box<ErrorStack>>);

impl Errors {
    /// Empties this thread's queue.
    #[inline(always)]
    pub(crate) fn take() -> Errors {
        // SAFETY: may be called at any time, on any thread.
        match unsafe { openssl_sys::ERR_peek_last_error() } {
            0 => Errors(None),
            _ => Errors(Some(Box::new(ErrorStack::get()))),
        }
    }

    /// Adds them to this thread's queue.
    #[inline(always)]
    pub(crate) fn put(self) {
        if let Some(errors) = self.0 {
            errors.put();
        }
    }
}
