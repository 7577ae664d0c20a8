//! The jobs of a thread, from its first to the end of the round.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use openssl_async_jobs::{JobPool, JobStats};

/// How many jobs a thread has: fewer than there are connections.
pub const MAX_JOBS: usize = 6;

pub fn prepare() {
    let pool = JobPool::builder().max_jobs(MAX_JOBS);
    pool.init().expect("the thread's first");
}

/// When what never completed has: all that is left comes home.
pub fn finish(released: &Arc<Barrier>) -> JobStats {
    released.wait();
    released.wait();
    let left = JobPool::drain(Duration::from_secs(30)).expect("a descriptor");
    assert_eq!(left, 0, "jobs that do not come to their end");
    let stats = JobPool::stats();
    assert_eq!((stats.in_flight, stats.waiting), (0, 0));
    stats
}
