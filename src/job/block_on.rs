//! Running futures on a thread without a runtime.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::job::parker::Parker;
use crate::job::reaper;
use crate::job::thread as local;

/// Runs a future on this thread until it is ready: for code without a runtime.
///
/// Meanwhile this thread waits with poll(2) for the waker of the future and for the wait fds of
/// its paused jobs, of which there may be many, in this future or in others.
///
/// # Errors
///
/// The future comes back when the time-out, if there is one, is over before it is ready.
///
/// # Panics
///
/// If the future does; and if none can be made for the waker, for want of file descriptors.
///
/// ```
/// use openssl_async_jobs::{block_on, suspend, Job};
/// use std::time::Duration;
///
/// assert_eq!(block_on(Job::new(|| 1 + 1), None).unwrap(), 2);
///
/// let never = Job::new(|| suspend(std::future::pending::<()>()));
/// let never = block_on(never, Some(Duration::from_millis(1))).unwrap_err();
/// drop(never); // cancels it
/// ```
pub fn block_on<F>(future: F, timeout: Option<Duration>) -> Result<F::Output, F>
where
    F: Future + Unpin,
{
    try_block_on(future, timeout).expect("no file descriptors for a waker")
}

/// [`block_on`], for those who can report that there are no file descriptors.
pub(crate) fn try_block_on<F>(
    mut future: F,
    timeout: Option<Duration>,
) -> io::Result<Result<F::Output, F>>
where
    F: Future + Unpin,
{
    // A time-out beyond what an `Instant` can say is none.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    // Inside a job it is the job that pauses, and with it this.
    let blocking = (!local::in_job()).then(Blocking::begin);
    let output = Parker::with(|parker| loop {
        let mut cx = Context::from_waker(parker.waker());
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut cx) {
            return Some(output);
        }
        local::with(|local| reaper::sweep_with(local, parker.waker()));
        if !parker.park(deadline) {
            return None;
        }
    })?;
    drop(blocking);
    Ok(output.ok_or(future))
}

/// While it is there, the jobs of this thread leave their wait fds to its parker.
pub(crate) struct Blocking;

impl Blocking {
    pub(crate) fn begin() -> Blocking {
        local::with(|local| local.blocking.set(local.blocking.get() + 1));
        Blocking
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        // The child of a fork begins at 0.
        let left = local::with(|local| {
            // Meanwhile the orphans woke this thread's own waker.
            local.wake_reaper();
            local.blocking.set(local.blocking.get().saturating_sub(1));
            match local.blocking.get() == 0 && !local.watched.borrow().is_empty() {
                true => local.watched.take(),
                false => Vec::new(),
            }
        });
        // Nobody polls for them here any more: their owners look for themselves.
        left.into_iter().for_each(|(_, token)| token.wake());
    }
}
