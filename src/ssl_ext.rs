//! What rust-openssl's types lack to run `SSL_MODE_ASYNC` by hand: the three functions, the mode,
//! the error codes, and the status and callback of OpenSSL 3.0.

use std::os::fd::RawFd;
use std::ptr;
use std::sync::Mutex;

use foreign_types::ForeignTypeRef;
use openssl::ssl::{ErrorCode, SslContextBuilder, SslRef};

use crate::error::Error;
use crate::fds::{self, AllFds, ChangedFds};
use crate::status::AsyncStatus;
use crate::{async_callback, ffi};

mod sealed {
    pub trait Sealed {}
    impl Sealed for openssl::ssl::SslRef {}
    impl Sealed for openssl::ssl::SslContextBuilder {}
    impl Sealed for openssl::ssl::ErrorCode {}
}

/// Asynchronous operation by hand, for [`SslRef`].
///
/// The safe methods may be called at any time; they only look. See
/// [`SSL_get_all_async_fds(3)`](https://docs.openssl.org/master/man3/SSL_get_all_async_fds/) and
/// [`SSL_get_async_status(3)`](https://docs.openssl.org/master/man3/SSL_set_async_callback/).
/// OpenSSL 1.1.0 and later, except where a method says otherwise.
///
/// ```
/// use openssl::ssl::{Ssl, SslContext, SslMethod};
/// use openssl_async_jobs::SslAsyncExt;
///
/// let ctx = SslContext::builder(SslMethod::tls())?.build();
/// let ssl = Ssl::new(&ctx)?;
/// assert!(!ssl.waiting_for_async());
/// assert!(!ssl.is_async_mode());
/// # Ok::<(), openssl::error::ErrorStack>(())
/// ```
pub trait SslAsyncExt: sealed::Sealed {
    /// Whether an operation of this connection is paused (`SSL_waiting_for_async`).
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::SslAsyncExt;
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// assert!(!ssl.waiting_for_async());
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn waiting_for_async(&self) -> bool;

    /// The file descriptors that the paused operation waits for, newest first
    /// (`SSL_get_all_async_fds`).
    ///
    /// They belong to the engine or provider: poll them for reading; do not read, write or close
    /// them. Some stay registered after the operation has finished, for the next one.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] before this connection's first job.
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::{Error, SslAsyncExt};
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// assert!(matches!(ssl.all_async_fds(), Err(Error::NotStarted)));
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn all_async_fds(&self) -> Result<Vec<RawFd>, Error>;

    /// [`all_async_fds`](Self::all_async_fds) into a caller's buffer, of which it returns the part
    /// that it filled. Does not allocate.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], and [`Error::BufferTooSmall`] with the number of file descriptors
    /// needed; nothing is written then.
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::SslAsyncExt;
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// let mut buffer = [0; 8];
    /// if let Ok(fds) = ssl.all_async_fds_into(&mut buffer) {
    ///     println!("{} to poll", fds.len());
    /// }
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn all_async_fds_into<'b>(&self, fds: &'b mut [RawFd]) -> Result<&'b mut [RawFd], Error>;

    /// The file descriptors `(added, deleted)` since the operation was resumed last
    /// (`SSL_get_changed_async_fds`).
    ///
    /// For pollers that keep a set: ask after each pause, take the deleted ones out first, as their
    /// numbers may be used again, by the added ones too, and do not add one twice. The lists stay
    /// the same until the operation is resumed. What is cleared after the last pause of an
    /// operation is never among the deleted: when an operation is done, take out what is no more
    /// among [all](Self::all_async_fds).
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] before this connection's first job.
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::SslAsyncExt;
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// # let mut set: Vec<i32> = Vec::new();
    /// if let Ok((added, deleted)) = ssl.changed_async_fds() {
    ///     set.retain(|fd| !deleted.contains(fd));
    ///     set.extend(added);
    ///     set.sort_unstable();
    ///     set.dedup();
    /// }
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn changed_async_fds(&self) -> Result<(Vec<RawFd>, Vec<RawFd>), Error>;

    /// [`changed_async_fds`](Self::changed_async_fds) into a caller's buffers, of which it returns
    /// the parts that it filled. Does not allocate.
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`], and [`Error::BufferTooSmall`] for the first of the two that is;
    /// nothing is written then.
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::SslAsyncExt;
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// let (mut added, mut deleted) = ([0; 8], [0; 8]);
    /// if let Ok((added, deleted)) = ssl.changed_async_fds_into(&mut added, &mut deleted) {
    ///     println!("{} more, {} less", added.len(), deleted.len());
    /// }
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn changed_async_fds_into<'b>(
        &self,
        added: &'b mut [RawFd],
        deleted: &'b mut [RawFd],
    ) -> Result<(&'b mut [RawFd], &'b mut [RawFd]), Error>;

    /// What the engine or provider says of the operation (`SSL_get_async_status`, OpenSSL 3.0).
    ///
    /// # Errors
    ///
    /// [`Error::NotStarted`] before this connection's first job; [`Error::Unsupported`] where
    /// OpenSSL is older than 3.0.
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::{Error, SslAsyncExt};
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// match ssl.async_status() {
    ///     Err(Error::NotStarted | Error::Unsupported { .. }) => {}
    ///     other => panic!("no job has run, and there is {other:?}"),
    /// }
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn async_status(&self) -> Result<AsyncStatus, Error>;

    /// Whether libssl runs this connection's operations as jobs (`SSL_MODE_ASYNC`).
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::SslAsyncExt;
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// assert!(!ssl.is_async_mode());
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    fn is_async_mode(&self) -> bool;

    /// Sets or clears `SSL_MODE_ASYNC`: whether libssl runs `SSL_do_handshake`, `SSL_read`,
    /// `SSL_peek`, `SSL_write` and `SSL_shutdown` of this connection as jobs, each of which may
    /// answer [`want_async`](ErrorCodeExt::is_want_async) and then wants to be called again.
    ///
    /// # Safety
    ///
    /// From a call that answers "want async" until the same operation answers anything else, the
    /// operation is *paused*, and the caller keeps these rules, which neither OpenSSL nor Rust
    /// checks. Breaking one is undefined behaviour.
    ///
    /// 1. *Same thread* (H1): the operation is resumed on the thread that started it. Nothing of
    ///    the connection moves to another thread meanwhile, though [`openssl::ssl::SslStream`] is
    ///    `Send`, and the thread does not end.
    /// 2. *Same call* (H2): only the paused operation is called, and a read or a write with the
    ///    very buffer that it was first called with, which stays where it is, alive and untouched.
    /// 3. *No free* (H3): the `Ssl` (its stream, everything its transport and callbacks use) is not
    ///    dropped. It is not cleared either, nor is this mode.
    /// 4. *Small stack* (H4): everything that runs inside the job (engines, and every callback
    ///    written in Rust) fits into 32 KiB of stack without a guard page.
    /// 5. *No aliases*: a callback that pauses may hold `&mut SslRef`, and what
    ///    [`SslRef::ex_data_mut`] gave it; a transport that pauses holds itself. Nobody else uses
    ///    those meanwhile. And what is set for the duration of a call (a scoped thread-local) is not
    ///    set across a pause in it.
    /// 6. *On evidence* (H6): the operation is resumed when one of its file descriptors is
    ///    readable, its callback came, or it left nothing to wait for. Some engines take any
    ///    resume for completion.
    ///
    /// And as long as the mode is on:
    ///
    /// 7. *No other thread looks*: the methods of this trait, which read what a job writes, are called
    ///    on the thread that runs the operations only, although [`SslRef`] is `Sync`.
    ///
    /// Where [`is_capable`](crate::is_capable) says no, this does nothing: operations run
    /// synchronously, while libssl's would all answer "want async job".
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::SslAsyncExt;
    /// # let ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// // SAFETY: the connection is dropped before its first operation.
    /// unsafe { ssl.set_async_mode(true) };
    /// assert_eq!(ssl.is_async_mode(), openssl_async_jobs::is_capable());
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    unsafe fn set_async_mode(&self, on: bool);

    /// Has `callback` called when a paused operation may go on (`SSL_set_async_callback`,
    /// OpenSSL 3.0): by engines and providers that know callbacks, instead of their wait fds or
    /// besides them.
    ///
    /// It may come on any thread, before the pause, and more than once (H8). It should do no more
    /// than wake whoever runs the connection. A panic in it is caught and logged.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where OpenSSL is older than 3.0; [`Error::CallbackTooLate`] after
    /// this connection's first job.
    ///
    /// # Safety
    ///
    /// The engine or provider calls libssl, which reads the `Ssl` and what this method stores in
    /// it. So the `Ssl` must not be dropped, nor this method called again, while a completion may
    /// still come: normally it comes once for each pause.
    ///
    /// ```
    /// # use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// # use openssl_async_jobs::{Error, SslAsyncExt};
    /// # use std::sync::mpsc;
    /// # let mut ssl = Ssl::new(&SslContext::builder(SslMethod::tls())?.build())?;
    /// let (wake, woken) = mpsc::sync_channel(1);
    /// // SAFETY: this connection runs no job.
    /// let set = unsafe { ssl.set_async_callback(move || { let _ = wake.try_send(()); }) };
    /// assert!(matches!(set, Ok(()) | Err(Error::Unsupported { .. })));
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    unsafe fn set_async_callback<F>(&mut self, callback: F) -> Result<(), Error>
    where
        F: Fn() + Send + Sync + 'static;
}

impl SslAsyncExt for SslRef {
    #[inline]
    fn waiting_for_async(&self) -> bool {
        // SAFETY: a live SSL, which the function only reads.
        unsafe { ffi::SSL_waiting_for_async(self.as_ptr()) == 1 }
    }

    fn all_async_fds(&self) -> Result<Vec<RawFd>, Error> {
        fds::all(self)
    }

    #[inline]
    fn all_async_fds_into<'b>(&self, fds: &'b mut [RawFd]) -> Result<&'b mut [RawFd], Error> {
        fds::all_into(self, fds)
    }

    fn changed_async_fds(&self) -> Result<(Vec<RawFd>, Vec<RawFd>), Error> {
        fds::changed(self)
    }

    fn changed_async_fds_into<'b>(
        &self,
        added: &'b mut [RawFd],
        deleted: &'b mut [RawFd],
    ) -> Result<(&'b mut [RawFd], &'b mut [RawFd]), Error> {
        fds::changed_into(self, added, deleted)
    }

    #[cfg(ossl300)]
    fn async_status(&self) -> Result<AsyncStatus, Error> {
        let mut status = 0;
        // SAFETY: a live SSL, which the function only reads, and a place for the answer.
        match unsafe { ffi::SSL_get_async_status(self.as_ptr(), &mut status) } {
            1 => Ok(AsyncStatus::from_raw(status)),
            _ => Err(Error::NotStarted),
        }
    }

    #[cfg(not(ossl300))]
    fn async_status(&self) -> Result<AsyncStatus, Error> {
        Err(Error::since_300("SSL_get_async_status"))
    }

    fn is_async_mode(&self) -> bool {
        // It reads by writing what is there, and an `SslRef` is `Sync`: two at once would be a race.
        static ASKED: Mutex<()> = Mutex::new(());
        let _asked = ASKED.lock().unwrap_or_else(|e| e.into_inner());
        // SAFETY: a live SSL; adding no bits to the mode (SSL_get_mode) changes nothing.
        let mode = unsafe {
            openssl_sys::SSL_ctrl(
                self.as_ptr(),
                openssl_sys::SSL_CTRL_MODE,
                0,
                ptr::null_mut(),
            )
        };
        mode & ffi::SSL_MODE_ASYNC != 0
    }

    unsafe fn set_async_mode(&self, on: bool) {
        // SAFETY: a live SSL; the caller keeps H1 to H4 and H6.
        unsafe {
            openssl_sys::SSL_ctrl(
                self.as_ptr(),
                mode_command(on),
                ffi::SSL_MODE_ASYNC,
                ptr::null_mut(),
            );
        }
    }

    unsafe fn set_async_callback<F>(&mut self, callback: F) -> Result<(), Error>
    where
        F: Fn() + Send + Sync + 'static,
    {
        // SAFETY: the caller keeps H8.
        unsafe { async_callback::set(self, Box::new(callback)) }
    }
}

// SAFETY: crypto/async/async_wait.c, ASYNC_WAIT_CTX_get_all_fds: counts and writes the entries
// that are not deleted.
unsafe impl AllFds for SslRef {
    #[inline]
    fn ask(&self, fds: *mut RawFd, len: &mut usize) -> bool {
        // SAFETY: a live SSL; `fds::all*` passes null or a buffer as long as the last count.
        unsafe { ffi::SSL_get_all_async_fds(self.as_ptr(), fds, len) == 1 }
    }
}

// SAFETY: crypto/async/async_wait.c, ASYNC_WAIT_CTX_get_changed_fds: counts as entries come and
// go, and writes each entry that is new or deleted; an entry that is both leaves the list and the
// count at once.
unsafe impl ChangedFds for SslRef {
    fn ask(&self, added: (*mut RawFd, &mut usize), deleted: (*mut RawFd, &mut usize)) -> bool {
        // SAFETY: a live SSL; `fds::changed*` passes nulls or buffers as long as the last counts.
        unsafe {
            ffi::SSL_get_changed_async_fds(self.as_ptr(), added.0, added.1, deleted.0, deleted.1)
                == 1
        }
    }
}

/// Asynchronous operation by hand, for [`SslContextBuilder`].
///
/// ```
/// use openssl::ssl::{Ssl, SslContext, SslMethod};
/// use openssl_async_jobs::{SslAsyncExt, SslContextBuilderAsyncExt};
///
/// let mut ctx = SslContext::builder(SslMethod::tls())?;
/// // SAFETY: the one connection of this context runs no operation.
/// unsafe { ctx.set_async_mode(true) };
/// assert!(Ssl::new(&ctx.build())?.is_async_mode());
/// # Ok::<(), openssl::error::ErrorStack>(())
/// ```
pub trait SslContextBuilderAsyncExt: sealed::Sealed {
    /// Sets or clears `SSL_MODE_ASYNC` for the connections made of this context from now on.
    ///
    /// # Safety
    ///
    /// That of [`SslAsyncExt::set_async_mode`], for each of those connections.
    ///
    /// ```
    /// # use openssl::ssl::{SslContext, SslMethod};
    /// # use openssl_async_jobs::SslContextBuilderAsyncExt;
    /// let mut ctx = SslContext::builder(SslMethod::tls())?;
    /// // SAFETY: no connection is made of this context.
    /// unsafe { ctx.set_async_mode(true) };
    /// # Ok::<(), openssl::error::ErrorStack>(())
    /// ```
    unsafe fn set_async_mode(&mut self, on: bool);
}

impl SslContextBuilderAsyncExt for SslContextBuilder {
    unsafe fn set_async_mode(&mut self, on: bool) {
        // SAFETY: a live SSL_CTX; the caller keeps H1 to H4 and H6.
        unsafe {
            openssl_sys::SSL_CTX_ctrl(
                self.as_ptr(),
                mode_command(on),
                ffi::SSL_MODE_ASYNC,
                ptr::null_mut(),
            );
        }
    }
}

/// Without fibres libssl would answer "want async job" to everything.
fn mode_command(on: bool) -> libc::c_int {
    // SAFETY: takes nothing and looks at the platform only.
    match on && unsafe { ffi::ASYNC_is_capable() } == 1 {
        true => openssl_sys::SSL_CTRL_MODE,
        false => ffi::SSL_CTRL_CLEAR_MODE,
    }
}

/// The results of asynchronous operation, for [`ErrorCode`].
///
/// See [`SSL_get_error(3)`](https://docs.openssl.org/master/man3/SSL_get_error/). OpenSSL 1.1.0
/// and later.
///
/// ```
/// use openssl::ssl::ErrorCode;
/// use openssl_async_jobs::ErrorCodeExt;
///
/// assert!(ErrorCode::from_raw(9).is_want_async());
/// assert!(!ErrorCode::WANT_READ.is_want_async());
/// ```
pub trait ErrorCodeExt: sealed::Sealed {
    /// `SSL_ERROR_WANT_ASYNC`: the operation is paused; wait for it, then repeat the same call.
    ///
    /// ```
    /// # use openssl::ssl::ErrorCode;
    /// # use openssl_async_jobs::ErrorCodeExt;
    /// assert!(ErrorCode::from_raw(9).is_want_async());
    /// ```
    fn is_want_async(&self) -> bool;

    /// `SSL_ERROR_WANT_ASYNC_JOB`: this thread's pool has no job left, and nothing was done;
    /// repeat the call when another operation of this thread has finished.
    ///
    /// ```
    /// # use openssl::ssl::ErrorCode;
    /// # use openssl_async_jobs::ErrorCodeExt;
    /// assert!(ErrorCode::from_raw(10).is_want_async_job());
    /// ```
    fn is_want_async_job(&self) -> bool;
}

impl ErrorCodeExt for ErrorCode {
    fn is_want_async(&self) -> bool {
        self.as_raw() == ffi::SSL_ERROR_WANT_ASYNC
    }

    fn is_want_async_job(&self) -> bool {
        self.as_raw() == ffi::SSL_ERROR_WANT_ASYNC_JOB
    }
}
