//! Who runs jobs one after the other, and keeps their wait context.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::job::wait_set::WaitSet;
#[cfg(doc)]
use crate::Job;

/// Keeps a wait context from one [`Job`] to the next: what an engine has registered there under a key
/// (a file descriptor, as a rule) it finds again. A connection is one of these.
///
/// A job without an owner has a wait context that nobody has registered anything in.
///
/// ```
/// use openssl_async_jobs::{CurrentJob, Job, JobOwner, WaitKey};
///
/// static KEY: WaitKey = WaitKey::new();
/// let owner = JobOwner::new();
/// let register = || {
///     let job = CurrentJob::get().unwrap();
///     let (reader, _writer) = std::os::unix::net::UnixStream::pair().unwrap();
///     std::mem::forget(_writer);
///     job.wait_context().unwrap().set_wait_fd(&KEY, reader.into()).unwrap();
/// };
/// Job::with_owner(&owner, register).block_on(None).unwrap();
/// let finds = || CurrentJob::get().unwrap().wait_context().unwrap().wait_fd(&KEY).unwrap();
/// assert!(Job::with_owner(&owner, finds).block_on(None).unwrap().is_some());
/// assert!(Job::new(finds).block_on(None).unwrap().is_none());
/// ```
///
/// It is neither `Send` nor `Sync`, as its jobs are:
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<openssl_async_jobs::JobOwner>();
/// ```
#[derive(Clone, Default)]
pub struct JobOwner {
    kept: Owner,
}

/// The wait context, while no job has it. If two of an owner's jobs are in flight, the second one has
/// another.
pub(crate) type Owner = Rc<Cell<Option<WaitSet>>>;

impl JobOwner {
    /// An owner that has had no job yet.
    ///
    /// ```
    /// let owner = openssl_async_jobs::JobOwner::new();
    /// ```
    pub fn new() -> JobOwner {
        JobOwner::default()
    }

    /// Frees what it keeps. False if a job has it.
    #[cfg(feature = "tokio")]
    pub(crate) fn forget(&self) -> bool {
        drop(self.kept.take());
        Rc::strong_count(&self.kept) == 1
    }

    pub(crate) fn kept(&self) -> Owner {
        Rc::clone(&self.kept)
    }
}

impl fmt::Debug for JobOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobOwner").finish_non_exhaustive()
    }
}
