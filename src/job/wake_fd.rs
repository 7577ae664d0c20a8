//! A file descriptor that a waker makes readable, for who waits with poll(2).
//!
//! `models/` runs this file in the orders that threads can take, with loom.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

use crate::job::event_fd::EventFd;
use crate::sync::{AtomicBool, Ordering};

/// Set by any thread, cleared by the one that waits.
pub(crate) struct WakeFd {
    fd: EventFd,
    /// Whether it is set: a second time costs no system call.
    set: AtomicBool,
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<WakeFd> {
        Ok(WakeFd {
            fd: EventFd::new()?,
            set: AtomicBool::new(false),
        })
    }

    pub(crate) fn set(&self) {
        if !self.set.swap(true, Ordering::SeqCst) {
            self.fd.write();
        }
    }

    /// Whether it was set. Look at what it stands for after this: what was set before is not seen
    /// again.
    pub(crate) fn clear(&self) -> bool {
        // Not there yet: who has set it is about to write, and it will be readable.
        let set = self.set.load(Ordering::SeqCst) && self.fd.read();
        if set {
            // After the reading: who finds it set in between writes nothing, and is seen below.
            // A swap, so that all that those who set it have done is seen; a store promises nothing.
            self.set.swap(false, Ordering::SeqCst);
        }
        set
    }
}

#[cfg(test)]
#[allow(dead_code)] // For models/.
impl WakeFd {
    pub(crate) fn event_fd(&self) -> &EventFd {
        &self.fd
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Wake for WakeFd {
    fn wake(self: Arc<Self>) {
        self.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set();
    }
}
