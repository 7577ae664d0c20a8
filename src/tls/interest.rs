//! What a stream waits for, for somebody's poller.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use crate::job::poll;

/// What an operation that answered `WouldBlock` waits for: any of it. Nothing, if the next call
/// need not wait.
///
/// ```
/// use openssl_async_jobs::Interest;
///
/// let nothing = Interest::default();
/// assert!(!nothing.readable && !nothing.writable && nothing.fds.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interest {
    /// That the transport is readable.
    pub readable: bool,
    /// That the transport is writable.
    pub writable: bool,
    /// That one of these file descriptors is readable: they belong to the stream or to an engine,
    /// may be others after the next call, and are only to be polled (H9).
    pub fds: Vec<RawFd>,
}

impl Interest {
    fn is_empty(&self) -> bool {
        !self.readable && !self.writable && self.fds.is_empty()
    }

    /// Waits with poll(2): false when the time-out is over.
    pub(crate) fn wait(
        &self,
        transport: BorrowedFd<'_>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        if self.is_empty() {
            return Ok(true);
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut events = 0;
        if self.readable {
            events |= libc::POLLIN;
        }
        if self.writable {
            events |= libc::POLLOUT;
        }
        // Without events even a hang-up would be told.
        let transport = (events != 0).then(|| pollfd(transport.as_raw_fd(), events));
        let fds = self.fds.iter().map(|fd| pollfd(*fd, libc::POLLIN));
        let mut polls: Vec<libc::pollfd> = transport.into_iter().chain(fds).collect();
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let millis = left.map_or(-1, |left| {
                libc::c_int::try_from(left.as_nanos().div_ceil(1_000_000))
                    .unwrap_or(libc::c_int::MAX)
            });
            if poll(&mut polls, millis)? > 0 {
                return Ok(true);
            }
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
        }
    }
}

fn pollfd(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}
