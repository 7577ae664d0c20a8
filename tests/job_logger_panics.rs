//! A logger is safe code, and may panic: one that prints to a closed pipe does. Jobs go on all the
//! same, on a stack that is theirs alone (H3, H4, H10, H11).

mod common;

use std::cell::Cell;
use std::future::{pending, Future};
use std::hint::black_box;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::thread;

use common::executor::{quiet_waker, Gate};
use common::thread::{on_a_new_thread, PATIENCE};
use common::wait_fd::{make_readable, wait_fd};
use log::{LevelFilter, Log, Metadata, Record};
use openssl_async_jobs::{suspend, CurrentJob, Job, JobPool, SuspendError, WaitKey};

thread_local! {
    /// The next record with this in it panics. Without a destructor, so that it is there until the
    /// thread has ended.
    static PANIC_AT: Cell<Option<&'static str>> = const { Cell::new(None) };
}

static KEY: WaitKey = WaitKey::new();

/// The process's only logger.
struct Panics;

impl Log for Panics {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args().to_string();
        if PANIC_AT.get().is_some_and(|at| message.contains(at)) {
            PANIC_AT.set(None);
            panic_any("a logger, on purpose");
        }
    }

    fn flush(&self) {}
}

/// A thread that can have this many jobs, and has none left when the test is over.
fn on_a_thread_with(jobs: usize, test: impl FnOnce() + Send + 'static) {
    on_a_new_thread(move || {
        install();
        JobPool::builder().max_jobs(jobs).init().unwrap();
        test();
        assert_eq!(PANIC_AT.get(), None, "the logger did not panic");
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
        // Each place can be had again.
        let gate = Gate::new();
        let next = || {
            Job::new({
                let wait = gate.wait();
                move || suspend(wait)
            })
        };
        let mut all: Vec<_> = (0..jobs).map(|_| next()).collect();
        assert!(all.iter_mut().all(|job| poll(job).is_pending()));
        assert_eq!(JobPool::stats().in_flight, jobs);
        gate.open();
        for job in all {
            assert_eq!(job.block_on(PATIENCE).unwrap(), Ok(()));
        }
    });
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Panics).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// Calls `wait`, and tells whether its frame was left alone meanwhile.
fn keeps_its_frame(wait: impl FnOnce()) -> bool {
    let frame = black_box([7_u64; 512]);
    wait();
    black_box(&frame).iter().all(|word| *word == 7)
}

/// A job that writes over as much of its stack.
fn write_over_a_stack() {
    let job = Job::new(|| {
        black_box([0x4141_4141_4141_4141_u64; 4096]);
    });
    job.block_on(PATIENCE).unwrap();
}

fn pause_on(fd: &UnixStream) {
    let job = CurrentJob::get().unwrap();
    let context = job.wait_context().unwrap();
    context
        .set_wait_fd_with(&KEY, fd.as_raw_fd(), |_| ())
        .unwrap();
    job.pause().unwrap();
    context.clear_fd(&KEY).unwrap();
}

#[test]
fn a_logger_that_panics_at_a_pause_gives_the_stack_of_a_suspended_job_to_no_other() {
    on_a_thread_with(2, || {
        let gate = Gate::new();
        let wait = gate.wait();
        let mut job = Job::new(|| keeps_its_frame(|| suspend(wait).unwrap()));
        PANIC_AT.set(Some("pause "));
        let _ = catch_unwind(AssertUnwindSafe(|| poll(&mut job)));
        assert_eq!(JobPool::stats().in_flight, 1);
        write_over_a_stack();
        assert!(poll(&mut job).is_pending());
        write_over_a_stack();
        gate.open();
        assert!(job.block_on(PATIENCE).unwrap(), "its stack was used");
    });
}

#[test]
fn a_logger_that_panics_at_a_pause_gives_the_stack_of_a_producers_job_to_no_other() {
    on_a_thread_with(2, || {
        let (device, fd) = wait_fd();
        let mut job = Job::new(move || keeps_its_frame(|| pause_on(&fd)));
        PANIC_AT.set(Some("pause "));
        let _ = catch_unwind(AssertUnwindSafe(|| poll(&mut job)));
        assert_eq!(JobPool::stats().in_flight, 1);
        write_over_a_stack();
        assert!(poll(&mut job).is_pending());
        write_over_a_stack();
        make_readable(&device);
        assert!(job.block_on(PATIENCE).unwrap(), "its stack was used");
    });
}

#[test]
fn a_job_at_whose_resume_the_logger_panics_ends_with_its_output() {
    on_a_thread_with(1, || {
        let gate = Gate::new();
        let wait = gate.wait();
        let mut job = Job::new(|| keeps_its_frame(|| suspend(wait).unwrap()));
        assert!(poll(&mut job).is_pending());
        gate.open();
        PANIC_AT.set(Some("resume "));
        assert!(job.block_on(PATIENCE).unwrap(), "its stack was used");
    });
}

#[test]
fn a_job_that_is_dropped_where_the_logger_panics_is_cancelled() {
    on_a_thread_with(1, || {
        let output = Arc::new(());
        let made = Arc::clone(&output);
        let mut job = Job::new(move || {
            assert_eq!(suspend(pending::<()>()), Err(SuspendError::Cancelled));
            made
        });
        assert!(poll(&mut job).is_pending());
        PANIC_AT.set(Some("resume "));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
        assert_eq!(Arc::strong_count(&output), 1, "the job has not ended");
    });
}

#[test]
fn an_orphan_at_whose_resume_the_logger_panics_is_not_lost() {
    on_a_thread_with(1, || {
        let (device, fd) = wait_fd();
        let mut job = Job::new(move || pause_on(&fd));
        assert!(poll(&mut job).is_pending());
        drop(job);
        make_readable(&device);
        PANIC_AT.set(Some("resume "));
        let drained = catch_unwind(|| JobPool::drain(PATIENCE.unwrap()).unwrap());
        assert_eq!(drained.ok(), Some(0));
        assert_eq!(JobPool::stats().reaped, 1);
    });
}

#[test]
fn a_logger_that_panics_where_a_thread_leaves_jobs_behind_does_not_end_the_process() {
    let leaked = JobPool::stats().leaked;
    let (device, fd) = wait_fd();
    let thread = thread::spawn(move || {
        install();
        let mut job = Job::new(move || pause_on(&fd));
        assert!(poll(&mut job).is_pending());
        drop(job);
        PANIC_AT.set(Some("leaked"));
    });
    thread.join().unwrap();
    assert_eq!(JobPool::stats().leaked, leaked + 1);
    drop(device);
}
