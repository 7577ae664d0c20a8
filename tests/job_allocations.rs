//! What a job costs: at most one allocation, once its thread has all that jobs need. (What OpenSSL
//! allocates is not counted.)

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::{poll_fn, Future};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;

use common::executor::yield_once;
use common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{block_on, suspend, CurrentJob, Job, JobPool, WaitKey};

struct Counting;

thread_local! {
    /// How often this thread has allocated.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: the system's, and a count in a thread-local that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const JOBS: u64 = 1000;

/// Runs jobs one after the other on a new thread, each with as many pauses; none of them may
/// allocate more than once, on average of many.
#[track_caller]
fn assert_one_allocation(pauses: u64, run_a_job: impl FnMut() + Send + 'static) {
    let mut run_a_job = run_a_job;
    let (allocations, paused) = on_a_new_thread(move || {
        (0..10).for_each(|_| run_a_job());
        let (before, stats) = (ALLOCATIONS.get(), JobPool::stats());
        (0..JOBS).for_each(|_| run_a_job());
        (
            ALLOCATIONS.get() - before,
            JobPool::stats().paused - stats.paused,
        )
    });
    assert_eq!(paused, JOBS * pauses);
    // None would be a count that does not work.
    assert!(allocations > 0);
    assert!(
        allocations <= JOBS,
        "{} allocations a job",
        allocations as f64 / JOBS as f64
    );
}

#[test]
fn a_job_that_does_not_pause_is_one_allocation() {
    assert_one_allocation(0, || {
        assert_eq!(Job::new(|| 1).block_on(PATIENCE).unwrap(), 1);
    });
}

#[test]
fn a_job_that_suspends_is_one_allocation() {
    assert_one_allocation(2, || {
        let job = Job::new(|| {
            suspend(yield_once()).unwrap();
            suspend(yield_once()).unwrap();
        });
        job.block_on(PATIENCE).unwrap();
    });
}

/// Runs a job to its end, and `complete` each time that it is pending: when its thread is about to
/// wait for it.
fn complete_when_pending(mut job: Job<()>, mut complete: impl FnMut()) {
    let run = poll_fn(|cx| {
        let polled = Pin::new(&mut job).poll(cx);
        if polled.is_pending() {
            complete();
        }
        polled
    });
    block_on(run, PATIENCE).map_err(|_| "stuck").unwrap();
}

#[test]
fn a_job_that_waits_for_a_file_descriptor_is_one_allocation() {
    static KEY: WaitKey = WaitKey::new();
    assert_one_allocation(1, || {
        let (mut here, there) = UnixStream::pair().unwrap();
        let job = Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            let registered = there.try_clone().unwrap();
            context.set_wait_fd(&KEY, registered.into()).unwrap();
            job.pause().unwrap();
            context.clear_fd(&KEY).unwrap();
            (&there).read_exact(&mut [0]).unwrap();
        });
        complete_when_pending(job, || here.write_all(&[1]).unwrap());
    });
}

#[test]
#[cfg(ossl300)]
fn a_job_that_its_callback_wakes_is_one_allocation() {
    use openssl_async_jobs::Notifier;
    use std::cell::RefCell;
    thread_local! {
        static TAKEN: RefCell<Option<Notifier>> = const { RefCell::new(None) };
    }
    assert_one_allocation(1, || {
        let job = Job::new(|| {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            TAKEN.set(context.notifier().unwrap());
            job.pause().unwrap();
        });
        complete_when_pending(job, || {
            let notifier = TAKEN.take().unwrap();
            // SAFETY: the job is paused, and its owner waits for this.
            unsafe { notifier.notify() };
        });
    });
}
