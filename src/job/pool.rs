//! The jobs of a thread (H11): `ASYNC_init_thread`, at most once.

use std::cell::Cell;

use libc::c_int;
use openssl::error::ErrorStack;

use crate::error::Error;
use crate::ffi;
use crate::job::CurrentJob;

thread_local! {
    static INITIALIZED: Cell<bool> = const { Cell::new(false) };
}

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
    // SAFETY: takes nothing and looks at the platform only.
    unsafe { ffi::ASYNC_is_capable() == 1 }
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
            max_jobs: None,
            preallocate: 0,
        }
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
    max_jobs: Option<usize>,
    preallocate: usize,
}

impl JobPoolBuilder {
    /// How many jobs this thread may have in flight at once; without it there is no limit.
    ///
    /// An operation that finds no job free answers
    /// [`want_async_job`](crate::ErrorCodeExt::is_want_async_job).
    ///
    /// ```
    /// # std::thread::spawn(|| {
    /// openssl_async_jobs::JobPool::builder().max_jobs(64).init()
    /// # }).join().unwrap()?;
    /// # Ok::<(), openssl_async_jobs::Error>(())
    /// ```
    pub fn max_jobs(mut self, jobs: usize) -> Self {
        self.max_jobs = Some(jobs);
        self
    }

    /// How many jobs to make now, each with its stack of 32 KiB. OpenSSL takes this only together
    /// with [`max_jobs`](Self::max_jobs), and makes fewer if memory runs out.
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

    /// Makes this thread's pool (`ASYNC_init_thread`).
    ///
    /// # Errors
    ///
    /// [`Error::PoolSize`] says which size is wrong; [`Error::PoolAlreadyInitialized`] if this
    /// thread has a pool made by this function, or is inside a job. Another pool, which OpenSSL
    /// made with an earlier job, cannot be seen; it would be leaked (H11).
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
        if INITIALIZED.get() || CurrentJob::get().is_some() {
            return Err(Error::PoolAlreadyInitialized);
        }
        // SAFETY: may be called at any time outside a job; the first time on this thread as far
        // as this crate knows (H11), else it leaks the thread's former pool.
        match unsafe { ffi::ASYNC_init_thread(max, init) } {
            1 => {
                INITIALIZED.set(true);
                Ok(())
            }
            _ => Err(ErrorStack::get().into()),
        }
    }

    /// `(max_size, init_size)` as C wants them, where a maximum of 0 is no limit.
    fn sizes(&self) -> Result<(usize, usize), Error> {
        let refuse = |reason| Err(Error::PoolSize { reason });
        match (self.max_jobs, self.preallocate) {
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
