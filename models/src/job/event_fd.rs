//! An eventfd(2) in the place of `src/job/event_fd.rs`, with the poll(2) that waits for it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use loom::sync::{Condvar, Mutex};

pub(crate) struct EventFd {
    count: Mutex<u64>,
    readable: Condvar,
}

impl EventFd {
    pub(crate) fn new() -> io::Result<EventFd> {
        Ok(EventFd {
            count: Mutex::new(0),
            readable: Condvar::new(),
        })
    }

    pub(crate) fn write(&self) {
        *self.count.lock().unwrap() += 1;
        self.readable.notify_all();
    }

    pub(crate) fn read(&self) -> bool {
        std::mem::take(&mut *self.count.lock().unwrap()) > 0
    }

    /// poll(2). A wake-up that is lost is a deadlock here, which loom reports.
    pub(crate) fn poll(&self) {
        let mut count = self.count.lock().unwrap();
        while *count == 0 {
            count = self.readable.wait(count).unwrap();
        }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        unreachable!("the model polls by itself")
    }
}
