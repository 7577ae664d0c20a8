//! The end of job threads, for who waits for it.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use crate::job::count_forks;
use crate::tokio::threads::worker::End;

thread_local! {
    /// Whose runtime this thread is of, if it is a blocking thread of a job thread's.
    static JOB_THREAD: Cell<Option<ThreadId>> = const { Cell::new(None) };
}

/// Notes that this thread is one that the job thread waits for at its end.
pub(super) fn is_waited_for_by(job_thread: ThreadId) {
    JOB_THREAD.set(Some(job_thread));
}

/// The threads, which go on by themselves if nobody joins them.
pub(super) struct Ended {
    /// Empty when one has waited for them. Locked meanwhile: others wait for that.
    handles: Mutex<Vec<JoinHandle<End>>>,
    threads: Vec<ThreadId>,
    /// Those of their process: the child of a fork has none of them (H14).
    forks: u64,
}

impl Ended {
    pub(super) fn new(handles: Vec<JoinHandle<End>>) -> Ended {
        Ended {
            threads: handles.iter().map(|handle| handle.thread().id()).collect(),
            handles: Mutex::new(handles),
            forks: count_forks(),
        }
    }

    /// False in the child of a fork.
    pub(super) fn are_here(&self) -> bool {
        self.forks == count_forks()
    }

    /// Until each has ended, with what its thread-locals and OpenSSL do then.
    pub(super) fn wait(&self) -> io::Result<()> {
        if !self.are_here() {
            return Err(io::Error::new(
                ErrorKind::NotFound,
                "job threads of the process that this one is forked from: it has none of them",
            ));
        }
        let own = JOB_THREAD.get().unwrap_or_else(|| thread::current().id());
        if self.threads.contains(&own) {
            return Err(io::Error::new(
                ErrorKind::Deadlock,
                "neither a job thread nor a blocking thread of its runtime can wait for its end: join job \
                 threads elsewhere",
            ));
        }
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<_> = handles.drain(..).map(JoinHandle::join).collect();
        let ended = ended
            .into_iter()
            .map(|end| end.unwrap_or_else(End::from_panic));
        match ended.filter(|end| matches!(end, End::Panicked)).count() {
            0 => Ok(()),
            _ => Err(io::Error::other("a job thread has panicked")),
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if !self.are_here() {
            // A handle's drop detaches what has the thread's memory now: perhaps another thread.
            let handles = self
                .handles
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            mem::forget(mem::take(handles));
        }
    }
}
