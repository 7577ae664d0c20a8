//! What a thread has of its own: the job that runs, its free jobs, stacks and wait contexts, who
//! waits for one, and the orphans that the reaper looks after (H1, H11, H12, H14).

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::task::Waker;

use crate::ffi;
use crate::job::completion::Token;
use crate::job::in_flight::{Flight, Kept};
use crate::job::owner::Owner;
use crate::job::pause_place;
use crate::job::pool::is_capable;
use crate::job::queue::Queue;
use crate::job::reaper;
use crate::job::record::{Header, State};
use crate::job::sentinel::Sentinel;
use crate::job::stack;
use crate::job::thread_exit;
use crate::job::thread_token::{forks, ThreadToken};
use crate::job::waker::wake_quietly;
use crate::panics::quietly;

/// How a thread's pool is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) max_jobs: Option<usize>,
    /// In bytes.
    pub(crate) stack_size: usize,
}

impl Settings {
    pub(crate) const DEFAULT: Settings = Settings {
        max_jobs: None,
        stack_size: stack::DEFAULT_SIZE,
    };
}

/// A thread's counters; see `JobStats`.
pub(crate) struct Counts {
    pub(crate) started: Cell<u64>,
    pub(crate) paused: Cell<u64>,
    pub(crate) resumed: Cell<u64>,
    pub(crate) finished: Cell<u64>,
    pub(crate) reaped: Cell<u64>,
}

impl Counts {
    const fn new() -> Counts {
        Counts {
            started: Cell::new(0),
            paused: Cell::new(0),
            resumed: Cell::new(0),
            finished: Cell::new(0),
            reaped: Cell::new(0),
        }
    }
}

pub(crate) fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// Who waits for a free job.
pub(crate) struct Waiter {
    pub(crate) record: NonNull<Header>,
    pub(crate) waker: Waker,
}

pub(crate) struct Local {
    /// 0 until somebody asks for it.
    pub(super) id: Cell<u64>,
    /// How many records were made here.
    records: Cell<u64>,
    /// The record of the job that is running now.
    current: Cell<Option<NonNull<Header>>>,
    pub(crate) settings: Cell<Settings>,
    /// Whether OpenSSL's pool of this thread exists: made by `JobPool`, or with a job of ours.
    pub(crate) initialized: Cell<bool>,
    /// Jobs started and not finished.
    pub(crate) in_flight: Cell<usize>,
    /// Jobs kept free for waiters that have been woken.
    pub(crate) granted: Cell<usize>,
    pub(crate) counts: Counts,
    pub(crate) queue: RefCell<Queue<Waiter>>,
    pub(crate) kept: Kept,
    pub(crate) orphans: RefCell<Vec<NonNull<Header>>>,
    /// The task that looks after them, if there is one.
    pub(crate) reaper: Cell<Option<Waker>>,
    /// What the `block_on` of this thread polls besides its own waker, while there is one.
    pub(crate) watched: RefCell<Vec<(RawFd, Token)>>,
    pub(crate) blocking: Cell<usize>,
    /// Whether jobs can run here, once that was found out.
    runs_jobs: Cell<bool>,
    /// The thread is ending: nothing is kept for later.
    pub(crate) ending: Cell<bool>,
    pub(crate) sentinel: Sentinel,
    /// [`forks`] when all this was last used.
    forks: Cell<u64>,
    /// Since a fork inside a job, which has not ended yet: OpenSSL's pool is the parent's still.
    cleans_up: Cell<bool>,
    /// Kept for their memory.
    scratch: Scratch,
}

/// Buffers for what is asked again and again.
pub(crate) struct Scratch {
    fds: Cell<Vec<RawFd>>,
    polls: Cell<Vec<libc::pollfd>>,
}

thread_local! {
    /// Never dropped, so that it is there as long as the thread, whatever other thread-locals do
    /// when they are. `End` empties it.
    static LOCAL: ManuallyDrop<Local> = const {
        ManuallyDrop::new(Local {
            id: Cell::new(0),
            records: Cell::new(0),
            current: Cell::new(None),
            settings: Cell::new(Settings::DEFAULT),
            initialized: Cell::new(false),
            in_flight: Cell::new(0),
            granted: Cell::new(0),
            counts: Counts::new(),
            queue: RefCell::new(Queue::new()),
            kept: Kept::new(),
            orphans: RefCell::new(Vec::new()),
            reaper: Cell::new(None),
            watched: RefCell::new(Vec::new()),
            blocking: Cell::new(0),
            runs_jobs: Cell::new(false),
            ending: Cell::new(false),
            sentinel: Sentinel::new(),
            forks: Cell::new(0),
            cleans_up: Cell::new(false),
            scratch: Scratch {
                fds: Cell::new(Vec::new()),
                polls: Cell::new(Vec::new()),
            },
        })
    };
    static END: End = const { End };
}

/// Dropped when the thread ends, which is before OpenSSL takes its thread's state away: Rust's
/// thread-locals go first, and OpenSSL's are those of pthreads (H11).
struct End;

impl Drop for End {
    fn drop(&mut self) {
        with(|local| {
            local.ending.set(true);
            reaper::abandon(local);
            let reaper = local.reaper.take();
            quietly(|| drop(reaper));
            local.kept.clear();
            drop(local.watched.take());
            // One that waits leaves it by its ticket.
            if local.queue.borrow().len() == 0 {
                drop(local.queue.take());
            }
            drop(local.scratch.fds.take());
            drop(local.scratch.polls.take());
        });
    }
}

#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&Local) -> R) -> R {
    // `f` is not called inside, as that would be another return after a switch (see `flight`).
    let local = LOCAL.with(|local| ptr::from_ref::<Local>(local));
    // SAFETY: this thread's, never dropped, and so there as long as the thread.
    f(unsafe { &*local })
}

/// The record of the job that is running on this thread, if that is ours.
#[inline]
pub(crate) fn current_record() -> Option<NonNull<Header>> {
    with(|local| local.current.get())
}

/// Whether a job is running on this thread, ours or another: a further one would corrupt OpenSSL's
/// pool (H5).
#[inline]
pub(crate) fn in_job() -> bool {
    // SAFETY: may be called at any time, on any thread.
    !unsafe { ffi::ASYNC_get_current_job() }.is_null()
}

impl Local {
    /// Runs `switch` with this record as the running job's.
    pub(crate) fn enter<R>(&self, record: NonNull<Header>, switch: impl FnOnce() -> R) -> R {
        let outer = self.current.replace(Some(record));
        let result = switch();
        self.current.set(outer);
        result
    }

    /// A number for a record, which no other of this thread has.
    pub(crate) fn next_record(&self) -> u64 {
        self.records.set(self.records.get() + 1);
        self.records.get()
    }

    /// Before this thread's first job.
    #[inline]
    pub(crate) fn prepare(&self) {
        if !self.initialized.get() || self.forks.get() != forks() || self.cleans_up.get() {
            self.prepare_first();
        }
    }

    #[cold]
    fn prepare_first(&self) {
        if !self.initialized.replace(true) {
            openssl_sys::init();
        }
        ThreadToken::watch_forks();
        self.note_fork();
        self.clean_up();
        self.note_end();
    }

    /// Whether OpenSSL has jobs, and it is known where a thread ends.
    #[inline]
    pub(crate) fn runs_jobs(&self) -> bool {
        self.runs_jobs.get() || self.find_out()
    }

    #[cold]
    fn find_out(&self) -> bool {
        let runs_jobs = is_capable() && thread_exit::is_known();
        // On a job's stack it would leave what it looks for there.
        pause_place::prepare();
        self.runs_jobs.set(runs_jobs);
        runs_jobs
    }

    /// Has what is kept here dropped with the thread. False if it is too late for that.
    pub(crate) fn note_end(&self) -> bool {
        let in_time = END.try_with(|_| ()).is_ok();
        if !in_time {
            self.ending.set(true);
        }
        in_time
    }

    /// In the child of a fork, what is in flight or waits is the parent's (H14), and so are the
    /// wait fds. The thread starts afresh here.
    pub(crate) fn note_fork(&self) {
        if self.forks.replace(forks()) == forks() {
            return;
        }
        self.in_flight.set(0);
        self.granted.set(0);
        // Jobs that are never finished, and other tasks' wakers.
        std::mem::forget(self.queue.take());
        std::mem::forget(self.orphans.take());
        std::mem::forget(self.reaper.take());
        self.kept.note_fork();
        self.watched.take();
        self.blocking.set(0);
        self.cleans_up.set(self.initialized.get());
        self.clean_up();
    }

    /// OpenSSL's own pool counts the parent's, too.
    fn clean_up(&self) {
        if !self.cleans_up.get() || in_job() {
            return;
        }
        self.cleans_up.set(false);
        // SAFETY: no job is running; those in flight here are the parent's, and never resumed.
        // What they use is not in the pool, and stays. After the clean-up the thread has none.
        unsafe {
            ffi::ASYNC_cleanup_thread();
            if let Some(max) = self.settings.get().max_jobs {
                ffi::ASYNC_init_thread(max, 0);
            }
        }
    }

    fn has_room(&self) -> bool {
        let limit = self.settings.get().max_jobs.unwrap_or(usize::MAX);
        self.in_flight.get() + self.granted.get() < limit
    }

    /// Takes a free job, unless others wait for one.
    pub(crate) fn acquire(&self) -> bool {
        let free = self.has_room() && self.queue.borrow().len() == 0;
        if free {
            self.in_flight.set(self.in_flight.get() + 1);
        }
        free
    }

    /// Uses the free job that was kept.
    pub(crate) fn use_grant(&self) {
        self.granted.set(self.granted.get() - 1);
        self.in_flight.set(self.in_flight.get() + 1);
    }

    /// Gives a free job back that was kept and is not needed.
    pub(crate) fn return_grant(&self) {
        self.granted.set(self.granted.get() - 1);
        self.grant();
    }

    /// A job has ended: wakes exactly one waiter, if there is one.
    pub(crate) fn release(&self) {
        // One that has forked, and ends in the child, is not counted there.
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.grant();
    }

    #[inline]
    pub(crate) fn grant(&self) {
        if self.queue.borrow().len() > 0 && self.has_room() {
            self.grant_first();
        }
    }

    fn grant_first(&self) {
        let Some(waiter) = self.queue.borrow_mut().pop() else {
            return;
        };
        self.granted.set(self.granted.get() + 1);
        // SAFETY: a record leaves the queue before it is freed.
        unsafe { waiter.record.as_ref() }
            .state
            .replace(State::Granted);
        // Nothing is borrowed here.
        wake_quietly(|| waiter.waker.wake());
    }

    /// Of the task that looks after orphans.
    pub(crate) fn reaper_waker(&self) -> Option<Waker> {
        let waker = self.reaper.take()?;
        self.reaper.set(Some(waker.clone()));
        Some(waker)
    }

    pub(crate) fn wake_reaper(&self) {
        if let Some(reaper) = self.reaper_waker() {
            wake_quietly(|| reaper.wake());
        }
    }

    /// Lends two empty buffers.
    pub(crate) fn with_scratch<R>(
        &self,
        f: impl FnOnce(&mut Vec<RawFd>, &mut Vec<libc::pollfd>) -> R,
    ) -> R {
        let (mut fds, mut polls) = (self.scratch.fds.take(), self.scratch.polls.take());
        let result = f(&mut fds, &mut polls);
        if !self.ending.get() {
            fds.clear();
            polls.clear();
            self.scratch.fds.set(fds);
            self.scratch.polls.set(polls);
        }
        result
    }

    /// What a job of this owner needs.
    pub(crate) fn take_flight(&self, owner: Option<&Owner>) -> Option<Box<Flight>> {
        self.kept.take(self.settings.get().stack_size, owner)
    }

    /// Keeps it for the next job.
    pub(crate) fn keep(&self, flight: Box<Flight>, owner: Option<&Owner>) {
        if !self.ending.get() {
            self.kept.keep(flight, owner);
        }
    }
}
