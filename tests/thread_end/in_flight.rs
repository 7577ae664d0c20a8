//! A thread that ends with jobs in flight: nothing is resumed once its thread-locals are being
//! destroyed, what an engine writes into stays, and that is counted as leaked (H3, H11).
//! What its fibres borrow: `borrowed.rs`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use crate::common::ending::{ends_and_leaks, keep, paused, poll, Made};
use crate::common::engine::{Operation, Tells};
use crate::common::executor::Gate;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{suspend, Job, JobPool};

#[test]
fn jobs_that_a_thread_local_drops_in_suspend_are_not_cancelled() {
    for made in Made::ALL {
        let went_on = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&went_on);
        ends_and_leaks(3, move || {
            made.make();
            for _ in 0..3 {
                let (wait, says) = (Gate::new().wait(), Arc::clone(&says));
                let mut job = Job::new(move || {
                    let _ = suspend(wait);
                    says.store(true, Ordering::SeqCst);
                });
                assert!(poll(&mut job).is_pending());
                keep(job);
            }
        });
        assert!(!went_on.load(Ordering::SeqCst));
    }
}

#[test]
fn jobs_that_a_thread_local_drops_while_an_engine_has_them_stay_for_its_writes() {
    for tells in Tells::ALL {
        for made in Made::ALL {
            let operations = ends_and_leaks(3, move || {
                made.make();
                [0; 3].map(|_| {
                    let (operation, job) = paused(*tells);
                    keep(job);
                    operation
                })
            });
            // The thread's memory is used by others now.
            on_a_new_thread(|| {
                (0..50).for_each(|n| keep(Job::new(move || n).block_on(None).unwrap()))
            });
            for operation in operations {
                operation.complete();
                operation.tell();
                operation.assert_not_resumed();
            }
        }
    }
}

#[test]
fn jobs_whose_completion_has_come_unseen_are_not_resumed_either() {
    for tells in Tells::ALL {
        for made in Made::ALL {
            let operation = ends_and_leaks(1, move || {
                made.make();
                let (operation, job) = paused(*tells);
                keep(job);
                operation.complete();
                operation
            });
            operation.assert_not_resumed();
        }
    }
}

#[test]
fn orphans_stay_for_their_engines_writes() {
    for tells in Tells::ALL {
        let [seen, unseen] = ends_and_leaks(2, move || {
            let (seen, dropped) = paused(*tells);
            drop(dropped);
            let (unseen, dropped) = paused(*tells);
            drop(dropped);
            unseen.complete();
            [seen, unseen]
        });
        seen.complete();
        for operation in [seen, unseen] {
            operation.tell();
            operation.assert_not_resumed();
        }
    }
}

#[test]
fn a_drain_before_the_end_brings_orphans_to_theirs() {
    for tells in Tells::ALL {
        ends_and_leaks(0, move || {
            let operations = [0; 5].map(|_| paused(*tells).0);
            let devices = operations.clone();
            let completing =
                std::thread::spawn(move || devices.iter().for_each(Operation::complete));
            assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
            completing.join().unwrap();
            operations.iter().for_each(Operation::assert_resumed_once);
            assert_eq!(JobPool::stats().reaped, 5);
        });
    }
}

#[test]
fn jobs_that_are_dropped_before_the_thread_locals_are_cancelled_or_brought_to_their_end() {
    for tells in Tells::ALL {
        ends_and_leaks(0, move || {
            let (operation, _engines) = paused(*tells);
            operation.complete();
            let wait = Gate::new().wait();
            let mut _suspended = Job::new(move || suspend(wait));
            assert!(poll(&mut _suspended).is_pending());
        });
    }
}

#[test]
fn jobs_that_have_not_started_are_dropped_with_their_closures() {
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let operation = ends_and_leaks(1, move || {
        JobPool::builder().max_jobs(1).init().unwrap();
        let (operation, in_flight) = paused(Tells::Fd);
        let (new, waiting) = (Arc::clone(&holds), holds);
        keep(Job::new(move || drop(new)));
        let mut waits = Job::new(move || drop(waiting));
        assert!(poll(&mut waits).is_pending());
        keep(waits);
        keep(in_flight);
        operation
    });
    assert_eq!(Arc::strong_count(&held), 1);
    operation.assert_not_resumed();
}
