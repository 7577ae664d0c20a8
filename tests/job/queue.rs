//! Who finds no free job waits in the thread's queue: first come first served, one woken for each
//! job that ends, and nobody polls in vain (H12).

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::executor::{yield_once, Executor, Gate};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use crate::common::{job as by_libssl, job::Outcome};
use openssl_async_jobs::{suspend, CurrentJob, Job, JobPool, SuspendError};

fn on_a_thread_with(jobs: usize, test: impl FnOnce() + Send + 'static) {
    on_a_new_thread(move || {
        JobPool::builder().max_jobs(jobs).init().unwrap();
        test();
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
        assert_eq!((stats.reaped, stats.leaked), (0, 0), "{stats:?}");
    });
}

/// A job that waits at the gate.
fn waits_at(gate: &Gate) -> Job<Result<(), SuspendError>> {
    let wait = gate.wait();
    Job::new(move || suspend(wait))
}

fn ids<T>(finished: &[(usize, T)]) -> Vec<usize> {
    finished.iter().map(|(id, _)| *id).collect()
}

#[test]
fn a_thousand_waiters_for_one_job_run_in_order_and_are_polled_no_more_than_they_need() {
    const WAITERS: usize = 1000;
    on_a_thread_with(1, || {
        let mut tasks = Executor::new();
        let started = Rc::new(RefCell::new(Vec::new()));
        for id in 0..=WAITERS {
            let started = Rc::clone(&started);
            tasks.spawn(Job::new(move || {
                started.borrow_mut().push(id);
                suspend(yield_once())
            }));
        }
        for _ in 0..=WAITERS {
            tasks.step();
        }
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (1, WAITERS));
        // From here on exactly one is woken at any time: the one whose future is ready, or, when
        // that has ended, the next one.
        while let [_only] = tasks.woken()[..] {
            tasks.step();
        }
        assert_eq!(tasks.woken(), []);
        let in_order: Vec<usize> = (0..=WAITERS).collect();
        assert_eq!(ids(&tasks.finished), in_order);
        assert_eq!(*started.borrow(), in_order);
        assert!(tasks.finished.iter().all(|(_, answer)| *answer == Ok(())));
        // To ask for a job, to start, and to go on; the first asks and starts at once.
        assert_eq!(tasks.all_polls(), 2 + 3 * WAITERS);
        let stats = JobPool::stats();
        assert_eq!(stats.started, WAITERS as u64 + 1);
        assert_eq!(stats.paused, WAITERS as u64 + 1);
    });
}

#[test]
fn no_more_jobs_than_the_limit_are_in_flight_and_no_fewer() {
    on_a_thread_with(3, || {
        let mut tasks = Executor::new();
        let gates: Vec<Gate> = (0..10).map(|_| Gate::new()).collect();
        for gate in &gates {
            tasks.spawn(waits_at(gate));
        }
        tasks.run();
        for (done, gate) in gates.iter().enumerate() {
            let stats = JobPool::stats();
            assert_eq!(stats.in_flight, 3.min(10 - done), "after {done}");
            assert_eq!(stats.waiting, 7_usize.saturating_sub(done), "after {done}");
            gate.open();
            tasks.run();
        }
        assert_eq!(tasks.finished.len(), 10);
    });
}

#[test]
fn waiters_that_are_dropped_are_passed_over() {
    on_a_thread_with(1, || {
        let mut tasks = Executor::new();
        let gate = Gate::new();
        for _ in 0..10 {
            tasks.spawn(waits_at(&gate));
        }
        tasks.run();
        for id in [1, 2, 5, 9] {
            tasks.drop_task(id);
        }
        assert_eq!(JobPool::stats().waiting, 5);
        gate.open();
        tasks.run();
        assert_eq!(ids(&tasks.finished), [0, 3, 4, 6, 7, 8]);
        assert_eq!(JobPool::stats().started, 6);
        assert!([1, 2, 5, 9].iter().all(|id| tasks.polls(*id) == 1));
    });
}

#[test]
fn a_waiter_that_is_dropped_after_it_was_woken_leaves_its_job_to_the_next() {
    on_a_thread_with(1, || {
        let mut tasks = Executor::new();
        let gate = Gate::new();
        for _ in 0..4 {
            tasks.spawn(waits_at(&gate));
        }
        tasks.run();
        gate.open();
        tasks.step();
        assert_eq!(tasks.woken(), [1]);
        tasks.drop_task(1);
        assert_eq!(tasks.woken(), [1, 2]);
        tasks.drop_task(2);
        tasks.run();
        assert_eq!(ids(&tasks.finished), [0, 3]);
    });
}

#[test]
fn a_waiter_that_is_polled_in_vain_keeps_its_place() {
    on_a_thread_with(1, || {
        let mut tasks = Executor::new();
        let gate = Gate::new();
        for _ in 0..4 {
            tasks.spawn(waits_at(&gate));
        }
        tasks.run();
        for id in [1, 1, 3, 2, 1] {
            tasks.poll(id);
        }
        let stats = JobPool::stats();
        assert_eq!((stats.started, stats.waiting), (1, 3));
        gate.open();
        tasks.run();
        assert_eq!(ids(&tasks.finished), [0, 1, 2, 3]);
    });
}

#[test]
fn who_comes_later_does_not_overtake_one_that_has_been_woken() {
    on_a_thread_with(1, || {
        let mut tasks = Executor::new();
        let gate = Gate::new();
        tasks.spawn(waits_at(&gate));
        tasks.spawn(waits_at(&gate));
        tasks.run();
        gate.open();
        tasks.step();
        assert_eq!(tasks.woken(), [1]);
        // A job is free, but it is that of the one that was woken.
        let late = tasks.spawn(waits_at(&gate));
        tasks.poll(late);
        assert_eq!(JobPool::stats().waiting, 1);
        tasks.run();
        assert_eq!(ids(&tasks.finished), [0, 1, late]);
    });
}

#[test]
fn a_waiter_wakes_the_task_that_polled_it_last() {
    on_a_thread_with(1, || {
        let gate = Gate::new();
        let mut tasks = Executor::new();
        tasks.spawn(waits_at(&gate));
        let moved = Rc::new(RefCell::new(Some(waits_at(&gate))));
        for _ in 0..2 {
            let moved = Rc::clone(&moved);
            tasks.spawn(std::future::poll_fn(move |cx| {
                let mut moved = moved.borrow_mut();
                let job = moved.as_mut().expect("polled after it was ready");
                let polled = std::future::Future::poll(std::pin::Pin::new(job), cx);
                if polled.is_ready() {
                    *moved = None;
                }
                polled
            }));
        }
        tasks.run();
        gate.open();
        tasks.step();
        assert_eq!(tasks.woken(), [2]);
        tasks.run();
        assert_eq!(ids(&tasks.finished), [0, 2]);
    });
}

/// A job as libssl starts them, in flight.
fn taken_by_libssl(context: &by_libssl::WaitContext) -> by_libssl::Job<'_> {
    let mut job = by_libssl::Job::new(context, || CurrentJob::get().unwrap().pause().unwrap());
    assert_eq!(job.run(), Outcome::Paused);
    job
}

#[test]
fn where_libssl_has_all_jobs_and_none_of_ours_will_end_a_closure_runs_at_once_without_one() {
    on_a_thread_with(2, || {
        let context = by_libssl::WaitContext::new();
        let taken = [taken_by_libssl(&context), taken_by_libssl(&context)];
        let inline = Job::new(|| (CurrentJob::get().is_some(), suspend(async {})));
        let (in_a_job, suspended) = inline.block_on(PATIENCE).unwrap();
        assert!(!in_a_job);
        assert_eq!(suspended, Err(SuspendError::NotInJob));
        assert_eq!(JobPool::stats().started, 0);
        taken.into_iter().for_each(by_libssl::Job::finish);
        // And there are jobs again.
        let job = Job::new(|| suspend(async { 1 }));
        assert_eq!(job.block_on(PATIENCE).unwrap(), Ok(1));
        assert_eq!(JobPool::stats().started, 1);
    });
}

#[test]
fn where_libssl_has_the_rest_of_the_jobs_others_wait_until_one_of_ours_ends() {
    on_a_thread_with(2, || {
        let context = by_libssl::WaitContext::new();
        let mut tasks = Executor::new();
        let gate = Gate::new();
        tasks.spawn(waits_at(&gate));
        tasks.run();
        let taken = taken_by_libssl(&context);
        for _ in 0..3 {
            tasks.spawn(waits_at(&gate));
        }
        tasks.run();
        let stats = JobPool::stats();
        assert_eq!((stats.started, stats.in_flight, stats.waiting), (1, 1, 3));
        gate.open();
        tasks.run();
        assert_eq!(ids(&tasks.finished), [0, 1, 2, 3]);
        assert!(tasks.finished.iter().all(|(_, answer)| *answer == Ok(())));
        taken.finish();
    });
}

#[test]
fn ten_thousand_jobs_are_in_flight_on_one_thread_and_all_finish() {
    const JOBS: usize = 10_000;
    on_a_new_thread(|| {
        let mut tasks = Executor::new();
        let gate = Gate::new();
        for _ in 0..JOBS {
            tasks.spawn(waits_at(&gate));
        }
        tasks.run();
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (JOBS, 0));
        let all = JOBS as u64;
        assert_eq!((stats.started, stats.paused), (all, all));
        assert_eq!((stats.resumed, stats.finished), (0, 0));
        gate.open();
        tasks.run();
        assert!(tasks.finished.iter().all(|(_, answer)| *answer == Ok(())));
        assert_eq!(tasks.finished.len(), JOBS);
        assert_eq!(tasks.all_polls(), 2 * JOBS);
        let stats = JobPool::stats();
        assert_eq!((stats.started, stats.paused), (all, all));
        assert_eq!((stats.resumed, stats.finished), (all, all));
        assert_eq!((stats.in_flight, stats.waiting), (0, 0));
        assert_eq!((stats.reaped, stats.leaked), (0, 0));
    });
}
