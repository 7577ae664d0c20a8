//! What a completion callback and the job's owner share (H8): a flag and a waker, for one job after
//! the other.
//!
//! `models/` runs this file in the orders that threads can take, with loom.

use std::task::Waker;

use crate::job::waker::wake_quietly;
use crate::panics::quietly;
use crate::sync::{lock, AtomicU64, Mutex, Ordering};

pub(crate) struct Cell {
    /// The generation, and in the lowest bit whether its callback has come.
    state: AtomicU64,
    /// Taken out before it is called or dropped, as that is somebody's code.
    waker: Mutex<Option<Waker>>,
}

impl Cell {
    pub(crate) fn new() -> Cell {
        Cell {
            state: AtomicU64::new(0),
            waker: Mutex::new(None),
        }
    }

    /// The callback: the flag, if it is meant for this generation, and the waker. From any thread.
    #[cfg(any(ossl300, test))] // Before, there are none.
    pub(crate) fn complete(&self, is_meant: impl Fn(u64) -> bool) {
        let set = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                is_meant(state >> 1).then_some(state | 1)
            });
        if set.is_ok() {
            self.call();
        }
    }

    /// The waker only. From any thread.
    pub(crate) fn wake(&self, is_meant: impl Fn(u64) -> bool) {
        if is_meant(self.state.load(Ordering::Acquire) >> 1) {
            self.call();
        }
    }

    fn call(&self) {
        // In a statement of its own: the lock is released before the waker is called, which may poll the
        // job there and then, and so register again.
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            wake_quietly(|| waker.wake());
        }
    }

    /// Ends a generation, and begins the next one.
    pub(crate) fn next(&self) -> u64 {
        // Two a step: the lowest bit is the flag, cleared here.
        let before = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                Some((state | 1) + 1)
            });
        (before.unwrap_or_else(|state| state) >> 1) + 1
    }

    /// For the owner, who makes the generations.
    pub(crate) fn generation(&self) -> u64 {
        self.state.load(Ordering::Relaxed) >> 1
    }

    /// Whether the callback has come since this was asked last.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        // The usual answer without a locked instruction.
        self.state.load(Ordering::Acquire) & 1 == 1
            && self.state.fetch_and(!1, Ordering::AcqRel) & 1 == 1
    }

    /// Whom to wake. Ask whether the callback has come after it.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let former = lock(&self.waker).replace(waker);
        quietly(|| drop(former));
    }

    pub(crate) fn unregister(&self) {
        let former = lock(&self.waker).take();
        quietly(|| drop(former));
    }
}
