//! As `panic_wakers.rs`, for wakers that panic when they are cloned: that is raised where the job
//! is polled, and nothing is lost by it (H3, H10).

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use crate::common::engine::{Operation, Tells, RESULT};
use crate::common::executor::quiet_waker;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{Job, JobPool};

/// It may be cloned for ever.
const ALWAYS: usize = usize::MAX;

/// A waker that may be cloned so many times, and panics then.
fn waker(panics: &Arc<AtomicUsize>) -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: `waker` made it of an Arc, and each clone has a count of its own.
            let panics = unsafe { Arc::from_raw(data.cast::<AtomicUsize>()) };
            let clone = Arc::clone(&panics);
            std::mem::forget(panics);
            match clone.load(Ordering::SeqCst) {
                ALWAYS => {}
                0 => std::panic::panic_any("a clone, on purpose"),
                left => clone.store(left - 1, Ordering::SeqCst),
            }
            RawWaker::new(Arc::into_raw(clone).cast(), &VTABLE)
        },
        free,
        |_| {},
        free,
    );
    fn free(data: *const ()) {
        // SAFETY: the count of this waker, which is no more.
        drop(unsafe { Arc::from_raw(data.cast::<AtomicUsize>()) });
    }
    let data = Arc::into_raw(Arc::clone(panics)).cast();
    // SAFETY: the functions count the references of an Arc; all it has may be used on any thread.
    unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn catch(call: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
}

fn operation(tells: Tells) -> (Operation, Job<()>) {
    let operation = Operation::new(tells);
    let run = operation.clone();
    (operation, Job::new(move || assert_eq!(run.run(), RESULT)))
}

#[test]
fn a_clone_that_panics_leaves_a_paused_job_as_it_was() {
    for tells in Tells::ALL {
        on_a_new_thread(move || {
            let panics = Arc::new(AtomicUsize::new(0));
            let waker = waker(&panics);
            let (operation, mut job) = operation(*tells);
            for _ in 0..3 {
                assert!(catch(|| assert!(poll(&mut job, &waker).is_ready())));
                operation.assert_not_resumed();
            }
            operation.complete();
            job.block_on(PATIENCE).unwrap();
            operation.assert_resumed_once();
            assert_eq!(JobPool::stats().in_flight, 0);
        });
    }
}

#[test]
fn a_clone_that_panics_loses_no_orphan() {
    for tells in Tells::ALL {
        on_a_new_thread(move || {
            let operations = [0; 3].map(|_| {
                let (operation, mut job) = operation(*tells);
                assert!(poll(&mut job, &quiet_waker()).is_pending());
                drop(job);
                operation
            });
            let panics = Arc::new(AtomicUsize::new(ALWAYS));
            let waker = waker(&panics);
            let mut reap = JobPool::reap();
            assert!(poll(&mut reap, &waker).is_pending());
            panics.store(0, Ordering::SeqCst);
            // The reaper's waker is asked for by any job of the thread.
            assert!(catch(|| assert!(
                poll(&mut Job::new(|| ()), &waker).is_ready()
            )));
            let mut other = JobPool::reap();
            assert!(catch(|| assert!(poll(&mut other, &waker).is_ready())));
            panics.store(ALWAYS, Ordering::SeqCst);
            operations.iter().for_each(Operation::complete);
            assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
            for operation in &operations {
                operation.assert_resumed_once();
            }
            assert_eq!(JobPool::stats().in_flight, 0);
        });
    }
}

#[test]
fn a_clone_that_panics_while_orphans_are_looked_at_loses_none() {
    for (tells, clones) in Tells::ALL
        .iter()
        .flat_map(|tells| (1..6).map(move |n| (tells, n)))
    {
        on_a_new_thread(move || {
            let operations = [0; 3].map(|_| {
                let (operation, mut job) = operation(*tells);
                assert!(poll(&mut job, &quiet_waker()).is_pending());
                drop(job);
                operation
            });
            let panics = Arc::new(AtomicUsize::new(clones));
            let waker = waker(&panics);
            // One for the reaper, and one for each of them.
            let refused = catch(|| assert!(poll(&mut JobPool::reap(), &waker).is_ready()));
            assert!(refused, "it is never ready");
            assert_eq!(panics.load(Ordering::SeqCst), clones.saturating_sub(4));
            panics.store(ALWAYS, Ordering::SeqCst);
            operations.iter().for_each(Operation::complete);
            assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
            for operation in &operations {
                operation.assert_resumed_once();
            }
            assert_eq!(JobPool::stats().in_flight, 0);
        });
    }
}
