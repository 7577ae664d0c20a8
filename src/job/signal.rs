//! How a waker interrupts a thread that waits in poll(2), and costs nothing while it does not wait.
//!
//! `models/` runs this file in the orders that threads can take, with loom.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

use crate::job::wake_fd::WakeFd;
use crate::sync::{AtomicBool, Ordering};

pub(crate) struct Signal {
    woken: AtomicBool,
    /// Whether the thread is in poll(2), or about to be: only then that must be interrupted.
    asleep: AtomicBool,
    interrupt: WakeFd,
}

impl Signal {
    pub(crate) fn new() -> io::Result<Signal> {
        Ok(Signal {
            woken: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            interrupt: WakeFd::new()?,
        })
    }

    /// What came before is forgotten.
    pub(crate) fn reset(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// The thread is about to wait for [`as_raw_fd`](Self::as_raw_fd) being readable. False if it
    /// need not, as it was woken: said once.
    pub(crate) fn falls_asleep(&self) -> bool {
        // Said before it is asked, so that no waker misses it. (A store would do; of a swap loom knows
        // that what is before it is over.)
        self.asleep.swap(true, Ordering::SeqCst);
        let woken = self.woken.swap(false, Ordering::SeqCst);
        if woken {
            self.is_awake();
        }
        !woken
    }

    /// It does not wait any more.
    pub(crate) fn is_awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// After it was readable.
    pub(crate) fn clear(&self) {
        self.interrupt.clear();
    }
}

#[cfg(test)]
#[allow(dead_code)] // For models/.
impl Signal {
    pub(crate) fn wake_fd(&self) -> &WakeFd {
        &self.interrupt
    }
}

impl AsRawFd for Signal {
    fn as_raw_fd(&self) -> RawFd {
        self.interrupt.as_raw_fd()
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A swap, so that who sees the last waker's sees what the others have done before, too.
        self.woken.swap(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            self.interrupt.set();
        }
    }
}
