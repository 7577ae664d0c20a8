//! The job that is running: what a callback, an engine or a provider sees of it.

use std::marker::PhantomData;
use std::ptr::NonNull;

use openssl::error::ErrorStack;

use crate::error::Error;
use crate::ffi;
use crate::job::pause_place;
use crate::job::record::{Header, Leaves};
use crate::job::thread::current_record;
use crate::job::thread_token::{abort_if_moved, ThreadToken};
use crate::job::WaitContextRef;

/// The asynchronous job that is running on this thread.
///
/// It is a handle that each method checks: kept beyond its job, it answers [`Error::NotInJob`]. (A
/// job that C started cannot be told from a later one, as OpenSSL uses its memory again.)
///
/// See [`ASYNC_get_current_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL
/// 1.1.0 and later.
///
/// # Send
///
/// It is neither `Send` nor `Sync`: a job runs on one thread (H1).
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<openssl_async_jobs::CurrentJob>();
/// ```
///
/// # Example
///
/// What a callback does that has to wait, here for the file descriptor that a thread signals.
/// It checks its result and pauses again, as whoever resumes it may be wrong.
///
/// ```
/// use openssl_async_jobs::{CurrentJob, Error, WaitKey};
/// use std::os::fd::OwnedFd;
///
/// fn wait_until(done: impl Fn() -> bool, fd: OwnedFd) -> Result<(), Error> {
///     static KEY: WaitKey = WaitKey::new();
///     let job = CurrentJob::get().ok_or(Error::NotInJob)?;
///     let context = job.wait_context()?;
///     context.set_wait_fd(&KEY, fd)?;
///     while !done() {
///         job.pause()?;
///     }
///     context.clear_fd(&KEY)
/// }
/// ```
#[derive(Debug)]
pub struct CurrentJob {
    which: Which,
    /// Not `Send`, not `Sync` (H1).
    _thread: PhantomData<*mut ()>,
}

/// Compared with the job that is running, and used only if it is the same.
#[derive(Debug)]
enum Which {
    /// By its number, as OpenSSL uses its own jobs again.
    Ours(u64),
    Another(NonNull<ffi::ASYNC_JOB>),
}

impl CurrentJob {
    /// The job that is running, or `None` outside one (`ASYNC_get_current_job`).
    ///
    /// ```
    /// assert!(openssl_async_jobs::CurrentJob::get().is_none());
    /// ```
    #[inline]
    pub fn get() -> Option<CurrentJob> {
        // One of ours is known here; OpenSSL knows of all, and takes longer.
        let which = match current_record() {
            // SAFETY: the running job's record, which lives until its closure has returned.
            Some(record) => Which::Ours(unsafe { record.as_ref() }.id),
            None => Which::Another(running()?),
        };
        Some(CurrentJob {
            which,
            _thread: PhantomData,
        })
    }

    /// Where to register what this job waits for (`ASYNC_get_wait_ctx`).
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`] unless this job is running; [`Error::NoWaitContext`] if it was started
    /// without one.
    ///
    /// ```
    /// use openssl_async_jobs::{CurrentJob, Error};
    ///
    /// fn waits_for() -> Result<usize, Error> {
    ///     let job = CurrentJob::get().ok_or(Error::NotInJob)?;
    ///     let fds = job.wait_context()?.all_fds()?;
    ///     Ok(fds.len())
    /// }
    /// assert!(matches!(waits_for(), Err(Error::NotInJob)));
    /// ```
    pub fn wait_context(&self) -> Result<WaitContextRef<'_>, Error> {
        let context = match (self.own(), &self.which) {
            (Some(header), _) => header.wait_context(),
            // SAFETY: the job that is running, so it is alive.
            (None, Which::Another(job)) if self.is_running(*job) => unsafe {
                ffi::ASYNC_get_wait_ctx(job.as_ptr())
            },
            _ => return Err(Error::NotInJob),
        };
        let context = NonNull::new(context).ok_or(Error::NoWaitContext)?;
        Ok(WaitContextRef::new(self, context))
    }

    /// Pauses the job (`ASYNC_pause_job`): whoever called into OpenSSL goes on, with "want async",
    /// and this returns when the operation is called again.
    ///
    /// Register what to wait for first. When it returns, see whether that has come, and pause
    /// again if not. While pausing is blocked (`ASYNC_block_pause`, as OpenSSL does around its
    /// locks) it returns at once (H13): in a [`Job`](crate::Job) with an error; a job that C
    /// started is not told. So in a callback that libssl makes with the lock of a context's
    /// sessions held, in the destructor of a thread-local where a job has ended the process, or on another
    /// stack than the job's (of another crate's coroutine): with an error in any job, but for the last, which is
    /// known of a [`Job`](crate::Job) only.
    ///
    /// If the caller breaks H1 and resumes on another thread, the process is aborted.
    ///
    /// # Errors
    ///
    /// [`Error::NotInJob`] unless this job is running; [`Error::NoWaitContext`] if it was started
    /// without one, as OpenSSL would crash on resuming it; [`Error::Panicking`] while this thread
    /// unwinds; [`Error::PauseBlocked`]; [`Error::OpenSsl`] if the switch failed.
    ///
    /// ```
    /// use openssl_async_jobs::{CurrentJob, Error};
    ///
    /// fn let_others_run() -> Result<(), Error> {
    ///     match CurrentJob::get() {
    ///         Some(job) => job.pause(), // with nothing to wait for: resumed at once
    ///         None => Ok(()),
    ///     }
    /// }
    /// # let_others_run().unwrap();
    /// ```
    // Inlined, as no processor predicts the return after a pause.
    #[inline]
    pub fn pause(&self) -> Result<(), Error> {
        let Some(header) = self.own() else {
            return self.pause_another();
        };
        may_pause(Some(header))?;
        // Its owner is told who paused it.
        header.leaves.set(Leaves::Yield);
        let paused = switch_to_owner(header.thread);
        // Who takes it when it sees the pause.
        let blocked = matches!(header.leaves.replace(Leaves::Nothing), Leaves::Yield);
        match paused {
            true if !blocked => Ok(()),
            true => Err(Error::PauseBlocked),
            false => Err(no_switch()),
        }
    }

    fn pause_another(&self) -> Result<(), Error> {
        self.wait_context()?;
        may_pause(None)?;
        match switch_to_owner(ThreadToken::current()) {
            true => Ok(()),
            false => Err(no_switch()),
        }
    }

    /// The record of this job, if it is one of ours and the one running.
    #[inline]
    fn own(&self) -> Option<&Header> {
        let Which::Ours(number) = self.which else {
            return None;
        };
        // SAFETY: the running job's record, which lives until its closure has returned; this handle
        // is used in it.
        let header = unsafe { current_record()?.as_ref() };
        (header.id == number).then_some(header)
    }

    /// Whether this is running, which is none of ours.
    fn is_running(&self, job: NonNull<ffi::ASYNC_JOB>) -> bool {
        current_record().is_none() && running() == Some(job)
    }
}

/// This job, if it is one of ours.
#[inline]
fn may_pause(own: Option<&Header>) -> Result<(), Error> {
    if std::thread::panicking() {
        return Err(Error::Panicking);
    }
    match pause_place::may_pause_here(own) {
        true => Ok(()),
        false => Err(Error::PauseBlocked),
    }
}

/// Until the job is resumed. True if it could be paused, or pauses are blocked.
#[inline]
fn switch_to_owner(thread: ThreadToken) -> bool {
    // SAFETY: a job is running, with a wait context, which ASYNC_pause_job reads when it is resumed.
    // Frames below may be left for good (H3), which is a leak of what they own.
    let paused = unsafe { ffi::ASYNC_pause_job() };
    abort_if_moved(thread);
    paused == 1
}

#[cold]
fn no_switch() -> Error {
    ErrorStack::get().into()
}

fn running() -> Option<NonNull<ffi::ASYNC_JOB>> {
    // With rust-openssl's options, as this may be the process's first call to OpenSSL.
    openssl_sys::init();
    // SAFETY: may be called at any time, on any thread.
    NonNull::new(unsafe { ffi::ASYNC_get_current_job() })
}
