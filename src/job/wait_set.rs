//! A wait context of our own, and what it says of a paused job: the evidence on which alone a job
//! is resumed (H6).

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::task::Waker;

use libc::c_int;

use crate::ffi;
use crate::job::completion::{Completion, Token};
use crate::job::thread::with;

/// A wait context and the completion that its callback sets. One job has it at a time; afterwards
/// the next one may, and finds the wait fds that engines keep there.
pub(crate) struct WaitSet {
    context: NonNull<ffi::ASYNC_WAIT_CTX>,
    /// Before OpenSSL 3.0 there are no callbacks, and it has whom to wake only.
    completion: Completion,
    /// Whether that has whom to wake, as far as is known here.
    registered: Cell<bool>,
}

/// How the job left off, as far as the wait context cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PausedBy {
    /// A producer that may have taken the callback along.
    Producer,
    /// `CurrentJob::pause`, and nobody asked for the callback since the job went on last.
    UsWithoutNotifier,
}

/// What a wait set says of its paused job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The callback has come.
    Called,
    /// A wait fd is readable.
    Readable,
    /// Nothing will come: the device was busy, or there is nothing to wait for.
    Again,
    None,
}

impl WaitSet {
    /// `None` without memory.
    pub(crate) fn new() -> Option<WaitSet> {
        let completion = Completion::new()?;
        // SAFETY: takes nothing.
        let context = NonNull::new(unsafe { ffi::ASYNC_WAIT_CTX_new() })?;
        Some(WaitSet {
            context,
            completion,
            registered: Cell::new(false),
        })
    }

    pub(crate) fn as_ptr(&self) -> *mut ffi::ASYNC_WAIT_CTX {
        self.context.as_ptr()
    }

    /// Makes it the next job's: what is on its way for the former one is ignored from now on.
    pub(crate) fn begin(&self) {
        self.ignore_what_is_on_its_way();
        self.reset_status();
    }

    fn reset_status(&self) {
        // SAFETY: our wait context. It does not fail.
        #[cfg(ossl300)]
        unsafe {
            ffi::ASYNC_WAIT_CTX_set_status(self.as_ptr(), ffi::ASYNC_STATUS_UNSUPPORTED);
        }
    }

    /// Between two jobs: nobody is to be woken.
    pub(crate) fn rest(&self) {
        if self.registered.take() {
            self.completion.unregister();
        }
    }

    /// Callbacks taken along so far count no more: for a pause whose end a wait fd has told, which a
    /// callback may tell once more, when there is another pause.
    pub(crate) fn ignore_what_is_on_its_way(&self) {
        let token = self.completion.next_job();
        #[cfg(not(ossl300))]
        let _ = token;
        // SAFETY: our wait context; the argument is a number (H8). It does not fail.
        #[cfg(ossl300)]
        unsafe {
            ffi::ASYNC_WAIT_CTX_set_callback(self.as_ptr(), Some(completed), token.as_ptr());
        }
    }

    /// Whether the paused job may be resumed; else the callback, or a wait fd, shall wake the waker.
    #[inline]
    pub(crate) fn find_evidence(&self, paused_by: PausedBy, waker: &Waker) -> Evidence {
        // As a rule a waker is cloned only if there is something to wait for.
        if self.completion.take() {
            return Evidence::Called;
        }
        let is_alone = paused_by == PausedBy::UsWithoutNotifier && self.count() == 0;
        if is_alone && !self.says_again() {
            return Evidence::Again;
        }
        self.register(waker);
        self.take_evidence(paused_by)
    }

    /// Whether the paused job may be resumed. What it says of a callback it says once.
    pub(crate) fn take_evidence(&self, paused_by: PausedBy) -> Evidence {
        if self.completion.take() {
            return Evidence::Called;
        }
        if self.says_again() {
            // Said of this pause, and not of the next one.
            self.reset_status();
            return Evidence::Again;
        }
        match (self.count(), paused_by) {
            (0, PausedBy::UsWithoutNotifier) => Evidence::Again,
            // A callback may have been taken along, which C does not tell. It is set from 3.0 on.
            (0, PausedBy::Producer) if cfg!(ossl300) => Evidence::None,
            (0, PausedBy::Producer) => Evidence::Again,
            _ if self.is_readable() => Evidence::Readable,
            _ => Evidence::None,
        }
    }

    /// `ASYNC_STATUS_EAGAIN`: the device took nothing, so nothing will come.
    #[inline]
    fn says_again(&self) -> bool {
        #[cfg(ossl300)]
        // SAFETY: our wait context.
        return unsafe { ffi::ASYNC_WAIT_CTX_get_status(self.as_ptr()) }
            == ffi::ASYNC_STATUS_EAGAIN;
        #[cfg(not(ossl300))]
        false
    }

    /// Whom the callback, or a wait fd, shall wake. Ask for evidence after this.
    pub(crate) fn register(&self, waker: &Waker) {
        self.registered.set(true);
        self.completion.register(waker);
    }

    pub(crate) fn token(&self) -> Token {
        self.completion.token()
    }

    /// Appends the wait fds.
    pub(crate) fn extend(&self, fds: &mut Vec<RawFd>) {
        let mut count = self.count();
        if count == 0 {
            return;
        }
        let start = fds.len();
        fds.resize(start + count, -1);
        // SAFETY: our wait context, and a buffer for as many as it counted; between the two calls
        // nobody else has it, as its job is paused (H9).
        unsafe {
            ffi::ASYNC_WAIT_CTX_get_all_fds(self.as_ptr(), fds[start..].as_mut_ptr(), &mut count);
        }
    }

    /// The wait fds that were deleted while the job ran last.
    pub(crate) fn deleted(&self) -> Vec<RawFd> {
        let (mut added, mut deleted) = (0, 0);
        let nothing = std::ptr::null_mut();
        // SAFETY: our wait context; two nulls only count.
        unsafe {
            ffi::ASYNC_WAIT_CTX_get_changed_fds(
                self.as_ptr(),
                nothing,
                &mut added,
                nothing,
                &mut deleted,
            );
        }
        let mut fds = vec![-1; deleted];
        if deleted > 0 {
            // SAFETY: likewise, and a buffer for as many as it counted; its job is paused (H9).
            unsafe {
                ffi::ASYNC_WAIT_CTX_get_changed_fds(
                    self.as_ptr(),
                    nothing,
                    &mut added,
                    fds.as_mut_ptr(),
                    &mut deleted,
                );
            }
        }
        fds
    }

    #[inline]
    pub(crate) fn count(&self) -> usize {
        let mut count = 0;
        // SAFETY: our wait context; null only counts.
        unsafe {
            ffi::ASYNC_WAIT_CTX_get_all_fds(self.as_ptr(), std::ptr::null_mut(), &mut count);
        }
        count
    }

    /// Whether one of the wait fds is readable: looked at with poll(2), never read (H9).
    pub(crate) fn is_readable(&self) -> bool {
        if self.count() == 0 {
            return false;
        }
        with(|local| {
            local.with_scratch(|fds, polls| {
                self.extend(fds);
                polls.extend(fds.iter().copied().map(readable));
                // An error is no evidence.
                poll(polls, 0).is_ok() && polls.iter().any(is_ready)
            })
        })
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        // The clean-ups run here; should one call back, the completion is still there.
        // SAFETY: ours, and no job has it: whoever holds a paused one holds this too (H3).
        unsafe { ffi::ASYNC_WAIT_CTX_free(self.as_ptr()) };
    }
}

/// `ASYNC_callback_fn`: on any thread, at any time (H8).
#[cfg(ossl300)]
unsafe extern "C" fn completed(token: *mut libc::c_void) -> c_int {
    Token::from_ptr(token).complete();
    1
}

pub(crate) fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Whether poll(2) has found it readable, at its end or in error: not that its engine has closed it
/// (`POLLNVAL`), which says nothing.
pub(crate) fn is_ready(polled: &libc::pollfd) -> bool {
    polled.revents & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
}

/// poll(2): how many are ready, 0 when a signal came. The time-out is in milliseconds, -1 for none.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout: c_int) -> io::Result<usize> {
    // SAFETY: an array of that length.
    let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout) };
    match usize::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) => {
            let error = io::Error::last_os_error();
            match error.kind() {
                // What the array says then is nothing.
                io::ErrorKind::Interrupted => {
                    fds.iter_mut().for_each(|fd| fd.revents = 0);
                    Ok(0)
                }
                _ => Err(error),
            }
        }
    }
}
