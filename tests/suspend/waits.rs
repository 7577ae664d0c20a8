//! `suspend`: what it waits for, where it can and cannot, and what its job keeps meanwhile
//! (H5, H7, H13).

use std::cell::{Cell, RefCell};
use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::common::executor::{yield_once, Executor, Gate};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{ffi, suspend, CurrentJob, Job, JobPool, SuspendError};

/// Runs it as a job on a thread of its own; it ends.
fn in_a_job<T: Send + 'static>(closure: impl FnOnce() -> T + Send + 'static) -> T {
    on_a_new_thread(|| Job::new(closure).block_on(PATIENCE).expect("stuck"))
}

#[test]
fn the_future_borrows_from_the_callers_frame_and_need_not_be_send() {
    let sum = in_a_job(|| {
        let mut numbers = vec![1, 2, 3];
        let not_send = Rc::new(Cell::new(0));
        let pushed = suspend(async {
            for n in 4..10 {
                yield_once().await;
                numbers.push(n);
                not_send.set(not_send.get() + 1);
            }
            numbers.len()
        });
        assert_eq!(pushed, Ok(9));
        numbers.iter().sum::<i32>() + not_send.get()
    });
    assert_eq!(sum, 45 + 6);
}

#[test]
fn a_job_suspends_as_often_as_it_likes_from_any_depth() {
    fn deep(levels: u32) -> Result<u32, SuspendError> {
        let here = suspend(async move {
            yield_once().await;
            levels
        })?;
        match levels {
            0 => Ok(here),
            _ => Ok(here + deep(levels - 1)?),
        }
    }
    let (sum, stats) = in_a_job(|| (deep(20), JobPool::stats()));
    assert_eq!(sum, Ok(210));
    assert_eq!((stats.started, stats.paused, stats.resumed), (1, 21, 21));
}

#[test]
fn the_future_is_polled_outside_the_job_and_dropped_as_soon_as_it_is_ready() {
    struct Watched(Rc<Cell<bool>>);
    impl Drop for Watched {
        fn drop(&mut self) {
            assert!(CurrentJob::get().is_none(), "dropped on the fibre");
            self.0.set(true);
        }
    }
    in_a_job(|| {
        let dropped = Rc::new(Cell::new(false));
        let watched = Watched(Rc::clone(&dropped));
        assert!(CurrentJob::get().is_some());
        suspend(async move {
            let _watched = watched;
            assert!(CurrentJob::get().is_none(), "polled on the fibre");
            yield_once().await;
            assert!(CurrentJob::get().is_none(), "polled on the fibre");
        })
        .unwrap();
        assert!(CurrentJob::get().is_some());
        assert!(dropped.get());
    });
}

#[test]
fn the_future_stays_where_it_is() {
    in_a_job(|| {
        let mut place = None;
        let pinned = std::marker::PhantomPinned;
        suspend(async {
            let here = std::ptr::from_ref(&pinned) as usize;
            yield_once().await;
            assert_eq!(here, std::ptr::from_ref(&pinned) as usize);
        })
        .unwrap();
        struct Own(std::marker::PhantomPinned);
        let own = Own(pinned);
        suspend(async move {
            for _ in 0..3 {
                let here = std::ptr::from_ref(&own.0) as usize;
                assert_eq!(*place.get_or_insert(here), here);
                yield_once().await;
            }
        })
        .unwrap();
    });
}

#[test]
fn outside_a_job_there_is_nothing_to_suspend_and_the_future_is_dropped_unpolled() {
    let held = Rc::new(());
    let mut holds = Some(Rc::clone(&held));
    let refused = suspend(poll_fn(move |_| -> Poll<()> {
        drop(holds.take());
        panic!("polled")
    }));
    assert_eq!(refused, Err(SuspendError::NotInJob));
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn inside_a_suspended_future_no_job_runs_that_could_be_suspended() {
    let inner = in_a_job(|| {
        suspend(async {
            let first = suspend(async {});
            yield_once().await;
            (first, suspend(async {}))
        })
    });
    let refused = Err(SuspendError::NotInJob);
    assert_eq!(inner, Ok((refused, refused)));
}

#[test]
fn a_job_polled_inside_a_suspended_future_is_a_job_of_its_own() {
    let (answer, stats) = in_a_job(|| {
        let answer = suspend(async {
            let inner = Job::new(|| {
                assert!(CurrentJob::get().is_some());
                // Three levels: a job in a future in a job in a future in a job.
                suspend(async {
                    yield_once().await;
                    Job::new(|| suspend(yield_once()).map(|()| 3)).await
                })
            });
            inner.await
        });
        (answer, JobPool::stats())
    });
    assert_eq!(answer, Ok(Ok(Ok(3))));
    assert_eq!((stats.started, stats.finished), (3, 2));
}

#[test]
fn a_job_inside_a_job_runs_inline_and_its_suspend_suspends_the_outer_one() {
    let stats = in_a_job(|| {
        let outer = job_id();
        let middle = Job::new(move || {
            assert_eq!(job_id(), outer);
            let inner = Job::new(move || {
                assert_eq!(job_id(), outer);
                suspend(yield_once()).map(|()| 1)
            });
            let one = inner.block_on(PATIENCE).expect("inline")?;
            suspend(yield_once()).map(|()| one + 1)
        });
        let two = middle.block_on(PATIENCE).expect("inline");
        assert_eq!(two, Ok(2));
        JobPool::stats()
    });
    assert_eq!((stats.started, stats.paused, stats.resumed), (1, 2, 2));
}

fn job_id() -> usize {
    // SAFETY: may be called at any time.
    unsafe { ffi::ASYNC_get_current_job() as usize }
}

#[test]
fn a_job_in_flight_polled_inside_another_is_refused_and_unharmed() {
    on_a_new_thread(|| {
        let gate = Gate::new();
        let wait = gate.wait();
        let mut first = Job::new(move || suspend(wait));
        let polled = Rc::new(RefCell::new(None));
        assert!(Pin::new(&mut first)
            .poll(&mut std::task::Context::from_waker(
                &crate::common::executor::quiet_waker()
            ))
            .is_pending());
        *polled.borrow_mut() = Some(first);
        let shared = Rc::clone(&polled);
        let second = Job::new(move || {
            let mut first = shared.borrow_mut().take().unwrap();
            let waker = crate::common::executor::quiet_waker();
            let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut cx = std::task::Context::from_waker(&waker);
                Pin::new(&mut first).poll(&mut cx).is_ready()
            }));
            let message = refused.unwrap_err().downcast::<&str>().unwrap();
            assert!(message.contains("inside another job"), "{message}");
            gate.open();
            suspend(first)
        });
        let answer = second.block_on(PATIENCE).expect("stuck");
        assert_eq!(answer, Ok(Ok(())));
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn while_pausing_is_blocked_it_says_so_and_drops_the_future_unpolled() {
    let answers = in_a_job(|| {
        let held = Rc::new(());
        let holds = Rc::clone(&held);
        // SAFETY: counted by OpenSSL, in pairs.
        unsafe { ffi::ASYNC_block_pause() };
        let blocked = suspend(async move {
            let _holds = holds;
            panic!("polled")
        });
        assert_eq!(Rc::strong_count(&held), 1);
        // SAFETY: likewise.
        unsafe { ffi::ASYNC_unblock_pause() };
        (blocked, suspend(async { 1 }))
    });
    assert_eq!(answers, (Err::<(), _>(SuspendError::PauseBlocked), Ok(1)));
}

#[test]
fn a_thread_that_unwinds_does_not_pause() {
    struct SuspendsOnDrop(Rc<Cell<Option<Result<(), SuspendError>>>>);
    impl Drop for SuspendsOnDrop {
        fn drop(&mut self) {
            self.0.set(Some(suspend(yield_once())));
        }
    }
    in_a_job(|| {
        let answer = Rc::new(Cell::new(None));
        let suspends = SuspendsOnDrop(Rc::clone(&answer));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _suspends = suspends;
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        assert_eq!(answer.get(), Some(Err(SuspendError::PauseBlocked)));
        assert_eq!(suspend(yield_once()), Ok(()));
    });
}

#[test]
fn a_job_whose_owner_is_dropped_is_cancelled_and_stays_so() {
    on_a_new_thread(|| {
        let answers = Rc::new(RefCell::new(Vec::new()));
        let (tell, gate, held) = (Rc::clone(&answers), Gate::new(), Rc::new(()));
        let (wait, holds) = (gate.wait(), Rc::clone(&held));
        let mut tasks = Executor::new();
        let id = tasks.spawn(Job::new(move || {
            let first = suspend(async move {
                let _holds = holds;
                wait.await
            });
            tell.borrow_mut().push(first);
            let second = suspend(async {});
            tell.borrow_mut().push(second);
        }));
        tasks.run();
        assert_eq!(*answers.borrow(), []);
        tasks.drop_task(id);
        // At once.
        let cancelled = Err(SuspendError::Cancelled);
        assert_eq!(*answers.borrow(), [cancelled, cancelled]);
        assert_eq!(Rc::strong_count(&held), 1);
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.finished), (0, 1));
    });
}
