//! A closure as a job, through `ASYNC_start_job` itself.

use std::any::Any;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr;

use libc::{c_int, c_void};
use openssl_async_jobs::ffi;

/// A wait context of the test's own.
pub struct WaitContext(*mut ffi::ASYNC_WAIT_CTX);

impl WaitContext {
    pub fn new() -> WaitContext {
        // SAFETY: takes nothing.
        let context = unsafe { ffi::ASYNC_WAIT_CTX_new() };
        assert!(!context.is_null());
        WaitContext(context)
    }

    /// What C calls no wait context.
    pub fn null() -> WaitContext {
        WaitContext(ptr::null_mut())
    }

    pub fn as_ptr(&self) -> *mut ffi::ASYNC_WAIT_CTX {
        self.0
    }
}

impl Drop for WaitContext {
    fn drop(&mut self) {
        // SAFETY: made by `new`, or null; the test's jobs on it have finished.
        unsafe { ffi::ASYNC_WAIT_CTX_free(self.0) };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    NoJobs,
    Paused,
    Finished,
}

type Closure = Box<dyn FnOnce()>;

/// A closure that [`Job::run`] starts, and resumes while it pauses.
pub struct Job<'a> {
    job: *mut ffi::ASYNC_JOB,
    context: &'a WaitContext,
    closure: *mut Running,
}

struct Running {
    closure: Option<Closure>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<'a> Job<'a> {
    pub fn new(context: &'a WaitContext, closure: impl FnOnce() + 'static) -> Job<'a> {
        Job {
            job: ptr::null_mut(),
            context,
            closure: Box::into_raw(Box::new(Running {
                closure: Some(Box::new(closure)),
                panic: None,
            })),
        }
    }

    /// Starts or resumes it; raises what it panicked with.
    pub fn run(&mut self) -> Outcome {
        openssl::init();
        let mut ret = 0;
        let mut arg: *mut c_void = self.closure.cast();
        // SAFETY: `call` takes the pointer that C copies out of `arg`; it stays valid until the
        // job has finished, and jobs are run on the test's thread.
        let outcome = unsafe {
            ffi::ASYNC_start_job(
                &mut self.job,
                self.context.as_ptr(),
                &mut ret,
                Some(call),
                ptr::from_mut(&mut arg).cast(),
                size_of::<*mut c_void>(),
            )
        };
        // SAFETY: the job is not running now.
        let panic = unsafe { (*self.closure).panic.take() };
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        match outcome {
            ffi::ASYNC_NO_JOBS => Outcome::NoJobs,
            ffi::ASYNC_PAUSE => Outcome::Paused,
            ffi::ASYNC_FINISH => {
                assert_eq!(ret, 7, "the value that `call` returns");
                Outcome::Finished
            }
            other => panic!("ASYNC_start_job answered {other}"),
        }
    }

    /// Runs it to its end.
    pub fn finish(mut self) {
        while self.run() != Outcome::Finished {}
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        if self.job.is_null() {
            // SAFETY: `new` made it; no job has it any more.
            drop(unsafe { Box::from_raw(self.closure) });
        } else {
            assert!(std::thread::panicking(), "a test dropped a paused job");
        }
    }
}

unsafe extern "C" fn call(arg: *mut c_void) -> c_int {
    // SAFETY: `Job::run` passed a copy of its pointer, whose target it does not touch meanwhile.
    let running: *mut Running = unsafe { *arg.cast::<*mut Running>() };
    // SAFETY: likewise.
    let closure = unsafe { (*running).closure.take() }.expect("a job runs once");
    if let Err(panic) = catch_unwind(AssertUnwindSafe(closure)) {
        // SAFETY: likewise.
        unsafe { (*running).panic = Some(panic) };
    }
    7
}
