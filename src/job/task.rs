//! `Job`: a closure as an asynchronous job, and a future of its result.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::job::admission::leave_queue;
use crate::job::block_on::block_on;
use crate::job::flight;
use crate::job::owner::{JobOwner, Owner};
use crate::job::reaper;
use crate::job::record::{free_record, take_output, Header, State, Watcher};
use crate::job::thread::with;
use crate::panics::{forget_panic, quietly, Payload};

/// A closure that runs as an asynchronous job: a future of what it returns.
///
/// It starts when it is polled first. Whatever in it calls libcrypto or libssl may then be paused,
/// by an engine, a provider, or by [`suspend`](crate::suspend), and its thread goes on with other
/// things. It runs on a stack of its own with a guard page (256 KiB unless
/// [`JobPoolBuilder::stack_size`](crate::JobPoolBuilder::stack_size) says otherwise).
///
/// A job is resumed only when what it waits for has come: the callback of OpenSSL 3.0, a wait fd
/// that is readable, the future it suspended on. A task that is polled for another reason leaves
/// it alone.
///
/// Inside another job, and where [`is_capable`](crate::is_capable) says no, the closure runs where
/// it is polled, without a pause of its own.
///
/// See [`ASYNC_start_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL 1.1.0
/// and later.
///
/// # Send
///
/// It is neither `Send` nor `Sync`: it ends on the thread that made it (H1).
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// send(openssl_async_jobs::Job::new(|| ()));
/// ```
///
/// # Dropping a job
///
/// Dropping one that has not started drops its closure. One that is suspended is *cancelled*: its
/// future is dropped, [`suspend`](crate::suspend) answers
/// [`Cancelled`](crate::SuspendError::Cancelled), and the closure runs to its end before `drop`
/// returns. One that an engine has paused cannot be stopped, as the device may still write into
/// its memory: the thread keeps it until its completion comes, and goes on with it at later jobs
/// of this thread or in [`JobPool::drain`](crate::JobPool::drain). When the thread ends, what is in
/// flight is leaked, and a warning logged.
///
/// # Panics
///
/// A panic in the closure, or in a future it suspends on, is raised again where the job is polled,
/// once the job has ended; or where it is dropped. (A panic in a callback of C, of rust-openssl
/// for example, aborts the process, in a job or not.) Polling it panics after it was ready; on
/// another thread than the one that made it; and, once it has paused, in the destructor of a
/// thread-local, if its fibre may refer to others that are gone.
///
/// ```
/// use openssl::hash::{hash, MessageDigest};
/// use openssl_async_jobs::Job;
///
/// let digest = Job::new(|| hash(MessageDigest::sha256(), b"data"));
/// let digest = digest.block_on(None).unwrap()?;
/// assert_eq!(digest.len(), 32);
/// # Ok::<(), openssl::error::ErrorStack>(())
/// ```
#[must_use = "a job starts when it is polled"]
pub struct Job<T> {
    /// On the heap, as the reaper may take it over.
    record: NonNull<Header>,
    /// The output comes of it.
    _output: PhantomData<fn() -> T>,
    /// Neither `Send` nor `Sync` (H1).
    _thread: PhantomData<*mut ()>,
}

impl<T> Job<T> {
    /// A job that will run this closure.
    ///
    /// ```
    /// use openssl_async_jobs::Job;
    ///
    /// let job = Job::new(|| "done");
    /// assert_eq!(job.block_on(None).unwrap(), "done");
    /// ```
    pub fn new<F>(closure: F) -> Job<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Job::allocate(closure, None)
    }

    /// Likewise, with the wait context that the owner's former jobs have had.
    ///
    /// ```
    /// use openssl_async_jobs::{Job, JobOwner};
    ///
    /// let owner = JobOwner::new();
    /// for n in 0..3 {
    ///     assert_eq!(Job::with_owner(&owner, move || n).block_on(None).unwrap(), n);
    /// }
    /// ```
    pub fn with_owner<F>(owner: &JobOwner, closure: F) -> Job<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Job::allocate(closure, Some(owner.kept()))
    }

    fn allocate<F>(closure: F, owner: Option<Owner>) -> Job<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        Job {
            record: Header::allocate(closure, owner),
            _output: PhantomData,
            _thread: PhantomData,
        }
    }

    /// Runs it on this thread: [`block_on`].
    ///
    /// # Errors
    ///
    /// The job comes back when the time-out, if there is one, is over before it has ended.
    ///
    /// ```
    /// use openssl_async_jobs::{suspend, Job};
    /// use std::time::Duration;
    ///
    /// let job = Job::new(|| suspend(std::future::pending::<()>()));
    /// assert!(job.block_on(Some(Duration::from_millis(1))).is_err());
    /// ```
    pub fn block_on(self, timeout: Option<Duration>) -> Result<T, Job<T>> {
        block_on(self, timeout)
    }

    /// [`poll`](Future::poll), with what the closure has returned even if there is a panic to raise.
    pub(crate) fn poll_ended(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(Option<T>, Option<Payload>)> {
        // SAFETY: the record is alive, and this is its owner.
        if unsafe { flight::poll(self.record, cx) }.is_pending() {
            return Poll::Pending;
        }
        self.header().state.replace(State::Spent);
        // SAFETY: its closure has run, and `new` made it with this type.
        let output = unsafe { take_output::<T>(self.record) };
        Poll::Ready((output, self.header().panic.take()))
    }

    /// Who watches its wait fds from the next poll on.
    pub(crate) fn set_watcher(&self, watcher: Watcher) {
        self.header().watcher.set(watcher);
    }

    /// Appends the wait fds of its pause, if it has any.
    pub(crate) fn extend_with_wait_fds(&self, fds: &mut Vec<RawFd>) {
        flight::extend_with_wait_fds(self.header(), fds);
    }

    fn header(&self) -> &Header {
        // SAFETY: the record lives until `drop` gives it away.
        unsafe { self.record.as_ref() }
    }
}

impl<T> Future for Job<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.poll_ended(cx).map(|(output, panic)| {
            if let Some(payload) = panic {
                drop_quietly(output);
                resume_unwind(payload);
            }
            output.expect("a closure returns or panics")
        })
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if !self.header().thread.is_current() {
            // Only unsafe code comes here. Nothing of it may be touched on this thread.
            quietly(|| {
                log::error!("a Job was dropped on another thread than its own, and is leaked")
            });
            return;
        }
        let in_flight = matches!(*self.header().state.borrow(), State::InFlight(_));
        let over = with(|local| {
            if in_flight {
                reaper::adopt(local, self.record)
            } else {
                leave_queue(local, self.header());
                true
            }
        });
        if !over {
            return;
        }
        let first = self.header().panic.take();
        // SAFETY: not in flight, and the last use.
        let second = catch_unwind(AssertUnwindSafe(|| unsafe { free_record(self.record) })).err();
        if first.is_none() && second.is_none() {
            return;
        }
        let mut panics = first.into_iter().chain(second);
        match panics.next() {
            Some(payload) if !std::thread::panicking() => {
                panics.for_each(forget_panic);
                resume_unwind(payload)
            }
            first => first.into_iter().chain(panics).for_each(forget_panic),
        }
    }
}

/// For what a panic is raised over.
fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        forget_panic(payload);
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match *self.header().state.borrow() {
            State::New => "new",
            State::Waiting(_) | State::Granted => "waiting for a free job",
            State::InFlight(_) => "in flight",
            State::Finished | State::Spent => "finished",
        };
        f.debug_tuple("Job").field(&state).finish()
    }
}
