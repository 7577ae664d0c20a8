//! The callback of a wait context, taken along to the thread where an operation completes (H8).

use libc::{c_int, c_void};

/// The callback of whoever waits for a job, to be called when its operation has completed: on any
/// thread, before the pause or after it.
///
/// Made by [`WaitContextRef::notifier`](crate::WaitContextRef::notifier). OpenSSL 3.0 and later;
/// before, there are none.
///
/// ```
/// use openssl_async_jobs::{Error, WaitContextRef};
///
/// fn complete_elsewhere(context: &WaitContextRef<'_>) -> Result<(), Error> {
///     if let Some(notifier) = context.notifier()? {
///         std::thread::spawn(move || {
///             // ... the operation ...
///             // SAFETY: the job pauses until this has come, and its connection is not freed
///             // before.
///             unsafe { notifier.notify() };
///         });
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Notifier {
    pub(crate) callback: unsafe extern "C" fn(arg: *mut c_void) -> c_int,
    pub(crate) arg: *mut c_void,
}

// SAFETY: OpenSSL's callbacks may come on any thread (ASYNC_WAIT_CTX_new(3)), and whether the
// argument is alive then is the contract of `notify`.
unsafe impl Send for Notifier {}
// SAFETY: likewise.
unsafe impl Sync for Notifier {}

impl Notifier {
    /// Calls it: the operation may go on.
    ///
    /// # Safety
    ///
    /// The owner of the job's wait context (an `Ssl` as a rule) must be alive until this returns
    /// (H8). It is if the job is paused until then, as its owner may not free it (H3).
    ///
    /// ```
    /// # use openssl_async_jobs::Notifier;
    /// /// # Safety
    /// ///
    /// /// The job that waits for it has not been resumed.
    /// unsafe fn completed(notifier: Notifier) {
    ///     // SAFETY: the caller's.
    ///     unsafe { notifier.notify() }
    /// }
    /// ```
    pub unsafe fn notify(&self) {
        // SAFETY: the pair as OpenSSL had it; its owner is alive (H8, the caller). What the
        // callback answers is for nobody: OpenSSL's own engine ignores it too.
        unsafe { (self.callback)(self.arg) };
    }
}
