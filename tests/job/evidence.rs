//! A job that an engine has paused is resumed on evidence that its operation has completed, and for
//! no other reason that its task is polled (H6). See also `callback.rs` and `wait_fds.rs` for
//! the two ways that an engine says so, `again.rs` and `status.rs` for others.

use std::cell::RefCell;
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::common::engine::{Operation, Tells, RESULT};
use crate::common::executor::{quiet_waker, Executor, Gate};
use crate::common::runner::{channel_waker, Runner};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{block_on, Job, JobPool};

fn for_each_way(test: fn(Tells)) {
    for tells in Tells::ALL {
        on_a_new_thread(move || {
            test(*tells);
            let stats = JobPool::stats();
            assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
        });
    }
}

fn operation(tells: Tells) -> (Operation, Job<[u64; 32]>) {
    let operation = Operation::new(tells);
    let job = operation.clone();
    (operation, Job::new(move || job.run()))
}

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

#[test]
fn a_task_that_is_polled_again_and_again_resumes_nothing() {
    for_each_way(|tells| {
        let (operation, job) = operation(tells);
        let mut tasks = Executor::new();
        let id = tasks.spawn(job);
        for _ in 0..100 {
            tasks.poll(id);
        }
        assert!(tasks.finished.is_empty());
        assert_eq!(JobPool::stats().resumed, 0);
        operation.assert_not_resumed();
        operation.complete();
        tasks.poll(id);
        assert_eq!(tasks.finished, [(id, RESULT)]);
        operation.assert_resumed_once();
    });
}

#[test]
fn a_result_that_is_there_and_not_said_is_no_evidence() {
    for_each_way(|tells| {
        let (operation, mut job) = operation(tells);
        assert!(poll(&mut job).is_pending());
        operation.write_result();
        assert!(poll(&mut job).is_pending());
        operation.assert_not_resumed();
        operation.tell();
        assert_eq!(poll(&mut job), Poll::Ready(RESULT));
    });
}

#[test]
fn a_waker_that_is_called_without_evidence_resumes_nothing() {
    for_each_way(|tells| {
        let (operation, mut job) = operation(tells);
        let seen: Rc<RefCell<Option<Waker>>> = Rc::default();
        let waker = Rc::clone(&seen);
        let mut tasks = Executor::new();
        let id = tasks.spawn(poll_fn(move |cx| {
            waker.replace(Some(cx.waker().clone()));
            Pin::new(&mut job).poll(cx)
        }));
        for polls in 1..20 {
            tasks.run();
            // Who watches wait fds may wake once too often.
            assert!(tasks.polls(id) >= polls);
            operation.assert_not_resumed();
            seen.take().expect("it was polled").wake();
        }
        operation.complete();
        tasks.poll(id);
        operation.assert_resumed_once();
    });
}

#[test]
fn of_jobs_that_are_joined_in_one_task_only_the_completed_ones_go_on() {
    for_each_way(|tells| {
        let (operations, mut jobs): (Vec<_>, Vec<_>) = (0..4).map(|_| operation(tells)).unzip();
        let mut outputs = vec![None; 4];
        let joined = poll_fn(move |cx| {
            for (job, output) in jobs.iter_mut().zip(&mut outputs) {
                if output.is_none() {
                    if let Poll::Ready(result) = Pin::new(job).poll(cx) {
                        *output = Some(result);
                    }
                }
            }
            match outputs.iter().all(Option::is_some) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let mut tasks = Executor::new();
        let id = tasks.spawn(joined);
        tasks.run();
        for done in [2, 0, 3, 1] {
            operations[done].assert_not_resumed();
            operations[done].complete();
            tasks.poll(id);
            operations[done].assert_resumed_once();
        }
        assert_eq!(tasks.finished.len(), 1);
    });
}

#[test]
fn a_job_that_loses_against_another_future_in_a_select_is_left_alone() {
    for_each_way(|tells| {
        let (operation, job) = operation(tells);
        let timer = Gate::new();
        let mut either = (Some(job), Box::pin(timer.wait()));
        let mut tasks = Executor::new();
        tasks.spawn(poll_fn(move |cx| {
            let job = either.0.as_mut().expect("polled after it was ready");
            match Pin::new(job).poll(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => either.1.as_mut().poll(cx).map(|()| either.0.take()),
            }
        }));
        tasks.run();
        timer.open();
        tasks.run();
        operation.assert_not_resumed();
        let (_, job) = tasks.finished.pop().expect("the timer has come");
        operation.complete();
        let job = job.expect("the job is still in flight");
        assert_eq!(job.block_on(PATIENCE).unwrap(), RESULT);
        operation.assert_resumed_once();
    });
}

#[test]
fn a_completion_on_another_thread_wakes_whoever_runs_the_job() {
    for_each_way(|tells| {
        for runner in Runner::BOTH {
            let (operation, job) = operation(tells);
            let device = operation.clone();
            let mut completing = None;
            let result = runner.run(job, |times| {
                // Woken more often than once it may be: resumed it is not.
                if times == 1 {
                    let device = device.clone();
                    completing = Some(thread::spawn(move || device.complete()));
                }
            });
            assert_eq!(result, RESULT, "{runner:?}");
            completing.expect("it was pending").join().unwrap();
            operation.assert_resumed_once();
        }
    });
}

#[test]
fn a_job_goes_from_one_executor_to_another_between_its_pause_and_its_completion() {
    for_each_way(|tells| {
        let (operation, mut job) = operation(tells);
        let (first_waker, first) = channel_waker();
        let polled = Pin::new(&mut job).poll(&mut Context::from_waker(&first_waker));
        assert!(polled.is_pending());
        let device = operation.clone();
        // The first one's thread watches its wait fd; then a `block_on` does, which gives up.
        let zero = Some(std::time::Duration::ZERO);
        let job = job.block_on(zero).expect_err("it cannot have completed");
        let mut job = block_on(job, zero).expect_err("it cannot have completed");
        let result = Runner::WakerOnly.run(&mut job, |times| {
            if times == 1 {
                device.complete();
            }
        });
        assert_eq!(result, RESULT);
        operation.assert_resumed_once();
        assert!(first.try_recv().is_err(), "woke the former executor's task");
    });
}

#[test]
fn operations_one_after_the_other_each_wait_for_their_own_completion() {
    for_each_way(|tells| {
        for runner in Runner::BOTH {
            let operations: Vec<_> = (0..5).map(|_| Operation::new(tells)).collect();
            let all = operations.clone();
            let job = Job::new(move || all.iter().map(Operation::run).collect::<Vec<_>>());
            // Each pause is another operation's, as the one before it has completed.
            let results = runner.run(job, |times| operations[times - 1].complete());
            assert_eq!(results, [RESULT; 5]);
            operations.iter().for_each(Operation::assert_resumed_once);
        }
    });
}
