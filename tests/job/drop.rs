//! A job that is dropped while an engine has paused it is kept with the memory that the engine
//! writes into, and goes on once, when its completion has come (H3, H6). Suspended ones: `suspend/waits.rs`;
//! races, and drops in odd places: `drop_races.rs`; the end of the thread: `thread_end/`.

use std::cell::{Cell, RefCell};
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::common::engine::{Operation, Tells, RESULT};
use crate::common::executor::{quiet_waker, Gate};
use crate::common::runner::Runner;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{suspend, Job, JobPool, SuspendError};

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// An operation, and a job that it has paused. The `Arc` is held by the job's closure.
fn paused(tells: Tells) -> (Operation, Job<()>, Arc<()>) {
    let (operation, mut job, held) = new(tells);
    assert!(poll(&mut job).is_pending());
    (operation, job, held)
}

fn new(tells: Tells) -> (Operation, Job<()>, Arc<()>) {
    let (operation, held) = (Operation::new(tells), Arc::new(()));
    let (job, holds) = (operation.clone(), Arc::clone(&held));
    let job = Job::new(move || {
        assert_eq!(job.run(), RESULT);
        drop(holds);
    });
    (operation, job, held)
}

/// It went on once and to its end, and all that it had is freed.
fn assert_over(operation: &Operation, held: &Arc<()>) {
    operation.assert_resumed_once();
    assert_eq!(Arc::strong_count(held), 1, "leaked");
}

fn for_each_way(test: fn(Tells)) {
    for tells in Tells::ALL {
        on_a_new_thread(move || {
            test(*tells);
            let stats = JobPool::stats();
            assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
            assert_eq!(stats.leaked, 0, "{stats:?}");
        });
    }
}

fn drained(timeout: Duration) -> usize {
    JobPool::drain(timeout).unwrap()
}

#[test]
fn before_its_start_its_closure_is_dropped_and_never_runs() {
    on_a_new_thread(|| {
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let job: Job<()> = Job::new(move || {
            let _holds = holds;
            panic!("it ran")
        });
        drop(job);
        assert_eq!(Arc::strong_count(&held), 1);
        let stats = JobPool::stats();
        assert_eq!((stats.started, stats.reaped, stats.in_flight), (0, 0, 0));
    });
}

#[test]
fn its_engine_writes_into_its_buffer_afterwards_and_a_later_job_of_the_thread_ends_it() {
    for_each_way(|tells| {
        let (operation, job, held) = paused(tells);
        drop(job);
        // Jobs that come and go use neither its stack nor its wait context, nor resume it.
        for _ in 0..3 {
            let (other, mut next, others) = paused(tells);
            other.complete();
            assert_eq!(poll(&mut next), Poll::Ready(()));
            drop(next);
            assert_over(&other, &others);
        }
        operation.assert_not_resumed();
        assert_eq!(Arc::strong_count(&held), 2);
        assert_eq!(JobPool::stats().in_flight, 1);

        operation.complete();
        assert_eq!(JobPool::stats().reaped, 0);
        assert_eq!(poll(&mut Job::new(|| 1)), Poll::Ready(1));
        assert_over(&operation, &held);
        assert_eq!(JobPool::stats().reaped, 1);
    });
}

#[test]
fn drain_waits_for_its_completion_on_another_thread() {
    for_each_way(|tells| {
        let (operations, held): (Vec<_>, Vec<_>) = (0..10)
            .map(|_| {
                let (operation, _dropped, held) = paused(tells);
                (operation, held)
            })
            .unzip();
        let devices = operations.clone();
        let completing = std::thread::spawn(move || devices.iter().for_each(Operation::complete));
        assert_eq!(drained(PATIENCE.unwrap()), 0);
        completing.join().unwrap();
        for (operation, held) in operations.iter().zip(&held) {
            assert_over(operation, held);
        }
        assert_eq!(JobPool::stats().reaped, 10);
    });
}

#[test]
fn drain_says_how_many_are_left_whose_completion_has_not_come() {
    for_each_way(|tells| {
        let all: Vec<_> = (0..5).map(|_| paused(tells)).collect();
        let all: Vec<_> = all.into_iter().map(|(o, _dropped, h)| (o, h)).collect();
        assert_eq!(drained(Duration::ZERO), 5);
        for (done, (operation, held)) in all.iter().enumerate() {
            operation.assert_not_resumed();
            operation.complete();
            assert_eq!(drained(Duration::ZERO), 4 - done);
            assert_over(operation, held);
            assert_eq!(JobPool::stats().reaped, done as u64 + 1);
        }
    });
}

#[test]
fn block_on_looks_after_it_while_it_waits_for_something_else() {
    for_each_way(|tells| {
        let operation = Operation::new(tells);
        let (job, gate) = (operation.clone(), Gate::new());
        let opens = gate.clone();
        let mut job = Job::new(move || {
            job.run();
            opens.open();
        });
        assert!(poll(&mut job).is_pending());
        drop(job);
        let device = operation.clone();
        let mut completing = None;
        let waits = Box::pin(gate.wait());
        Runner::BlockOn.run(waits, |times| {
            if times == 1 {
                let device = device.clone();
                completing = Some(std::thread::spawn(move || device.complete()));
            }
        });
        completing.unwrap().join().unwrap();
        operation.assert_resumed_once();
        assert_eq!(JobPool::stats().reaped, 1);
    });
}

#[test]
fn a_completion_that_came_before_the_pause_is_seen_by_whoever_ends_it() {
    for_each_way(|tells| {
        let [first, second] = [0; 2].map(|_| Operation::new(tells));
        let (one, two, held) = (first.clone(), second.clone(), Arc::new(()));
        let holds = Arc::clone(&held);
        let mut job = Job::new(move || {
            one.run();
            two.run_with(|| two.complete());
            drop(holds);
        });
        assert!(poll(&mut job).is_pending());
        drop(job);
        first.complete();
        assert_eq!(drained(Duration::ZERO), 0);
        first.assert_resumed_once();
        assert_over(&second, &held);
    });
}

#[test]
fn a_completion_that_was_not_seen_yet_ends_it_in_the_drop() {
    for_each_way(|tells| {
        let (operation, job, held) = paused(tells);
        operation.complete();
        operation.assert_not_resumed();
        drop(job);
        assert_over(&operation, &held);
        let stats = JobPool::stats();
        assert_eq!((stats.reaped, stats.finished), (0, 1));
    });
}

#[test]
fn a_completion_that_comes_twice_resumes_it_once() {
    for_each_way(|tells| {
        // After the drop, and before it; both at once, and one after the end.
        for before in [0, 1, 2] {
            let (operation, job, held) = paused(tells);
            if before > 0 {
                operation.complete();
                (1..before).for_each(|_| operation.tell());
            }
            drop(job);
            if before == 0 {
                operation.complete();
                operation.tell();
            }
            assert_eq!(drained(Duration::ZERO), 0);
            operation.tell();
            assert_eq!(drained(Duration::ZERO), 0);
            assert_over(&operation, &held);
            let (other, next, others) = paused(tells);
            operation.tell();
            drop(next);
            other.assert_not_resumed();
            other.complete();
            assert_eq!(drained(Duration::ZERO), 0);
            assert_over(&other, &others);
        }
    });
}

#[test]
fn it_goes_through_all_its_operations_and_suspends_no_more() {
    for_each_way(|tells| {
        let operations = [0; 3].map(|_| Operation::new(tells));
        let in_job = operations.clone();
        let told = Rc::new(RefCell::new(Vec::new()));
        let tell = Rc::clone(&told);
        let was_polled = Rc::new(Cell::new(false));
        let polled = Rc::clone(&was_polled);
        let mut job = Job::new(move || {
            for operation in in_job {
                assert_eq!(operation.run(), RESULT);
                let refused = suspend(poll_fn(|_| {
                    polled.set(true);
                    Poll::<()>::Pending
                }));
                tell.borrow_mut().push(refused);
            }
        });
        assert!(poll(&mut job).is_pending());
        drop(job);
        for (done, operation) in operations.iter().enumerate() {
            assert_eq!(drained(Duration::ZERO), 1);
            assert_eq!(told.borrow().len(), done);
            operation.complete();
            assert_eq!(drained(Duration::ZERO), usize::from(done < 2));
            operation.assert_resumed_once();
        }
        let cancelled: [Result<(), _>; 3] = [Err(SuspendError::Cancelled); 3];
        assert_eq!(*told.borrow(), cancelled);
        assert!(!was_polled.get());
    });
}
