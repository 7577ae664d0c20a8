//! What each job thread has besides its operations: its pool, and who looks after what was cancelled
//! (H3, H11).

use std::cell::Cell;
use std::future::{poll_fn, Future};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::LocalPoolHandle;

use crate::job::{JobPool, JobPoolBuilder};
use crate::panics::quietly;

thread_local! {
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// Makes the thread's pool, before its first job.
pub(super) fn prepare(jobs: &JobPoolBuilder) {
    if PREPARED.replace(true) {
        return;
    }
    // Its sizes were checked; should OpenSSL have no memory for it, it makes one with the first job.
    if let Err(e) = jobs.clone().init() {
        quietly(|| log::warn!("a job thread has a pool without a limit: {e}"));
    }
}

/// A job thread's task: until the last handle is gone, and then what was cancelled has ended.
pub(super) async fn keep(
    pool: LocalPoolHandle,
    jobs: JobPoolBuilder,
    mut closing: watch::Receiver<()>,
    drain_timeout: Duration,
) {
    prepare(&jobs);
    let mut closing = pin!(closing.changed());
    let mut reap = pin!(JobPool::reap());
    poll_fn(|cx| match closing.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => reap.as_mut().poll(cx).map(|never| match never {}),
    })
    .await;
    // It may block here: the thread has nothing else any more. What is left is leaked and said so
    // when it ends.
    if let Err(e) = JobPool::drain(drain_timeout) {
        quietly(|| log::warn!("the jobs of a thread that ends cannot be waited for: {e}"));
    }
    // With the last of these the threads end.
    drop(pool);
}
