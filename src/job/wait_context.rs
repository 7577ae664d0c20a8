//! The producer's view of a wait context: what the running job waits for.

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use openssl::error::ErrorStack;

use crate::error::Error;
use crate::fds::{self, AllFds, ChangedFds};
use crate::ffi;
use crate::job::notifier::Notifier;
#[cfg(ossl300)]
use crate::job::thread::current_record;
use crate::job::wait_fd::{Cleanup, WaitKey};
use crate::job::CurrentJob;
use crate::status::AsyncStatus;

/// The wait context of the job that is running: the file descriptors that whoever called into
/// OpenSSL shall poll, and a status and a callback (OpenSSL 3.0).
///
/// A wait context usually belongs to a connection, and lives from its first job until it is freed:
/// what a producer registers stays for its next operation unless it clears it.
///
/// Like [`CurrentJob`] it is a handle that each method checks, with [`Error::NotInJob`], and it is
/// neither `Send` nor `Sync`:
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<openssl_async_jobs::WaitContextRef<'static>>();
/// ```
///
/// See [`ASYNC_WAIT_CTX_new(3)`](https://docs.openssl.org/master/man3/ASYNC_WAIT_CTX_new/). OpenSSL
/// 1.1.0 and later, except where a method says otherwise.
///
/// ```
/// use openssl_async_jobs::{Error, WaitContextRef, WaitKey};
/// use std::os::fd::RawFd;
///
/// /// The wait fd that this provider has used before in this context, or a new one.
/// fn my_fd(context: &WaitContextRef<'_>) -> Result<RawFd, Error> {
///     static KEY: WaitKey = WaitKey::new();
///     if let Some(fd) = context.wait_fd(&KEY)? {
///         return Ok(fd);
///     }
///     let (reader, writer) = std::io::pipe()?;
///     # let _ = writer;
///     context.set_wait_fd(&KEY, reader.into())?;
///     context.wait_fd(&KEY)?.ok_or(Error::KeyNotFound)
/// }
/// ```
#[derive(Debug)]
pub struct WaitContextRef<'a> {
    /// The job that must be running.
    job: &'a CurrentJob,
    /// Its wait context; compared before each use, as the handle may outlive both.
    context: NonNull<ffi::ASYNC_WAIT_CTX>,
    /// Not `Send`, not `Sync` (H1).
    _thread: PhantomData<*mut ()>,
}

impl<'a> WaitContextRef<'a> {
    pub(crate) fn new(job: &'a CurrentJob, context: NonNull<ffi::ASYNC_WAIT_CTX>) -> Self {
        WaitContextRef {
            job,
            context,
            _thread: PhantomData,
        }
    }

    /// Registers a file descriptor to poll for reading (`ASYNC_WAIT_CTX_set_wait_fd`). The wait
    /// context owns it, and closes it when it is freed.
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::KeyInUse`] if there is one under this key: clear it first.
    /// The file descriptor is closed then.
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef, WaitKey};
    /// static KEY: WaitKey = WaitKey::new();
    /// fn register(context: &WaitContextRef<'_>, fd: std::os::fd::OwnedFd) -> Result<(), Error> {
    ///     context.set_wait_fd(&KEY, fd)
    /// }
    /// ```
    pub fn set_wait_fd(&self, key: &'static WaitKey, fd: OwnedFd) -> Result<(), Error> {
        let raw = fd.as_raw_fd();
        self.set(key, raw, Cleanup::Close(fd))
    }

    /// Registers a file descriptor that somebody else owns, and what to do when the wait context
    /// does not need it any more: when it is [cleared](Self::clear_fd), or when the wait context
    /// is freed, on whichever thread does that. A panic in it is caught and logged there.
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::InvalidFd`] for a negative number; [`Error::KeyInUse`] if
    /// there is one under this key. The closure is dropped without a call then.
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef, WaitKey};
    /// use std::os::fd::{AsRawFd, OwnedFd};
    /// use std::sync::Arc;
    /// static KEY: WaitKey = WaitKey::new();
    /// fn share(context: &WaitContextRef<'_>, fd: Arc<OwnedFd>) -> Result<(), Error> {
    ///     context.set_wait_fd_with(&KEY, fd.as_raw_fd(), move |_| drop(fd))
    /// }
    /// ```
    pub fn set_wait_fd_with<F>(
        &self,
        key: &'static WaitKey,
        fd: RawFd,
        cleanup: F,
    ) -> Result<(), Error>
    where
        F: FnOnce(RawFd) + Send + 'static,
    {
        if fd < 0 {
            return Err(Error::InvalidFd { fd });
        }
        self.set(key, fd, Cleanup::Run(Box::new(cleanup)))
    }

    /// The file descriptor that is registered under this key (`ASYNC_WAIT_CTX_get_fd`).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`].
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef, WaitKey};
    /// static KEY: WaitKey = WaitKey::new();
    /// fn is_registered(context: &WaitContextRef<'_>) -> Result<bool, Error> {
    ///     Ok(context.wait_fd(&KEY)?.is_some())
    /// }
    /// ```
    pub fn wait_fd(&self, key: &'static WaitKey) -> Result<Option<RawFd>, Error> {
        Ok(self.entry(key)?.map(|(fd, _)| fd))
    }

    /// Takes the file descriptor out that is registered under this key
    /// (`ASYNC_WAIT_CTX_clear_fd`), and closes it or calls its closure.
    ///
    /// Pollers see it among the deleted ones at the next pause; its number may be in use again
    /// then.
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::KeyNotFound`].
    ///
    /// # Panics
    ///
    /// If the closure does; the file descriptor is taken out all the same.
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef, WaitKey};
    /// static KEY: WaitKey = WaitKey::new();
    /// fn done(context: &WaitContextRef<'_>) -> Result<(), Error> {
    ///     context.clear_fd(&KEY)
    /// }
    /// ```
    pub fn clear_fd(&self, key: &'static WaitKey) -> Result<(), Error> {
        let (fd, custom_data) = self.entry(key)?.ok_or(Error::KeyNotFound)?;
        // SAFETY: the running job's wait context. It drops the entry and calls no clean-up.
        if unsafe { ffi::ASYNC_WAIT_CTX_clear_fd(self.context.as_ptr(), key.as_ptr()) } != 1 {
            return Err(Error::KeyNotFound);
        }
        // SAFETY: only `set` registers under a `WaitKey`, and OpenSSL has just forgotten the entry.
        unsafe { Cleanup::from_raw(fd, custom_data) }.run(fd);
        Ok(())
    }

    /// All file descriptors that are registered, newest first (`ASYNC_WAIT_CTX_get_all_fds`).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`].
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef};
    /// fn count(context: &WaitContextRef<'_>) -> Result<usize, Error> {
    ///     Ok(context.all_fds()?.len())
    /// }
    /// ```
    pub fn all_fds(&self) -> Result<Vec<RawFd>, Error> {
        fds::all(self.check()?)
    }

    /// The file descriptors `(added, deleted)` since the job was resumed last
    /// (`ASYNC_WAIT_CTX_get_changed_fds`).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`].
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef};
    /// fn is_news(context: &WaitContextRef<'_>) -> Result<bool, Error> {
    ///     let (added, deleted) = context.changed_fds()?;
    ///     Ok(!added.is_empty() || !deleted.is_empty())
    /// }
    /// ```
    pub fn changed_fds(&self) -> Result<(Vec<RawFd>, Vec<RawFd>), Error> {
        fds::changed(self.check()?)
    }

    /// Says what has become of the operation (`ASYNC_WAIT_CTX_set_status`, OpenSSL 3.0).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::Unsupported`] where OpenSSL is older than 3.0.
    ///
    /// ```
    /// use openssl_async_jobs::{AsyncStatus, Error, WaitContextRef};
    /// fn device_is_busy(context: &WaitContextRef<'_>) -> Result<(), Error> {
    ///     context.set_status(AsyncStatus::Eagain)
    /// }
    /// ```
    pub fn set_status(&self, status: AsyncStatus) -> Result<(), Error> {
        self.check()?;
        #[cfg(not(ossl300))]
        {
            let _ = status;
            Err(Error::since_300("ASYNC_WAIT_CTX_set_status"))
        }
        // SAFETY: the running job's wait context.
        #[cfg(ossl300)]
        match unsafe { ffi::ASYNC_WAIT_CTX_set_status(self.context.as_ptr(), status.as_raw()) } {
            1 => Ok(()),
            _ => Err(ErrorStack::get().into()),
        }
    }

    /// What [`set_status`](Self::set_status) said last (`ASYNC_WAIT_CTX_get_status`, OpenSSL 3.0).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::Unsupported`] where OpenSSL is older than 3.0.
    ///
    /// ```
    /// use openssl_async_jobs::{AsyncStatus, Error, WaitContextRef};
    /// fn was_busy(context: &WaitContextRef<'_>) -> Result<bool, Error> {
    ///     Ok(context.status()? == AsyncStatus::Eagain)
    /// }
    /// ```
    pub fn status(&self) -> Result<AsyncStatus, Error> {
        self.check()?;
        #[cfg(not(ossl300))]
        return Err(Error::since_300("ASYNC_WAIT_CTX_get_status"));
        // SAFETY: the running job's wait context.
        #[cfg(ossl300)]
        Ok(AsyncStatus::from_raw(unsafe {
            ffi::ASYNC_WAIT_CTX_get_status(self.context.as_ptr())
        }))
    }

    /// Calls the callback of whoever waits, from here (OpenSSL 3.0). `false` if there is none: it
    /// polls the file descriptors then.
    ///
    /// For a completion that comes later, on another thread: [`notifier`](Self::notifier).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::Unsupported`] where OpenSSL is older than 3.0.
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef};
    /// fn resume_me(context: &WaitContextRef<'_>) -> Result<bool, Error> {
    ///     context.notify()
    /// }
    /// ```
    pub fn notify(&self) -> Result<bool, Error> {
        let Some(notifier) = self.notifier()? else {
            return Ok(false);
        };
        // SAFETY: the owner of the running job's wait context is alive, as it is in a call.
        unsafe { notifier.notify() };
        Ok(true)
    }

    /// The callback of whoever waits (`ASYNC_WAIT_CTX_get_callback`, OpenSSL 3.0), for another
    /// thread to call; `None` if there is none: it polls the file descriptors then.
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`]; [`Error::Unsupported`] where OpenSSL is older than 3.0.
    ///
    /// ```
    /// use openssl_async_jobs::{Error, WaitContextRef};
    /// fn has_callback(context: &WaitContextRef<'_>) -> Result<bool, Error> {
    ///     Ok(context.notifier()?.is_some())
    /// }
    /// ```
    pub fn notifier(&self) -> Result<Option<Notifier>, Error> {
        self.check()?;
        #[cfg(not(ossl300))]
        return Err(Error::since_300("ASYNC_WAIT_CTX_get_callback"));
        #[cfg(ossl300)]
        {
            let (mut callback, mut arg) = (None, ptr::null_mut());
            // SAFETY: the running job's wait context, and places for the answers.
            let set = unsafe {
                ffi::ASYNC_WAIT_CTX_get_callback(self.context.as_ptr(), &mut callback, &mut arg)
            };
            let notifier = callback
                .filter(|_| set == 1)
                .map(|callback| Notifier { callback, arg });
            if let (Some(record), Some(_)) = (current_record(), &notifier) {
                // SAFETY: the running job's record, which lives until its closure has returned.
                let header = unsafe { record.as_ref() };
                header.notifier_taken.set(true);
                header.notifies.set(true);
            }
            Ok(notifier)
        }
    }

    fn set(&self, key: &'static WaitKey, fd: RawFd, cleanup: Cleanup) -> Result<(), Error> {
        // OpenSSL would hide the former one behind the new one.
        if let Some((fd, _)) = self.entry(key)? {
            return Err(Error::KeyInUse { fd });
        }
        let (custom_data, clean_up) = cleanup.into_raw();
        // SAFETY: the running job's wait context; it owns the entry now, and passes it to
        // `clean_up` once, when it is freed, unless `clear_fd` takes it back first.
        let set = unsafe {
            ffi::ASYNC_WAIT_CTX_set_wait_fd(
                self.context.as_ptr(),
                key.as_ptr(),
                fd,
                custom_data,
                Some(clean_up),
            )
        };
        if set != 1 {
            // SAFETY: out of memory, so OpenSSL did not take it.
            drop(unsafe { Cleanup::from_raw(fd, custom_data) });
            return Err(ErrorStack::get().into());
        }
        Ok(())
    }

    /// The file descriptor and the custom data under a key.
    fn entry(&self, key: &'static WaitKey) -> Result<Option<(RawFd, *mut libc::c_void)>, Error> {
        self.check()?;
        let (mut fd, mut custom_data) = (ffi::OSSL_BAD_ASYNC_FD, ptr::null_mut());
        // SAFETY: the running job's wait context, and places for the answers.
        let found = unsafe {
            ffi::ASYNC_WAIT_CTX_get_fd(
                self.context.as_ptr(),
                key.as_ptr(),
                &mut fd,
                &mut custom_data,
            )
        };
        Ok((found == 1).then_some((fd, custom_data)))
    }

    /// This context, if it still is that of the running job, and so alive.
    fn check(&self) -> Result<&Self, Error> {
        match self.job.wait_context()?.context == self.context {
            true => Ok(self),
            false => Err(Error::NotInJob),
        }
    }
}

// SAFETY: crypto/async/async_wait.c: counts and writes the entries that are not deleted.
unsafe impl AllFds for WaitContextRef<'_> {
    fn ask(&self, fds: *mut RawFd, len: &mut usize) -> bool {
        // SAFETY: checked to be alive; `fds::all*` passes null or a buffer as long as the count.
        unsafe { ffi::ASYNC_WAIT_CTX_get_all_fds(self.context.as_ptr(), fds, len) == 1 }
    }
}

// SAFETY: crypto/async/async_wait.c: counts as entries come and go, and writes each that is new
// or deleted; an entry that is both leaves the list and the count at once.
unsafe impl ChangedFds for WaitContextRef<'_> {
    fn ask(&self, added: (*mut RawFd, &mut usize), deleted: (*mut RawFd, &mut usize)) -> bool {
        // SAFETY: checked to be alive; `fds::changed*` passes nulls or buffers as long as the
        // counts.
        unsafe {
            ffi::ASYNC_WAIT_CTX_get_changed_fds(
                self.context.as_ptr(),
                added.0,
                added.1,
                deleted.0,
                deleted.1,
            ) == 1
        }
    }
}
