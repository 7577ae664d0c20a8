//! Threads that end with jobs in flight, and what their thread-locals drop then.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use openssl_async_jobs::{suspend, Job, JobPool};

use super::engine::{Operation, Tells, RESULT};
use super::executor::{quiet_waker, Gate};
use super::thread::{on_a_new_thread, PATIENCE};

thread_local! {
    /// Jobs, and whatever else is to be dropped at the thread's end.
    static KEPT: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Until the thread-locals are destroyed.
pub fn keep(what: impl Any) {
    KEPT.with(|kept| kept.borrow_mut().push(Box::new(what)));
}

/// When the thread-local of [`keep`] is made: destructors run in an order that follows from it, and
/// that nobody promises.
#[derive(Clone, Copy, Debug)]
pub enum Made {
    BeforeAllJobs,
    AfterTheFirstJob,
    AfterAJobWentOn,
    WhenItIsNeeded,
}

impl Made {
    pub const ALL: [Made; 4] = [
        Made::BeforeAllJobs,
        Made::AfterTheFirstJob,
        Made::AfterAJobWentOn,
        Made::WhenItIsNeeded,
    ];

    /// At the thread's begin.
    pub fn make(self) {
        match self {
            Made::BeforeAllJobs => keep(()),
            Made::AfterTheFirstJob => {
                Job::new(|| ()).block_on(PATIENCE).unwrap();
                keep(());
            }
            Made::AfterAJobWentOn => {
                a_job_goes_on();
                keep(());
            }
            Made::WhenItIsNeeded => {}
        }
    }
}

/// After a pause in which its thread did something else: that is when a thread is first asked whether
/// it ends.
pub fn a_job_goes_on() {
    let gate = Gate::new();
    let wait = gate.wait();
    let mut job = Job::new(move || suspend(wait));
    assert!(poll(&mut job).is_pending());
    gate.open();
    job.block_on(PATIENCE).unwrap().unwrap();
}

/// Runs it on a thread of its own, which leaks so many jobs; other threads' jobs work afterwards.
pub fn ends_and_leaks<T: Send + 'static>(
    leaked: u64,
    thread: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (answer, leaks) = ends(thread);
    assert_eq!(leaks, leaked, "leaked");
    answer
}

/// As [`ends_and_leaks`], and says how many it leaks.
pub fn ends<T: Send + 'static>(thread: impl FnOnce() -> T + Send + 'static) -> (T, u64) {
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _one = ONE_BY_ONE.lock().unwrap_or_else(|e| e.into_inner());
    let before = JobPool::stats().leaked;
    let answer = on_a_new_thread(thread);
    let leaked = JobPool::stats().leaked - before;
    on_a_new_thread(|| {
        let operation = Operation::new(Tells::ALL[Tells::ALL.len() - 1]);
        let job = operation.clone();
        let mut job = Job::new(move || (job.run(), suspend(async { 1 })));
        assert!(poll(&mut job).is_pending());
        operation.complete();
        assert_eq!(job.block_on(PATIENCE).unwrap(), (RESULT, Ok(1)));
    });
    (answer, leaked)
}

pub fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

pub fn paused(tells: Tells) -> (Operation, Job<()>) {
    let operation = Operation::new(tells);
    let job = operation.clone();
    let mut job = Job::new(move || assert_eq!(job.run(), RESULT));
    assert!(poll(&mut job).is_pending());
    (operation, job)
}
