//! What the jobs of a thread have done so far.

use crate::job::pool::JobPool;
use crate::job::reaper;
use crate::job::thread::with;

/// Counts of this thread's [`Job`](crate::Job)s; what libssl runs by itself is not among them.
///
/// ```
/// use openssl_async_jobs::{suspend, Job, JobPool};
///
/// Job::new(|| suspend(std::future::ready(()))).block_on(None).unwrap().unwrap();
/// let stats = JobPool::stats();
/// assert_eq!((stats.started, stats.paused, stats.resumed, stats.finished), (1, 1, 1, 1));
/// assert_eq!((stats.in_flight, stats.waiting), (0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobStats {
    /// Jobs started.
    pub started: u64,
    /// Times that one of them paused.
    pub paused: u64,
    /// Times that one of them was resumed.
    pub resumed: u64,
    /// Jobs that have ended.
    pub finished: u64,
    /// Jobs started and not ended, among them those that the reaper has.
    pub in_flight: usize,
    /// Jobs that wait for a free one.
    pub waiting: usize,
    /// Jobs that were brought to their end after their owner had been dropped, not at once.
    pub reaped: u64,
    /// Jobs that were given up in flight, with their memory: of all threads, as they do that when
    /// they end.
    pub leaked: u64,
}

#[cfg(feature = "tokio")]
impl JobStats {
    /// Adds those of another thread.
    pub(crate) fn add(&mut self, other: &JobStats) {
        self.started += other.started;
        self.paused += other.paused;
        self.resumed += other.resumed;
        self.finished += other.finished;
        self.in_flight += other.in_flight;
        self.waiting += other.waiting;
        self.reaped += other.reaped;
        // Of all threads already.
        self.leaked = self.leaked.max(other.leaked);
    }
}

impl JobPool {
    /// What this thread's jobs have done so far.
    ///
    /// ```
    /// let in_flight = openssl_async_jobs::JobPool::stats().in_flight;
    /// assert_eq!(in_flight, 0);
    /// ```
    pub fn stats() -> JobStats {
        with(|local| {
            local.note_fork();
            let counts = &local.counts;
            JobStats {
                started: counts.started.get(),
                paused: counts.paused.get(),
                resumed: counts.resumed.get(),
                finished: counts.finished.get(),
                in_flight: local.in_flight.get(),
                waiting: local.queue.borrow().len(),
                reaped: counts.reaped.get(),
                leaked: reaper::leaked(),
            }
        })
    }
}
