//! The sizes of job threads.

use std::io;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::error::Error;
use crate::job::{JobPool, JobPoolBuilder};
use crate::tokio::threads::{Ended, JobThreads, Shared, Worker};

/// How many jobs a thread has in flight at most, if nothing else is said.
const MAX_JOBS: usize = 1024;

/// What [`JobThreads::builder`] builds.
///
/// ```
/// use openssl_async_jobs::{tokio::JobThreads, Error};
///
/// let refused = JobThreads::builder().threads(0).build();
/// assert!(matches!(refused, Err(Error::PoolSize { .. })));
/// ```
#[derive(Clone, Debug)]
#[must_use = "`build` starts the threads"]
pub struct JobThreadsBuilder {
    threads: Option<usize>,
    jobs: JobPoolBuilder,
    drain_timeout: Duration,
}

impl JobThreadsBuilder {
    pub(super) fn new() -> JobThreadsBuilder {
        JobThreadsBuilder {
            threads: None,
            jobs: JobPool::builder().max_jobs(MAX_JOBS),
            drain_timeout: Duration::from_secs(5),
        }
    }

    /// How many threads: as many as the process has cores, unless this says otherwise.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::JobThreads;
    /// let threads = JobThreads::builder().threads(1).build()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn threads(mut self, threads: usize) -> JobThreadsBuilder {
        self.threads = Some(threads);
        self
    }

    /// How many jobs each thread may have in flight at once, as
    /// [`JobPoolBuilder::max_jobs`](crate::JobPoolBuilder::max_jobs): 1024 unless this says otherwise.
    /// Further ones wait in order.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::JobThreads;
    /// let threads = JobThreads::builder().max_jobs(64).build()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn max_jobs(mut self, jobs: usize) -> JobThreadsBuilder {
        self.jobs = self.jobs.max_jobs(jobs);
        self
    }

    /// The size of each job's stack in bytes, as
    /// [`JobPoolBuilder::stack_size`](crate::JobPoolBuilder::stack_size).
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::JobThreads;
    /// let threads = JobThreads::builder().stack_size(512 * 1024).build()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> JobThreadsBuilder {
        self.jobs = self.jobs.stack_size(bytes);
        self
    }

    /// How long a thread that ends waits for devices that still work for cancelled jobs, and for
    /// blocking calls (`spawn_blocking`) that its futures have begun, 5 seconds unless this says otherwise.
    /// Jobs that are not done then are leaked, with a warning; the calls go on. The last handle's drop
    /// does not wait for that; [`JobThreads::join`] does.
    ///
    /// ```
    /// # use openssl_async_jobs::tokio::JobThreads;
    /// # use std::time::Duration;
    /// let threads = JobThreads::builder().drain_timeout(Duration::from_secs(1)).build()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn drain_timeout(mut self, timeout: Duration) -> JobThreadsBuilder {
        self.drain_timeout = timeout;
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// [`Error::PoolSize`] for sizes that make no pool; [`Error::Io`] if the system starts no thread.
    ///
    /// ```
    /// let threads = openssl_async_jobs::tokio::JobThreads::builder().build()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn build(self) -> Result<JobThreads, Error> {
        let threads = match self.threads {
            Some(0) => {
                return Err(Error::PoolSize {
                    reason: "no job thread: set at least one, or leave it at one for each core",
                })
            }
            Some(threads) => threads,
            None => available_parallelism().map_or(1, |cores| cores.get()),
        };
        self.jobs.check()?;
        let (mut workers, mut handles) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            match Worker::start(self.jobs.clone(), self.drain_timeout) {
                Ok((worker, handle)) => {
                    workers.push(worker);
                    handles.push(handle);
                }
                Err(e) => {
                    // The others have nothing to do, and end at once.
                    drop(workers);
                    let _ = Ended::new(handles).wait();
                    let kind = e.kind();
                    let what = format!("the system does not start {threads} job thread(s): {e}");
                    return Err(io::Error::new(kind, what).into());
                }
            }
        }
        let ended = Arc::new(Ended::new(handles));
        Ok(JobThreads {
            shared: Arc::new(Shared { workers, ended }),
        })
    }
}
