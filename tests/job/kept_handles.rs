//! Handles of jobs and wait contexts that are kept and used in others, ours and C's.

use std::cell::RefCell;
use std::future::Future;
use std::ptr;
use std::rc::Rc;

use libc::{c_int, c_void};
use openssl_async_jobs::{
    ffi, suspend, CurrentJob, Error, Job, SuspendError, WaitContextRef, WaitKey,
};

use crate::common::executor::quiet_waker;

type Run = Box<dyn FnOnce()>;

unsafe extern "C" fn enter(arg: *mut c_void) -> c_int {
    // SAFETY: as passed below.
    let run = unsafe { Box::from_raw(arg.cast::<*mut Run>().read()) };
    run();
    1
}

/// A job of C's, from its start to its end: how often it paused.
fn in_c(run: impl FnOnce() + 'static) -> usize {
    // SAFETY: a job without a job, with all it needs until its end.
    unsafe {
        let context = ffi::ASYNC_WAIT_CTX_new();
        let run: Run = Box::new(run);
        let mut arg: *mut Run = Box::into_raw(Box::new(run));
        let (mut job, mut ret, mut pauses) = (ptr::null_mut(), 0, 0);
        loop {
            let args = ptr::from_mut(&mut arg).cast();
            let size = size_of::<*mut Run>();
            match ffi::ASYNC_start_job(&mut job, context, &mut ret, Some(enter), args, size) {
                ffi::ASYNC_PAUSE => pauses += 1,
                ffi::ASYNC_FINISH => break,
                other => panic!("{other}"),
            }
        }
        ffi::ASYNC_WAIT_CTX_free(context);
        pauses
    }
}

thread_local! {
    /// They live as long as the test's thread.
    static ALL: RefCell<Vec<Rc<CurrentJob>>> = const { RefCell::new(Vec::new()) };
}

fn keep() -> &'static CurrentJob {
    let job = Rc::new(CurrentJob::get().unwrap());
    let kept = Rc::as_ptr(&job);
    ALL.with_borrow_mut(|all| all.push(job));
    // SAFETY: used on this thread only, before its thread-locals go.
    unsafe { &*kept }
}

fn refused(job: &CurrentJob) {
    assert!(matches!(job.wait_context(), Err(Error::NotInJob)));
    assert!(matches!(job.pause(), Err(Error::NotInJob)));
}

type Kept = (&'static CurrentJob, WaitContextRef<'static>);

#[test]
fn handles_that_are_kept_are_of_their_job_only() {
    thread_local!(static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) });
    static KEY: WaitKey = WaitKey::new();
    let keep_both = || {
        let job = keep();
        let context = job.wait_context().unwrap();
        job.pause().unwrap();
        assert!(context.all_fds().unwrap().is_empty());
        KEPT.set(Some((job, context)));
    };
    let check = || {
        let kept = KEPT.take();
        let (job, context) = kept.as_ref().unwrap();
        refused(job);
        assert!(matches!(context.all_fds(), Err(Error::NotInJob)));
        assert!(matches!(context.wait_fd(&KEY), Err(Error::NotInJob)));
        assert!(matches!(context.clear_fd(&KEY), Err(Error::NotInJob)));
        KEPT.set(kept);
    };
    // Ours, in another of ours; in C's; outside.
    Job::new(keep_both).block_on(None).unwrap();
    check();
    Job::new(check).block_on(None).unwrap();
    in_c(check);
    // C's, in ours.
    assert_eq!(in_c(keep_both), 1);
    check();
    Job::new(check).block_on(None).unwrap();
    // Ours, in one inside C's, and the other way round.
    in_c(move || {
        let outer = keep();
        Job::new(move || {
            outer.wait_context().unwrap();
            outer.pause().unwrap();
            assert_eq!(suspend(async {}), Err(SuspendError::NotInJob));
        })
        .block_on(None)
        .unwrap();
    });
    Job::new(move || {
        let outer = keep();
        Job::new(move || outer.pause().unwrap())
            .block_on(None)
            .unwrap();
        // A parked future is polled outside.
        suspend(async move { refused(outer) }).unwrap();
        outer.pause().unwrap();
    })
    .block_on(None)
    .unwrap();
}

#[test]
fn two_that_are_paused_know_their_own() {
    let make = || {
        Box::pin(Job::new(|| {
            let job = CurrentJob::get().unwrap();
            for _ in 0..20 {
                assert!(job.wait_context().unwrap().all_fds().unwrap().is_empty());
                suspend(async { yield_once().await }).unwrap();
                job.pause().unwrap();
            }
        }))
    };
    let (mut a, mut b) = (make(), make());
    let waker = quiet_waker();
    let mut cx = std::task::Context::from_waker(&waker);
    let (mut x, mut y) = (false, false);
    while !(x && y) {
        x = x || a.as_mut().poll(&mut cx).is_ready();
        y = y || b.as_mut().poll(&mut cx).is_ready();
        assert!(CurrentJob::get().is_none());
    }
}

async fn yield_once() {
    let mut first = true;
    std::future::poll_fn(|cx| {
        if std::mem::take(&mut first) {
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(())
    })
    .await
}
