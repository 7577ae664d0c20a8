//! A job that ends its process, which destroys the thread-locals of its thread on the job's stack: nothing
//! pauses there (H11), as whoever polls the job may have references to them.

use std::cell::RefCell;
use std::future::{pending, Future};
use std::pin::Pin;
use std::task::Context;

use openssl_async_jobs::{is_capable, suspend, CurrentJob, Job, SuspendError};

use crate::common::child::in_a_process_of_its_own;
use crate::common::executor::quiet_waker;
use crate::common::job::{Job as RawJob, WaitContext};

/// Tries to pause when it is dropped, and ends the process as it should end if that is refused.
struct Pauses(fn() -> bool);

impl Drop for Pauses {
    fn drop(&mut self) {
        if (self.0)() {
            // SAFETY: ends the process. The harness has not said that the test has passed.
            unsafe {
                libc::write(1, c"\n1 passed\n".as_ptr().cast(), 10);
                libc::_exit(0);
            }
        }
    }
}

thread_local!(static LAST: RefCell<Option<Pauses>> = const { RefCell::new(None) });

fn suspend_is_refused() -> bool {
    suspend(pending::<()>()) == Err(SuspendError::PauseBlocked)
}

fn pause_is_refused() -> bool {
    CurrentJob::get().is_some_and(|job| job.pause().is_err())
}

/// A job that pauses and goes on, as often.
fn pause(times: u32) {
    let yields = move || (0..times).for_each(|_| suspend(tokio::task::yield_now()).unwrap());
    Job::new(yields).block_on(None).unwrap();
}

/// Ends the process in a job that nobody comes back from.
fn exit_in_a_job() {
    let mut job = Box::pin(Job::new(|| -> () { std::process::exit(1) }));
    let waker = quiet_waker();
    let mut cx = Context::from_waker(&waker);
    let polled = Pin::new(&mut job).poll(&mut cx);
    panic!("it came back: {polled:?}");
}

fn in_a_child(test: &str, child: impl FnOnce()) {
    if is_capable() {
        in_a_process_of_its_own(&format!("in_exits::{test}"), || {
            // A second exit waits for the first one.
            // SAFETY: a timer of this process.
            unsafe { libc::alarm(60) };
            child();
        });
    }
}

#[test]
fn nothing_pauses_in_a_destructor_at_the_first_pause_of_a_thread() {
    let test = "nothing_pauses_in_a_destructor_at_the_first_pause_of_a_thread";
    in_a_child(test, || {
        LAST.set(Some(Pauses(suspend_is_refused)));
        exit_in_a_job();
    });
}

#[test]
fn nothing_pauses_in_the_destructor_of_what_is_older_than_the_jobs_that_have_paused() {
    let test = "nothing_pauses_in_the_destructor_of_what_is_older_than_the_jobs_that_have_paused";
    in_a_child(test, || {
        LAST.set(Some(Pauses(suspend_is_refused)));
        pause(3);
        exit_in_a_job();
    });
}

#[test]
fn nothing_pauses_in_the_destructor_of_what_is_newer_than_the_jobs_that_have_paused() {
    let test = "nothing_pauses_in_the_destructor_of_what_is_newer_than_the_jobs_that_have_paused";
    in_a_child(test, || {
        pause(3);
        LAST.set(Some(Pauses(suspend_is_refused)));
        exit_in_a_job();
    });
}

#[test]
fn a_producer_pauses_nothing_there_either() {
    in_a_child("a_producer_pauses_nothing_there_either", || {
        LAST.set(Some(Pauses(pause_is_refused)));
        pause(3);
        exit_in_a_job();
    });
}

#[test]
fn nor_in_a_job_that_c_has_started() {
    in_a_child("nor_in_a_job_that_c_has_started", || {
        LAST.set(Some(Pauses(pause_is_refused)));
        let context = WaitContext::new();
        let outcome = RawJob::new(&context, || std::process::exit(1)).run();
        panic!("it came back: {outcome:?}");
    });
}

/// Where it is neither `exit` nor libssl that calls, nothing is in the way.
#[cfg(target_arch = "x86_64")]
#[test]
fn what_the_unwinder_does_not_know_is_no_exit() {
    thread_local! {
        static ANSWERS: RefCell<Vec<Result<(), SuspendError>>> = const { RefCell::new(Vec::new()) };
        static NEWER: RefCell<String> = const { RefCell::new(String::new()) };
    }
    extern "C" fn yields() {
        let answer = suspend(tokio::task::yield_now());
        ANSWERS.with_borrow_mut(|all| all.push(answer));
    }
    let job = || Job::new(|| crate::common::unknown::calls(yields)).block_on(None);
    std::thread::spawn(move || {
        // The thread's first pause, and one after a thread-local that is newer.
        job().unwrap();
        NEWER.with_borrow_mut(|text| text.push('x'));
        job().unwrap();
        let under_valgrind = std::env::var("LD_PRELOAD").is_ok_and(|set| set.contains("vgpreload"));
        let expected = match is_capable() {
            // It would have its opinion of a look at the stack.
            true if under_valgrind => Err(SuspendError::PauseBlocked),
            true => Ok(()),
            false => Err(SuspendError::NotInJob),
        };
        assert_eq!(ANSWERS.take(), [expected; 2]);
    })
    .join()
    .unwrap();
}
