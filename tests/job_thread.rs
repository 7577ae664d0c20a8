//! A job stays on its thread (H1). That it cannot leave it in safe code is a `compile_fail` test of
//! `Job`; here unsafe code forces it, and is refused.

mod common;

use std::cell::Cell;
use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use common::executor::{quiet_waker, Gate};
use common::thread::{on_a_new_thread, Smuggled, PATIENCE};
use openssl_async_jobs::{suspend, Job, JobPool, SuspendError};

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// Polls it, and panics unless that is refused; gives it back.
fn assert_refused<T>(mut job: Job<T>) -> Job<T> {
    let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut job).is_ready()));
    let payload = polled.expect_err("it was not refused");
    let message = payload.downcast::<&str>().expect("a sentence");
    assert!(message.contains("on another thread"), "{message}");
    job
}

fn refused_elsewhere<T: 'static>(job: Job<T>) -> Job<T> {
    let smuggled = Smuggled::new(job);
    on_a_new_thread(move || Smuggled::new(assert_refused(smuggled.into_inner()))).into_inner()
}

#[test]
fn a_suspended_job_polled_on_another_thread_is_refused_and_goes_on_on_its_own() {
    on_a_new_thread(|| {
        let gate = Gate::new();
        let wait = gate.wait();
        let mut job = Job::new(move || suspend(wait).map(|()| thread::current().id()));
        assert!(poll(&mut job).is_pending());
        let job = refused_elsewhere(job);
        assert_eq!(JobPool::stats().in_flight, 1);
        gate.open();
        let ran_on = job.block_on(PATIENCE).unwrap();
        assert_eq!(ran_on, Ok(thread::current().id()));
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn a_job_that_has_a_thread_is_refused_on_another_one_before_it_starts() {
    on_a_new_thread(|| {
        let job = refused_elsewhere(Job::new(|| 7));
        assert_eq!(job.block_on(PATIENCE).unwrap(), 7);
    });
}

#[test]
fn a_job_that_waits_for_a_free_one_is_refused_on_another_thread() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        let gate = Gate::new();
        let wait = gate.wait();
        let mut first = Job::new(move || suspend(wait));
        let mut second = Job::new(|| 2);
        assert!(poll(&mut first).is_pending());
        assert!(poll(&mut second).is_pending());
        let second = refused_elsewhere(second);
        gate.open();
        assert_eq!(first.block_on(PATIENCE).unwrap(), Ok(()));
        assert_eq!(second.block_on(PATIENCE).unwrap(), 2);
    });
}

#[test]
fn dropped_on_another_thread_it_is_leaked_with_what_it_holds_and_its_thread_goes_on() {
    on_a_new_thread(|| {
        let held = Arc::new(());
        let gate = Gate::new();
        let (wait, holds) = (gate.wait(), Arc::clone(&held));
        let mut job = Job::new(move || {
            let answer = suspend(wait);
            drop(holds);
            answer
        });
        assert!(poll(&mut job).is_pending());
        let holds = Arc::clone(&held);
        let new = Job::new(move || drop(holds));
        let smuggled = Smuggled::new((job, new));
        on_a_new_thread(move || drop(smuggled.into_inner()));

        assert_eq!(Arc::strong_count(&held), 3, "its thread's data was touched");
        assert_eq!(JobPool::stats().in_flight, 1);
        // Nobody polls the future any more.
        gate.open();
        let next = Job::new(|| suspend(async { 3 }));
        assert_eq!(next.block_on(PATIENCE).unwrap(), Ok(3));
    });
}

#[test]
fn a_job_cancelled_on_its_own_thread_after_a_refusal_ends_there() {
    on_a_new_thread(|| {
        let (tell, told) = channel();
        let wait = Gate::new().wait();
        let mut job = Job::new(move || tell.send(suspend(wait)).unwrap());
        assert!(poll(&mut job).is_pending());
        drop(refused_elsewhere(job));
        assert_eq!(told.try_recv().unwrap(), Err(SuspendError::Cancelled));
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn a_new_thread_in_the_memory_of_the_old_one_is_another_thread() {
    thread_local!(static PLACE: Cell<u8> = const { Cell::new(0) });
    let place = || PLACE.with(|place| std::ptr::from_ref(place) as usize);
    // The C library gives a new thread the memory of one that has ended; another test's thread may
    // take it first.
    let found = (0..1000).any(|_| {
        let (job, parked, old) = {
            let made = on_a_new_thread(move || {
                let wait = Gate::new().wait();
                let mut parked = Job::new(move || suspend(wait));
                assert!(poll(&mut parked).is_pending());
                Smuggled::new((Job::new(|| 1), parked, place()))
            });
            made.into_inner()
        };
        let smuggled = Smuggled::new((job, parked));
        on_a_new_thread(move || {
            let (job, parked) = smuggled.into_inner();
            // A job of its own first, so that it has all that a thread with jobs has.
            assert_eq!(Job::new(|| 2).block_on(PATIENCE).unwrap(), 2);
            let same = place() == old;
            // Its thread is gone: dropped, it is leaked.
            drop(assert_refused(job));
            drop(assert_refused(parked));
            same
        })
    });
    assert!(found, "no thread had the memory of an older one");
}
