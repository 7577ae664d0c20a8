//! Inside another crate's coroutine that a job has begun, and outside a job that has left one that it was
//! begun in: other stacks are not to be taken for the job's.

use std::cell::Cell;
use std::future::{pending, Future};
use std::task::{Context, Poll};

use corosensei::{Coroutine, CoroutineResult, Yielder};
use openssl_async_jobs::{suspend, CurrentJob, Error, Job, SuspendError};

use crate::common::child::in_a_process_of_its_own;
use crate::common::executor::quiet_waker;

thread_local!(static YIELDER: Cell<*const Yielder<(), ()>> = const { Cell::new(std::ptr::null()) });

/// As crates offer it to safe code: that of a current coroutine in a thread-local.
fn leave_the_coroutine() {
    // SAFETY: the running coroutine's.
    unsafe { &*YIELDER.get() }.suspend(());
}

/// Does something when a job has left its coroutine, and lets it go on then.
fn outside_a_left_job(test: &str, then: impl Fn()) {
    if !openssl_async_jobs::is_capable() {
        return;
    }
    in_a_process_of_its_own(&format!("in_coroutines::{test}"), || {
        let mut coroutine = Coroutine::new(|yielder: &Yielder<(), ()>, ()| {
            YIELDER.set(yielder);
            let mut job = Box::pin(Job::new(|| {
                leave_the_coroutine();
                suspend(async { 42 })
            }));
            let waker = quiet_waker();
            let polled = job.as_mut().poll(&mut Context::from_waker(&waker));
            // Not in flight, as that would have to go on on this stack.
            assert!(polled.is_ready());
        });
        assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
        then();
        let done = coroutine.resume(());
        assert!(matches!(done, CoroutineResult::Return(())));
    });
}

#[test]
fn suspend_outside_a_left_job_is_refused() {
    outside_a_left_job("suspend_outside_a_left_job_is_refused", || {
        assert_eq!(suspend(pending::<()>()), Err(SuspendError::PauseBlocked));
    });
}

#[test]
fn pause_outside_a_left_job_is_refused() {
    outside_a_left_job("pause_outside_a_left_job_is_refused", || {
        let job = CurrentJob::get().unwrap();
        assert!(matches!(job.pause(), Err(Error::PauseBlocked)));
    });
}

#[test]
fn a_job_inside_a_left_one_pauses_neither() {
    outside_a_left_job("a_job_inside_a_left_one_pauses_neither", || {
        let inner = Job::new(|| suspend(pending::<()>()));
        let refused = inner.block_on(None).unwrap();
        assert_eq!(refused, Err(SuspendError::PauseBlocked));
    });
}

/// Not of the thread, and not of the job either.
#[test]
fn suspend_in_a_coroutine_outside_a_left_job_is_refused() {
    outside_a_left_job(
        "suspend_in_a_coroutine_outside_a_left_job_is_refused",
        || {
            let mut coroutine = Coroutine::new(|_: &Yielder<(), ()>, ()| {
                assert_eq!(suspend(pending::<()>()), Err(SuspendError::PauseBlocked));
            });
            coroutine.resume(());
        },
    );
}

/// Its frames are linked, so that an unwinder finds the job's stack; but the thread uses the other one.
#[test]
fn suspend_on_the_stack_of_who_resumed_the_coroutine_is_refused() {
    let test = "in_coroutines::suspend_on_the_stack_of_who_resumed_the_coroutine_is_refused";
    in_a_process_of_its_own(test, || {
        let mut coroutine = Coroutine::new(|yielder: &Yielder<(), ()>, ()| {
            YIELDER.set(yielder);
            let mut job = Box::pin(Job::new(|| {
                // SAFETY: the running coroutine's.
                let yielder = unsafe { &*YIELDER.get() };
                yielder.on_parent_stack(|| suspend(pending::<()>()))
            }));
            let waker = quiet_waker();
            job.as_mut().poll(&mut Context::from_waker(&waker))
        });
        let polled = match coroutine.resume(()) {
            CoroutineResult::Return(polled) => polled,
            CoroutineResult::Yield(()) => unreachable!("it yields nothing"),
        };
        let refused = match openssl_async_jobs::is_capable() {
            true => SuspendError::PauseBlocked,
            false => SuspendError::NotInJob,
        };
        assert_eq!(polled, Poll::Ready(Err(refused)));
    });
}

/// As whose stack it is cannot be seen.
#[test]
fn suspend_in_a_coroutine_that_the_job_has_begun_is_refused() {
    let job = Job::new(|| {
        let mut coroutine = Coroutine::new(|_: &Yielder<(), ()>, ()| {
            let pauses = CurrentJob::get().map(|job| job.pause());
            (suspend(pending::<()>()), pauses)
        });
        let answers = coroutine.resume(()).as_return().unwrap();
        // The job itself may.
        (answers, suspend(async { 1 }))
    });
    let ((suspended, paused), after) = job.block_on(None).unwrap();
    if openssl_async_jobs::is_capable() {
        assert_eq!(suspended, Err(SuspendError::PauseBlocked));
        assert!(matches!(paused, Some(Err(Error::PauseBlocked))));
        assert_eq!(after, Ok(1));
    }
}
