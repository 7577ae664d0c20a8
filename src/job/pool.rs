//! The jobs of a thread (H11): `ASYNC_init_thread`, at most once.

use std::sync::OnceLock;
use std::time::Duration;

use libc::c_int;
use openssl::error::ErrorStack;

use crate::error::Error;
use crate::ffi;
use crate::job::in_flight::{Flight, Flights};
use crate::job::reaper;
use crate::job::stack;
use crate::job::thread::{in_job, with, Settings};

/// Whether OpenSSL can run asynchronous jobs on this platform (`ASYNC_is_capable`).
///
/// Where it cannot (musl, Android, OpenBSD, an OpenSSL built with `no-async`) operations run
/// synchronously. See
/// [`ASYNC_start_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL 1.1.0 and
/// later.
///
/// ```
/// if !openssl_async_jobs::is_capable() {
///     eprintln!("no asynchronous jobs here: operations will block");
/// }
/// ```
pub fn is_capable() -> bool {
    // It asks the system, and so at each job's start.
    static KNOWN: OnceLock<bool> = OnceLock::new();
    // SAFETY: takes nothing and looks at the platform only.
    *KNOWN.get_or_init(|| unsafe { ffi::ASYNC_is_capable() == 1 })
}

/// This thread's pool of jobs.
///
/// A thread has one pool. Without a [`builder`](JobPool::builder) OpenSSL makes it with the
/// thread's first job, empty and without a limit. It goes with the thread.
///
/// See [`ASYNC_init_thread(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL
/// 1.1.0 and later.
///
/// ```
/// use openssl_async_jobs::JobPool;
///
/// std::thread::spawn(|| {
///     // At most 256 operations of this thread are in flight at once; 16 jobs are made now.
///     JobPool::builder().max_jobs(256).preallocate(16).init()
/// })
/// .join()
/// .unwrap()?;
/// # Ok::<(), openssl_async_jobs::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct JobPool;

impl JobPool {
    /// The sizes of this thread's pool, to be set before the thread's first job.
    ///
    /// ```
    /// use openssl_async_jobs::JobPool;
    /// # std::thread::spawn(|| {
    /// JobPool::builder().max_jobs(64).init()
    /// # }).join().unwrap()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn builder() -> JobPoolBuilder {
        JobPoolBuilder {
            settings: Settings::DEFAULT,
            preallocate: 0,
        }
    }
}

impl JobPool {
    /// Waits for this thread's [`Job`](crate::Job)s whose owner was dropped while an engine had
    /// paused them, and brings them to their end as their completions come. Returns how many are
    /// left when the time-out is over: 0 if all is done.
    ///
    /// For the end of a thread that cancels jobs, while it is still running: jobs in flight when
    /// it has ended are leaked, as their completion may come at any time, and nothing can be
    /// resumed once the thread destroys its thread-locals.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there are no file descriptors to wait with; [`Error::InJob`] inside a job.
    ///
    /// ```
    /// use openssl_async_jobs::JobPool;
    /// use std::time::Duration;
    ///
    /// // ... jobs ...
    /// let left = JobPool::drain(Duration::from_secs(2))?;
    /// assert_eq!(left, 0);
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn drain(timeout: Duration) -> Result<usize, Error> {
        if in_job() {
            return Err(Error::InJob);
        }
        Ok(with(|local| reaper::drain(local, timeout))?)
    }
}

/// What [`JobPool::builder`] builds.
///
/// ```
/// use openssl_async_jobs::{Error, JobPool};
///
/// // More jobs now than there may ever be.
/// let refused = JobPool::builder().max_jobs(4).preallocate(5).init();
/// assert!(matches!(refused, Err(Error::PoolSize { .. })));
/// ```
#[derive(Clone, Debug)]
#[must_use = "`init` makes the pool"]
pub struct JobPoolBuilder {
    settings: Settings,
    preallocate: usize,
}

impl JobPoolBuilder {
    /// How many jobs this thread may have in flight at once; without it there is no limit.
    ///
    /// A further [`Job`](crate::Job) waits in the thread's queue until one has ended, first come
    /// first served: whoever has one, or was woken for one, is to poll it, or drop it, for the others
    /// to go on. A future that a job suspends on and that runs a job itself needs a free one, too:
    /// with as many of those as there are jobs, none is. An operation of libssl's own that finds no job free answers
    /// [`want_async_job`](crate::ErrorCodeExt::is_want_async_job).
    ///
    /// ```
    /// # std::thread::spawn(|| {
    /// openssl_async_jobs::JobPool::builder().max_jobs(64).init()
    /// # }).join().unwrap()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn max_jobs(mut self, jobs: usize) -> Self {
        self.settings.max_jobs = Some(jobs);
        self
    }

    /// How many jobs to make now, with their stacks: OpenSSL's of 32 KiB, and a mapped one of
    /// [`stack_size`](Self::stack_size), of which memory is taken as it is used. OpenSSL takes
    /// this only together with [`max_jobs`](Self::max_jobs), and makes fewer if memory runs out.
    ///
    /// ```
    /// # std::thread::spawn(|| {
    /// openssl_async_jobs::JobPool::builder().max_jobs(64).preallocate(64).init()
    /// # }).join().unwrap()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn preallocate(mut self, jobs: usize) -> Self {
        self.preallocate = jobs;
        self
    }

    /// How large the stack of a [`Job`](crate::Job) is, in bytes, without its guard page: 256 KiB
    /// unless this says otherwise. From 32 KiB to 1 GiB, rounded up to pages.
    ///
    /// ```
    /// # std::thread::spawn(|| {
    /// openssl_async_jobs::JobPool::builder().stack_size(64 * 1024).init()
    /// # }).join().unwrap()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.settings.stack_size = bytes;
        self
    }

    /// Makes this thread's pool (`ASYNC_init_thread`).
    ///
    /// # Errors
    ///
    /// [`Error::PoolSize`] says which size is wrong; [`Error::PoolAlreadyInitialized`] if this
    /// thread has a pool already, made by this function or with a [`Job`](crate::Job), or is inside
    /// a job. A pool that OpenSSL made with a job of its own (`SSL_MODE_ASYNC`) cannot be seen; it
    /// would be leaked (H11). [`Error::Io`] if there is no memory for the jobs to make now.
    ///
    /// ```
    /// use openssl_async_jobs::{Error, JobPool};
    /// # std::thread::spawn(|| {
    /// JobPool::builder().init()?;
    /// assert!(matches!(JobPool::builder().init(), Err(Error::PoolAlreadyInitialized)));
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// # }).join().unwrap()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn init(self) -> Result<(), Error> {
        let (max, init) = self.sizes()?;
        openssl_sys::init();
        with(|local| {
            if local.initialized.get() || in_job() {
                return Err(Error::PoolAlreadyInitialized);
            }
            // Else the thread would take what comes now for the parent's.
            local.note_fork();
            let flights = (0..init)
                .map(|_| Flight::new(self.settings.stack_size))
                .collect::<Result<Flights, _>>()?;
            // SAFETY: may be called at any time outside a job; the first time on this thread as
            // far as this crate knows (H11), else it leaks the thread's former pool.
            if unsafe { ffi::ASYNC_init_thread(max, init) } != 1 {
                return Err(ErrorStack::get().into());
            }
            local.prepare();
            local.settings.set(self.settings);
            local.kept.preallocate(flights);
            Ok(())
        })
    }

    /// Whether these sizes make a pool.
    #[cfg(feature = "tokio")]
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.sizes().map(|_| ())
    }

    /// `(max_size, init_size)` as C wants them, where a maximum of 0 is no limit.
    fn sizes(&self) -> Result<(usize, usize), Error> {
        let refuse = |reason| Err(Error::PoolSize { reason });
        if !(stack::MIN_SIZE..=stack::MAX_SIZE).contains(&self.settings.stack_size) {
            return refuse("a stack has from 32 KiB to 1 GiB");
        }
        match (self.settings.max_jobs, self.preallocate) {
            (Some(0), _) => {
                refuse("a pool of 0 jobs can run none; leave out max_jobs for no limit")
            }
            (None, 1..) => refuse("preallocate needs max_jobs, which OpenSSL compares it with"),
            (Some(max), init) if init > max => refuse("preallocate is more than max_jobs"),
            // The stack of jobs counts them in a C int.
            (_, init) if c_int::try_from(init).is_err() => {
                refuse("preallocate is more than OpenSSL can count")
            }
            (max, init) => Ok((max.unwrap_or(0), init)),
        }
    }
}
