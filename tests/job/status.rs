//! What a status says of a paused job, and what is waited for where there is nothing else (H6).
//! OpenSSL 3.0 and later.
#![cfg(ossl300)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::common::engine::{self, Operation, Tells, RESULT};
use crate::common::executor::Executor;
use crate::common::runner::Runner;
use crate::common::thread::on_a_new_thread;
use openssl_async_jobs::{ffi, CurrentJob, Job, JobPool};

/// It may have taken the callback along.
#[test]
fn a_producer_that_registered_nothing_is_resumed_by_its_callback_only() {
    on_a_new_thread(|| {
        let operation = Operation::new(Tells::Callback);
        let job = operation.clone();
        let mut tasks = Executor::new();
        let id = tasks.spawn(Job::new(move || job.run()));
        tasks.run();
        tasks.poll(id);
        assert_eq!(tasks.woken(), []);
        operation.assert_not_resumed();
        operation.complete();
        assert_eq!(tasks.woken(), [id]);
        tasks.run();
        operation.assert_resumed_once();
    });
}

#[test]
fn a_pause_of_ours_after_the_notifier_was_taken_waits_for_it_once() {
    on_a_new_thread(|| {
        let notifier = Rc::new(RefCell::new(None));
        let taken = Rc::clone(&notifier);
        let went_on = Rc::new(Cell::new(0));
        let goes_on = Rc::clone(&went_on);
        let mut tasks = Executor::new();
        let id = tasks.spawn(Job::new(move || {
            let job = CurrentJob::get().unwrap();
            taken.replace(job.wait_context().unwrap().notifier().unwrap());
            job.pause().unwrap();
            goes_on.set(1);
            // It has come: this one leaves nothing to wait for.
            job.pause().unwrap();
        }));
        tasks.run();
        tasks.poll(id);
        assert_eq!((went_on.get(), tasks.woken()), (0, vec![]));
        // SAFETY: its job is in flight.
        unsafe { notifier.take().expect("there is one").notify() };
        tasks.run();
        assert_eq!((went_on.get(), tasks.finished.len()), (1, 1));
    });
}

#[test]
fn a_device_that_was_busy_and_then_took_the_operation_is_waited_for() {
    for tells in Tells::ALL {
        for runner in Runner::BOTH {
            on_a_new_thread(move || {
                let operation = Operation::new(*tells);
                let job = operation.clone();
                let job = Job::new(move || {
                    for _ in 0..3 {
                        engine::set_status(ffi::ASYNC_STATUS_EAGAIN);
                        engine::pause();
                    }
                    engine::set_status(ffi::ASYNC_STATUS_OK);
                    job.run()
                });
                let result = runner.run(job, |times| {
                    if times > 3 {
                        operation.assert_not_resumed();
                        operation.complete();
                    }
                });
                assert_eq!(result, RESULT);
                operation.assert_resumed_once();
                assert_eq!(JobPool::stats().resumed, 4);
            });
        }
    }
}

/// `ASYNC_STATUS_ERR` and the others say what became of the operation, not when to go on.
#[test]
fn another_status_than_again_is_no_evidence() {
    for status in [
        ffi::ASYNC_STATUS_UNSUPPORTED,
        ffi::ASYNC_STATUS_ERR,
        ffi::ASYNC_STATUS_OK,
        7,
    ] {
        for tells in Tells::ALL {
            on_a_new_thread(move || {
                let operation = Operation::new(*tells);
                let job = operation.clone();
                let mut tasks = Executor::new();
                let id = tasks.spawn(Job::new(move || {
                    engine::set_status(status);
                    job.run()
                }));
                tasks.run();
                tasks.poll(id);
                operation.assert_not_resumed();
                operation.complete();
                tasks.poll(id);
                assert_eq!(tasks.finished, [(id, RESULT)]);
                operation.assert_resumed_once();
            });
        }
    }
}

#[test]
fn the_status_of_a_former_job_is_not_that_of_the_next_one_in_its_wait_context() {
    on_a_new_thread(|| {
        let mut tasks = Executor::new();
        tasks.spawn(Job::new(|| {
            engine::set_status(ffi::ASYNC_STATUS_EAGAIN);
            (engine::wait_context() as usize, None)
        }));
        tasks.run();
        let operation = Operation::new(Tells::Callback);
        let job = operation.clone();
        let next = tasks.spawn(Job::new(move || {
            let result = job.run();
            (engine::wait_context() as usize, Some(result))
        }));
        tasks.run();
        tasks.poll(next);
        operation.assert_not_resumed();
        operation.complete();
        tasks.run();
        operation.assert_resumed_once();
        let contexts: Vec<_> = tasks.finished.iter().map(|(_, (c, _))| *c).collect();
        assert_eq!(contexts[0], contexts[1], "this tests nothing");
    });
}
