//! Wakers are somebody's code: what this crate calls of them, and one that does nothing.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::panics::{forget_panic, quietly};

/// Calls a waker for somebody else than its owner: for C, for the thread that watches wait fds, for
/// a job that has ended. Its panic is nobody's of them (H10).
pub(crate) fn wake_quietly(wake: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(wake)) {
        forget_panic(payload);
        quietly(|| log::error!("a waker panicked"));
    }
}

/// A waker that does nothing, for looking without waiting.
pub(crate) fn noop_waker() -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW, |_| {}, |_| {}, |_| {});
    const RAW: RawWaker = RawWaker::new(std::ptr::null(), &VTABLE);
    // SAFETY: none of its functions does anything.
    unsafe { Waker::from_raw(RAW) }
}
