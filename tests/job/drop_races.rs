//! Drops of jobs that an engine has paused: while the completion comes, inside other jobs, around
//! nested ones, and no drop at all (H3, H5).

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use crate::common::engine::{Operation, Tells, RESULT};
use crate::common::executor::quiet_waker;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{CurrentJob, Job, JobPool};

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// Counts how often it is dropped: the captures of a closure.
struct Captured(Rc<RefCell<u32>>);

impl Drop for Captured {
    fn drop(&mut self) {
        *self.0.borrow_mut() += 1;
    }
}

fn paused(tells: Tells) -> (Operation, Job<()>, Rc<RefCell<u32>>) {
    let (operation, drops) = (Operation::new(tells), Rc::default());
    let (job, captured) = (operation.clone(), Captured(Rc::clone(&drops)));
    let mut job = Job::new(move || {
        assert_eq!(job.run(), RESULT);
        drop(captured);
    });
    assert!(poll(&mut job).is_pending());
    (operation, job, drops)
}

#[test]
fn a_completion_during_the_drop_resumes_it_once_and_all_is_freed_once() {
    const ROUNDS: u64 = 1000;
    for tells in Tells::ALL {
        let (submit, submitted) = channel::<(Operation, Arc<Barrier>)>();
        let device = thread::spawn(move || {
            for (round, (operation, at_once)) in submitted.iter().enumerate() {
                at_once.wait();
                // Sometimes a little later, so that each order of the two comes.
                for _ in 0..round % 64 * 8 {
                    std::hint::spin_loop();
                }
                operation.complete();
                at_once.wait();
            }
        });
        on_a_new_thread(move || {
            for _ in 0..ROUNDS {
                let (operation, job, drops) = paused(*tells);
                let at_once = Arc::new(Barrier::new(2));
                submit
                    .send((operation.clone(), Arc::clone(&at_once)))
                    .unwrap();
                at_once.wait();
                drop(job);
                at_once.wait();
                assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
                operation.assert_resumed_once();
                assert_eq!(*drops.borrow(), 1);
                assert_eq!(JobPool::stats().in_flight, 0);
            }
            assert_eq!(JobPool::stats().finished, ROUNDS);
        });
        device.join().unwrap();
    }
}

#[test]
fn a_completion_during_a_drain_is_seen() {
    for tells in Tells::ALL {
        let (submit, submitted) = channel::<(Operation, Arc<Barrier>)>();
        let device = thread::spawn(move || {
            for (operation, at_once) in submitted {
                at_once.wait();
                operation.complete();
            }
        });
        on_a_new_thread(move || {
            for round in 1..=500 {
                let (operation, job, drops) = paused(*tells);
                drop(job);
                let at_once = Arc::new(Barrier::new(2));
                submit
                    .send((operation.clone(), Arc::clone(&at_once)))
                    .unwrap();
                at_once.wait();
                assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
                operation.assert_resumed_once();
                assert_eq!(*drops.borrow(), 1);
                assert_eq!(JobPool::stats().reaped, round);
            }
        });
        device.join().unwrap();
    }
}

#[test]
fn dropped_inside_another_job_it_is_not_resumed_there() {
    for tells in Tells::ALL {
        for completed in [false, true] {
            on_a_new_thread(move || {
                let (operation, job, drops) = paused(*tells);
                if completed {
                    operation.complete();
                }
                let seen = operation.clone();
                let outer = Job::new(move || {
                    drop(job);
                    seen.assert_not_resumed();
                    assert!(JobPool::drain(Duration::ZERO).is_err());
                    CurrentJob::get().unwrap().pause().unwrap();
                });
                outer.block_on(PATIENCE).unwrap();
                if !completed {
                    operation.assert_not_resumed();
                    assert_eq!(*drops.borrow(), 0);
                    operation.complete();
                }
                assert_eq!(JobPool::drain(Duration::ZERO).unwrap(), 0);
                operation.assert_resumed_once();
                assert_eq!(*drops.borrow(), 1);
                let stats = JobPool::stats();
                assert_eq!((stats.in_flight, stats.reaped), (0, 1));
            });
        }
    }
}

#[test]
fn dropped_while_an_inline_job_in_it_is_paused_both_end_when_the_completion_comes() {
    for tells in Tells::ALL {
        on_a_new_thread(move || {
            let (operation, drops) = (Operation::new(*tells), Rc::default());
            let (in_job, outers) = (operation.clone(), Captured(Rc::clone(&drops)));
            let inners = Captured(Rc::clone(&drops));
            let result = Rc::new(RefCell::new(None));
            let tell = Rc::clone(&result);
            let mut outer = Job::new(move || {
                let inner = Job::new(move || {
                    let result = in_job.run();
                    drop(inners);
                    result
                });
                let inner = inner.block_on(PATIENCE).expect("inline");
                tell.replace(Some(inner));
                drop(outers);
            });
            assert!(poll(&mut outer).is_pending());
            drop(outer);
            assert_eq!(JobPool::drain(Duration::ZERO).unwrap(), 1);
            operation.assert_not_resumed();
            operation.complete();
            assert_eq!(JobPool::drain(Duration::ZERO).unwrap(), 0);
            operation.assert_resumed_once();
            assert_eq!((result.take(), *drops.borrow()), (Some(RESULT), 2));
            assert_eq!(JobPool::stats().in_flight, 0);
        });
    }
}

#[test]
fn dropped_with_the_jobs_that_wait_for_it_it_keeps_its_place_until_its_completion() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        let (operation, job, _) = paused(Tells::Fd);
        let mut waiting = Job::new(|| 2);
        assert!(poll(&mut waiting).is_pending());
        drop(job);
        assert!(poll(&mut waiting).is_pending());
        operation.assert_not_resumed();
        operation.complete();
        assert_eq!(waiting.block_on(PATIENCE).unwrap(), 2);
        operation.assert_resumed_once();
    });
}

#[test]
fn forgotten_it_stays_paused_and_the_next_jobs_are_unharmed() {
    for tells in Tells::ALL {
        let (late, operations) = on_a_new_thread(move || {
            JobPool::builder().max_jobs(4).init().unwrap();
            let mut operations = Vec::new();
            for _ in 0..3 {
                let (operation, job, _) = paused(*tells);
                std::mem::forget(job);
                operations.push(operation);
            }
            let late = operations.pop().unwrap();
            for round in 0..20 {
                // Its engine does not know that it was forgotten.
                if let Some(operation) = operations.get(round) {
                    operation.complete();
                }
                let (other, job, drops) = paused(*tells);
                assert_eq!(JobPool::stats().in_flight, 4);
                other.complete();
                match round % 2 {
                    0 => job.block_on(PATIENCE).unwrap(),
                    _ => drop(job),
                }
                other.assert_resumed_once();
                assert_eq!(*drops.borrow(), 1);
            }
            assert_eq!(JobPool::drain(Duration::ZERO).unwrap(), 0);
            (late, operations)
        });
        // When its thread is gone, too.
        late.complete();
        late.assert_not_resumed();
        operations.iter().for_each(Operation::assert_not_resumed);
    }
}
