//! A job from start to end, here and in C.

use std::future::Future;
use std::pin::{pin, Pin};
use std::ptr;
use std::task::{Context, Poll, Waker};

use libc::{c_int, c_void};
use openssl_async_jobs::{ffi, suspend, CurrentJob, Job};

/// The C calls, with a wait context that goes from job to job.
pub struct InC {
    wait_context: *mut ffi::ASYNC_WAIT_CTX,
    /// Whether OpenSSL is asked what it is asked here each time.
    asks: bool,
}

unsafe extern "C" fn pauses(times: *mut c_void) -> c_int {
    // SAFETY: OpenSSL's copy of what `run` passed.
    for _ in 0..unsafe { times.cast::<usize>().read() } {
        // SAFETY: in a job.
        unsafe { ffi::ASYNC_pause_job() };
    }
    1
}

impl InC {
    pub fn new(asks: bool) -> InC {
        // SAFETY: takes nothing.
        let wait_context = unsafe { ffi::ASYNC_WAIT_CTX_new() };
        assert!(!wait_context.is_null(), "memory for a wait context");
        InC { wait_context, asks }
    }

    /// A job that pauses so many times.
    pub fn run(&self, mut pauses_left: usize) {
        let (mut job, mut ret) = (ptr::null_mut(), 0);
        loop {
            if self.asks {
                // SAFETY: at any time, on any thread.
                let busy = unsafe {
                    !ffi::ASYNC_get_current_job().is_null()
                        || openssl_sys::ERR_peek_last_error() != 0
                };
                assert!(!busy, "in a job, or with errors");
            }
            // SAFETY: one thread; the wait context lives as long as `self`; OpenSSL copies the
            // argument when the job starts.
            let outcome = unsafe {
                ffi::ASYNC_start_job(
                    &mut job,
                    self.wait_context,
                    &mut ret,
                    Some(pauses),
                    ptr::from_mut(&mut pauses_left).cast(),
                    size_of::<usize>(),
                )
            };
            match outcome {
                ffi::ASYNC_PAUSE if self.asks => {
                    // SAFETY: as above.
                    assert_eq!(unsafe { openssl_sys::ERR_peek_last_error() }, 0);
                }
                ffi::ASYNC_PAUSE => {}
                ffi::ASYNC_FINISH => return,
                other => panic!("ASYNC_start_job answers {other}"),
            }
        }
    }
}

impl Drop for InC {
    fn drop(&mut self) {
        // SAFETY: no job has it any more.
        unsafe { ffi::ASYNC_WAIT_CTX_free(self.wait_context) };
    }
}

/// A job here, polled until it is ready.
pub fn run(closure: impl FnOnce() + 'static) {
    let mut job = pin!(Job::new(closure));
    let mut cx = Context::from_waker(Waker::noop());
    while job.as_mut().poll(&mut cx).is_pending() {}
}

/// Suspends so many times, each time on a future that is ready at the next poll.
pub fn suspends(times: usize) -> impl FnOnce() {
    move || {
        for _ in 0..times {
            suspend(Once(false)).expect("in a job");
        }
    }
}

/// Likewise, as an engine pauses that leaves nothing to wait for.
pub fn pauses_itself(times: usize) -> impl FnOnce() {
    move || {
        for _ in 0..times {
            let job = CurrentJob::get().expect("in a job");
            job.pause().expect("it may pause");
        }
    }
}

struct Once(bool);

impl Future for Once {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
