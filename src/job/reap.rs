//! A task that looks after jobs whose owner is gone.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::job::pool::JobPool;
use crate::job::reaper;
use crate::job::thread::with;
use crate::panics::quietly;

/// Brings jobs to their end whose owner was dropped while an engine had paused them, as their
/// completions come. What [`JobPool::reap`] returns; it is never ready.
///
/// A thread has one at most: of several, the one that was polled last.
///
/// It is neither `Send` nor `Sync`: it is for the jobs of one thread (H1).
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<openssl_async_jobs::Reap>();
/// ```
///
/// ```
/// let reap: openssl_async_jobs::Reap = openssl_async_jobs::JobPool::reap();
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Reap {
    _thread: PhantomData<*mut ()>,
}

impl JobPool {
    /// A future that looks after this thread's abandoned jobs, for a local task of an executor.
    /// Without it they go on with later jobs of the thread, or in [`drain`](Self::drain).
    ///
    /// ```
    /// use openssl_async_jobs::{block_on, JobPool};
    /// use std::time::Duration;
    ///
    /// // An executor of tasks that stay on its thread would have it beside others.
    /// let reap = block_on(JobPool::reap(), Some(Duration::from_millis(1)));
    /// assert!(reap.is_err()); // never ready
    /// ```
    pub fn reap() -> Reap {
        Reap {
            _thread: PhantomData,
        }
    }
}

impl Future for Reap {
    type Output = Infallible;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Infallible> {
        with(|local| {
            local.note_fork();
            // On a thread that has had no job, too.
            if !local.note_end() {
                // The thread ends, and with it what there is to look after.
                return;
            }
            // First: sweeping may drop jobs, and so bring further ones.
            let former = local.reaper.replace(Some(cx.waker().clone()));
            quietly(|| drop(former));
            reaper::sweep_with(local, cx.waker());
        });
        Poll::Pending
    }
}

impl JobPool {
    /// [`reap`](Self::reap), until there is nothing to look after. For the end of a job thread.
    #[cfg(feature = "tokio")]
    pub(crate) async fn reap_all() {
        let mut reap = std::pin::pin!(JobPool::reap());
        std::future::poll_fn(|cx| {
            let Poll::Pending = reap.as_mut().poll(cx);
            match with(|local| local.orphans.borrow().is_empty()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}
