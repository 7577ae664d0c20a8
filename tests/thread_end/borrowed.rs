//! A thread-local that a paused fibre has borrowed (`LocalKey::with`) when its thread ends: the fibre
//! is not resumed to see it destroyed, whatever other thread-locals' destructors do (H3, H11), and
//! whether or not a job of the thread went on after the pause.

use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use crate::common::ending::{a_job_goes_on, ends, ends_and_leaks, keep, poll, Made};
use crate::common::engine::{Operation, Tells};
use crate::common::executor::Gate;
use openssl_async_jobs::{suspend, Job, JobPool};

/// A thread-local that a fibre borrows across its pause.
struct Borrowed(Cell<bool>);

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

thread_local!(static BORROWED: Borrowed = const { Borrowed(Cell::new(true)) });

/// A job that pauses inside `LocalKey::with`, in each of the two ways, and says what it finds then.
fn borrowing(operation: Option<Operation>, seen: &Arc<AtomicBool>) -> Job<()> {
    let seen = Arc::clone(seen);
    let mut job = Job::new(move || {
        BORROWED.with(|borrowed| {
            match &operation {
                Some(operation) => {
                    operation.run();
                }
                None => {
                    let _ = suspend(Gate::new().wait());
                }
            }
            if !borrowed.0.get() {
                seen.store(true, Ordering::SeqCst);
            }
        });
    });
    assert!(poll(&mut job).is_pending());
    job
}

/// What a thread-local's destructor does with a job; or with none, as there are orphans.
fn at_the_end(orphan: bool, last_deed: fn(Option<Job<()>>)) {
    struct Deed(Option<Job<()>>, fn(Option<Job<()>>));
    impl Drop for Deed {
        fn drop(&mut self) {
            let (job, deed) = (self.0.take(), self.1);
            // That it is refused is not what is tested.
            let _ = catch_unwind(AssertUnwindSafe(|| deed(job)));
        }
    }
    for tells in Tells::ALL {
        for (made, another_goes_on) in Made::ALL.into_iter().flat_map(|m| [(m, false), (m, true)]) {
            let seen = Arc::new(AtomicBool::new(false));
            let sees = Arc::clone(&seen);
            let (operation, leaked) = ends(move || {
                made.make();
                let operation = Operation::new(*tells);
                let job = borrowing(Some(operation.clone()), &sees);
                let job = (!orphan).then_some(job);
                if another_goes_on {
                    a_job_goes_on();
                }
                keep(Deed(job, last_deed));
                operation.complete();
                operation
            });
            let seen = seen.load(Ordering::SeqCst);
            assert!(!seen, "a destroyed thread-local was seen");
            // In a destructor that comes before that of what it has borrowed it may go on.
            let resumed = operation.was_resumed();
            assert!(!resumed || another_goes_on);
            assert_eq!(leaked, u64::from(!resumed));
        }
    }
}

#[test]
fn a_job_that_a_destructor_drops_does_not_see_a_destroyed_thread_local() {
    at_the_end(false, drop);
}

#[test]
fn a_suspended_job_that_a_destructor_drops_does_not_see_a_destroyed_thread_local() {
    for made in Made::ALL {
        let seen = Arc::new(AtomicBool::new(false));
        let sees = Arc::clone(&seen);
        ends_and_leaks(1, move || {
            made.make();
            keep(borrowing(None, &sees));
        });
        assert!(!seen.load(Ordering::SeqCst));
    }
}

#[test]
fn a_job_that_a_destructor_polls_does_not_see_a_destroyed_thread_local() {
    at_the_end(false, |job| {
        let mut job = job.unwrap();
        let _ = poll(&mut job);
    });
}

#[test]
fn an_orphan_does_not_see_a_destroyed_thread_local_when_a_destructor_runs_another_job() {
    at_the_end(true, |_| assert!(poll(&mut Job::new(|| ())).is_ready()));
}

#[test]
fn an_orphan_does_not_see_a_destroyed_thread_local_when_a_destructor_drains() {
    at_the_end(true, |_| {
        let _ = JobPool::drain(Duration::ZERO);
    });
}
