//! What jobs tell the `log` crate: each pause and resume, and what a thread leaves behind (H3, H11).

mod common;

use std::cell::Cell;
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Mutex, Once};
use std::task::Context;

use common::executor::{quiet_waker, yield_once};
use common::thread::{on_a_new_thread, PATIENCE};
use log::{Level, LevelFilter, Log, Metadata, Record};
use openssl_async_jobs::{suspend, CurrentJob, Job, JobPool, WaitKey};

thread_local! {
    /// Whose records they are. Without a destructor, so that it is there until the thread has ended.
    static OF: Cell<&'static str> = const { Cell::new("another") };
}

static SEEN: Mutex<Vec<Seen>> = Mutex::new(Vec::new());

#[derive(Clone, Debug)]
struct Seen {
    of: &'static str,
    level: Level,
    target: String,
    message: String,
}

/// The process's only logger.
struct Collector;

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        SEEN.lock().unwrap().push(Seen {
            of: OF.get(),
            level: record.level(),
            target: record.target().to_owned(),
            message: record.args().to_string(),
        });
    }

    fn flush(&self) {}
}

/// Runs it on a new thread, and gives what was logged there until that had ended.
fn log_of(name: &'static str, test: impl FnOnce() + Send + 'static) -> Vec<Seen> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
    on_a_new_thread(move || {
        OF.set(name);
        test();
    });
    let seen = SEEN.lock().unwrap();
    seen.iter()
        .filter(|seen| seen.of == name)
        .cloned()
        .collect()
}

#[test]
fn each_pause_and_each_resume_of_a_job_is_a_debug_record() {
    let seen = log_of("pauses", || {
        let job = Job::new(|| {
            suspend(yield_once()).unwrap();
            // With nothing to wait for.
            CurrentJob::get().unwrap().pause().unwrap();
        });
        job.block_on(PATIENCE).unwrap();
        let stats = JobPool::stats();
        assert_eq!((stats.paused, stats.resumed), (2, 2));
    });
    let ours = seen
        .iter()
        .filter(|seen| seen.target.starts_with("openssl_async_jobs::job"));
    let words: Vec<_> = ours
        .map(|seen| {
            assert_eq!(seen.level, Level::Debug, "{seen:?}");
            seen.message.split(' ').next().unwrap()
        })
        .collect();
    assert_eq!(words, ["pause", "resume", "pause", "resume"]);
    // All of the same job, which they name.
    let named = |seen: &Seen| seen.message.split_once(' ').unwrap().1.to_owned();
    assert!(seen.iter().all(|other| named(other) == named(&seen[0])));
}

#[test]
fn two_jobs_are_told_apart() {
    let seen = log_of("two jobs", || {
        let inner = Job::new(|| suspend(yield_once()).unwrap());
        let outer = Job::new(|| suspend(inner).unwrap());
        outer.block_on(PATIENCE).unwrap();
    });
    let [outer, inner] = [&seen[0].message, &seen[1].message];
    assert!(outer.starts_with("pause ") && inner.starts_with("pause "));
    assert_ne!(outer, inner);
}

#[test]
fn a_job_that_does_not_pause_is_not_worth_a_record() {
    let seen = log_of("no pause", || {
        assert_eq!(Job::new(|| 1).block_on(PATIENCE).unwrap(), 1);
    });
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn a_thread_that_ends_with_jobs_in_flight_warns_once() {
    static KEY: WaitKey = WaitKey::new();
    let leaked = JobPool::stats().leaked;
    let seen = log_of("a leak", || {
        for _ in 0..3 {
            let mut job = Job::new(|| {
                let (never, end) = UnixStream::pair().unwrap();
                let current = CurrentJob::get().unwrap();
                let context = current.wait_context().unwrap();
                context.set_wait_fd(&KEY, end.into()).unwrap();
                current.pause().unwrap();
                drop(never);
            });
            let waker = quiet_waker();
            let mut cx = Context::from_waker(&waker);
            assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
            // The thread keeps it.
            drop(job);
        }
        assert_eq!(JobPool::stats().in_flight, 3);
    });
    assert_eq!(JobPool::stats().leaked, leaked + 3);
    let warnings: Vec<_> = seen
        .iter()
        .filter(|seen| seen.level <= Level::Warn)
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].level, Level::Warn);
    assert!(warnings[0].target.starts_with("openssl_async_jobs::job"));
    assert!(
        warnings[0]
            .message
            .starts_with("3 job(s) of a thread that ends"),
        "{}",
        warnings[0].message
    );
}

#[test]
fn a_thread_that_ends_with_nothing_in_flight_does_not_warn() {
    let seen = log_of("no leak", || {
        let mut job = Job::new(|| suspend(std::future::pending::<()>()));
        let waker = quiet_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
        // Cancelled, and so at its end.
        drop(job);
    });
    assert!(seen.iter().all(|seen| seen.level > Level::Warn), "{seen:?}");
}
