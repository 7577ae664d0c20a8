//! A panic inside a job, or in what a job was given, reaches whoever polls or drops it, once the job
//! has ended (H10): its slot is free again, and the thread's next jobs work.

use std::cell::Cell;
use std::future::{poll_fn, Future};
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::common::executor::{yield_once, Executor, Gate};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{suspend, Job, JobPool, SuspendError};

/// What a test panics with.
#[derive(Debug, PartialEq)]
struct OnPurpose(&'static str);

struct PanicsOnDrop(&'static str);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic_any(OnPurpose(self.0));
    }
}

impl Future for PanicsOnDrop {
    type Output = u8;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
        Poll::Ready(5)
    }
}

/// On a thread with one job, so that a slot that is not released is missed; all is as it was
/// afterwards.
fn on_a_thread_with_one_job(test: impl FnOnce() + Send + 'static) {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        test();
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
        assert_eq!(stats.started, stats.finished, "{stats:?}");
        for n in 0..3 {
            let next = Job::new(move || suspend(yield_once()).map(|()| n));
            assert_eq!(next.block_on(PATIENCE).unwrap(), Ok(n));
        }
    });
}

/// What it panics with.
fn raised<T>(f: impl FnOnce() -> T) -> &'static str {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("no panic came"),
        Err(payload) => payload.downcast::<OnPurpose>().expect("another panic").0,
    }
}

/// What running the job panics with.
fn raised_by<T>(job: Job<T>) -> &'static str {
    raised(|| assert!(job.block_on(PATIENCE).is_ok(), "stuck"))
}

/// Drops what a panic came with, and what that panics with.
fn discard(payload: Box<dyn std::any::Any + Send>) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        drop(payload);
    }
}

/// In flight, suspended on what never comes.
fn parked<T: 'static>(closure: impl FnOnce() -> T + 'static) -> Job<T> {
    let job = Job::new(closure);
    let job = job.block_on(Some(std::time::Duration::ZERO));
    let job = job.err().expect("it was to suspend");
    assert_eq!(JobPool::stats().in_flight, 1);
    job
}

#[test]
fn a_panic_in_the_closure_is_raised_by_whoever_runs_the_job() {
    on_a_thread_with_one_job(|| {
        let job = Job::new(|| panic_any(OnPurpose("at once")));
        assert_eq!(raised_by::<()>(job), "at once");
        let job = Job::new(|| {
            suspend(yield_once()).unwrap();
            panic_any(OnPurpose("after a pause"))
        });
        assert_eq!(raised_by::<()>(job), "after a pause");
    });
}

#[test]
fn a_panic_in_an_inner_job_is_raised_in_the_outer_one() {
    on_a_thread_with_one_job(|| {
        let job = Job::new(|| {
            let caught = raised_by::<()>(Job::new(|| panic_any(OnPurpose("inner"))));
            suspend(yield_once()).unwrap();
            caught
        });
        assert_eq!(job.block_on(PATIENCE).unwrap(), "inner");
    });
}

#[test]
fn a_panic_in_a_suspended_future_cancels_and_is_raised_once_the_job_has_ended() {
    on_a_thread_with_one_job(|| {
        let answer = Rc::new(Cell::new(None));
        let tell = Rc::clone(&answer);
        let job = Job::new(move || {
            let mut polls = 0;
            let first = suspend(poll_fn(|cx| -> Poll<()> {
                polls += 1;
                cx.waker().wake_by_ref();
                match polls {
                    1 => Poll::Pending,
                    _ => panic_any(OnPurpose("in the future")),
                }
            }));
            // Nothing is waited for any more.
            let second = suspend(async {});
            tell.set(Some((first, second)));
        });
        assert_eq!(raised_by(job), "in the future");
        let cancelled = Err(SuspendError::Cancelled);
        assert_eq!(answer.get(), Some((cancelled, cancelled)));
    });
}

#[test]
fn a_panic_in_a_suspended_future_leaves_no_job_paused_that_could_be_polled_again() {
    on_a_thread_with_one_job(|| {
        let mut job = Job::new(|| suspend(async { panic_any(OnPurpose("in the future")) }));
        let waker = crate::common::executor::quiet_waker();
        let polled = raised(|| Pin::new(&mut job).poll(&mut Context::from_waker(&waker)));
        assert_eq!(polled, "in the future");
        assert_eq!(JobPool::stats().in_flight, 0);
        drop::<Job<Result<(), SuspendError>>>(job);
    });
}

#[test]
fn a_panic_in_the_drop_of_a_future_that_is_ready_is_raised_once_the_job_has_ended() {
    on_a_thread_with_one_job(|| {
        let answer = Rc::new(Cell::new(None));
        let tell = Rc::clone(&answer);
        let job = Job::new(move || tell.set(Some(suspend(PanicsOnDrop("drop")))));
        assert_eq!(raised_by(job), "drop");
        // It was ready.
        assert_eq!(answer.get(), Some(Ok(5)));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_cancelled_future_is_raised_by_the_drop_of_the_job() {
    on_a_thread_with_one_job(|| {
        let answer = Rc::new(Cell::new(None));
        let tell = Rc::clone(&answer);
        let job = parked(move || {
            let bomb = PanicsOnDrop("drop");
            tell.set(Some(suspend(async {
                let _bomb = bomb;
                std::future::pending::<()>().await
            })));
        });
        assert_eq!(raised(|| drop(job)), "drop");
        assert_eq!(answer.get(), Some(Err(SuspendError::Cancelled)));
    });
}

#[test]
fn a_panic_of_a_closure_that_was_cancelled_is_raised_by_the_drop_of_the_job() {
    on_a_thread_with_one_job(|| {
        let job = parked(|| {
            suspend(Gate::new().wait()).unwrap_err();
            panic_any(OnPurpose("cancelled"))
        });
        assert_eq!(raised(|| drop::<Job<()>>(job)), "cancelled");
    });
}

#[test]
fn a_panic_in_the_drop_of_an_output_that_nobody_took_is_raised_by_the_drop_of_the_job() {
    on_a_thread_with_one_job(|| {
        let job = parked(|| {
            suspend(Gate::new().wait()).unwrap_err();
            PanicsOnDrop("output")
        });
        assert_eq!(raised(|| drop(job)), "output");
    });
}

#[test]
fn a_panic_in_the_drop_of_a_closure_that_never_ran_is_raised_by_the_drop_of_the_job() {
    on_a_thread_with_one_job(|| {
        let bomb = PanicsOnDrop("new");
        let new = Job::new(move || std::mem::forget(bomb));
        assert_eq!(raised(|| drop(new)), "new");

        let bomb = PanicsOnDrop("waiting");
        let mut jobs = Executor::new();
        let gate = Gate::new();
        let wait = gate.wait();
        jobs.spawn(Job::new(move || suspend(wait).unwrap()));
        let waiting = jobs.spawn(Job::new(move || std::mem::forget(bomb)));
        jobs.run();
        assert_eq!(JobPool::stats().waiting, 1);
        assert_eq!(raised(|| jobs.drop_task(waiting)), "waiting");
        assert_eq!(JobPool::stats().waiting, 0);
        gate.open();
        jobs.run();
        assert_eq!(jobs.finished.len(), 1);
    });
}

#[test]
fn of_two_panics_the_first_is_raised_and_the_second_does_no_harm() {
    on_a_thread_with_one_job(|| {
        // Whose payload is worse still: its own drop panics.
        let job = Job::new(|| {
            let cancelled = suspend(async { panic_any(OnPurpose("first")) });
            assert_eq!(cancelled, Err::<(), _>(SuspendError::Cancelled));
            panic_any(PanicsOnDrop("second"))
        });
        assert_eq!(raised_by::<()>(job), "first");
    });
}

#[test]
fn a_panic_of_a_future_and_another_of_its_drop_are_one() {
    struct Both;
    impl Future for Both {
        type Output = ();
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            panic_any(OnPurpose("poll"))
        }
    }
    impl Drop for Both {
        fn drop(&mut self) {
            panic_any(PanicsOnDrop("drop"))
        }
    }
    on_a_thread_with_one_job(|| assert_eq!(raised_by(Job::new(|| suspend(Both))), "poll"));
}

#[test]
fn a_panic_of_a_future_and_another_of_the_outputs_drop_do_not_abort() {
    on_a_thread_with_one_job(|| {
        let polled = Job::new(|| {
            suspend(async { panic_any(PanicsOnDrop("payload")) }).unwrap_or(());
            PanicsOnDrop("output")
        });
        let caught = catch_unwind(AssertUnwindSafe(|| polled.block_on(PATIENCE).is_ok()));
        discard(caught.unwrap_err());

        struct PanicsWithWorse;
        impl Drop for PanicsWithWorse {
            fn drop(&mut self) {
                panic_any(PanicsOnDrop("payload"))
            }
        }
        let dropped = parked(|| {
            let bomb = PanicsWithWorse;
            let cancelled = suspend(async {
                let _bomb = bomb;
                std::future::pending::<()>().await
            });
            cancelled.unwrap_err();
            PanicsOnDrop("output")
        });
        let caught = catch_unwind(AssertUnwindSafe(|| drop(dropped)));
        discard(caught.unwrap_err());
    });
}

#[test]
fn a_job_dropped_while_its_thread_unwinds_ends_and_the_first_panic_goes_on() {
    on_a_thread_with_one_job(|| {
        let answer = Rc::new(Cell::new(None));
        let tell = Rc::clone(&answer);
        let unwinds = raised(|| {
            let _job = parked(move || {
                tell.set(Some(suspend(Gate::new().wait())));
                // Here the thread unwinds, and would stay paused for nobody.
                assert_eq!(suspend(async {}), Err(SuspendError::Cancelled));
                panic_any(PanicsOnDrop("in the job"))
            }) as Job<()>;
            panic_any(OnPurpose("outside"))
        }) as &str;
        assert_eq!(unwinds, "outside");
        assert_eq!(answer.get(), Some(Err(SuspendError::Cancelled)));
    });
}
