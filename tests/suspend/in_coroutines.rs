//! Inside another crate's coroutine that a job has begun, and outside a job that has left one that it was
//! begun in: the thread's own stack is not to be taken for the job's.

use std::cell::Cell;
use std::future::{pending, Future};
use std::task::Context;

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

#[test]
fn suspend_in_a_coroutine_that_the_job_has_begun_waits() {
    let job = Job::new(|| {
        let mut sums = Coroutine::new(|yielder: &Yielder<u32, u32>, first| {
            let (mut input, mut sum) = (first, 0);
            while input > 0 {
                let turn = suspend(async move {
                    tokio::task::yield_now().await;
                    input
                });
                sum += turn.unwrap_or(100);
                input = yielder.suspend(sum);
            }
            sum
        });
        for input in 1..=3 {
            assert!(matches!(sums.resume(input), CoroutineResult::Yield(_)));
        }
        sums.resume(0).as_return()
    });
    let expected = if openssl_async_jobs::is_capable() {
        6
    } else {
        300
    };
    assert_eq!(job.block_on(None).unwrap(), Some(expected));
}
