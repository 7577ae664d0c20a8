//! A waker that a test waits for, together with wait fds.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Wake, Waker};

use openssl_async_jobs::Connection;

use crate::tls::{interest, wait};

/// Says whether its waker has been called.
pub struct Woken(OwnedFd);

impl Woken {
    /// One whose waker has not been called.
    pub fn new() -> Arc<Woken> {
        // SAFETY: eventfd(2) takes a number and flags.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        assert!(fd >= 0, "eventfd: {}", io::Error::last_os_error());
        // SAFETY: eventfd(2) has just made it for us.
        Arc::new(Woken(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The waker.
    pub fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Whether the waker has been called since this was asked last.
    pub fn take(&self) -> bool {
        let mut times = 0_u64;
        // SAFETY: read(2) is given the eight bytes that an eventfd answers.
        let len = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut times).cast(), 8) };
        len == 8
    }

    /// Waits until the waker has been called, or one of the fds is readable: panics if nothing
    /// comes.
    pub fn wait(&self, fds: &[RawFd]) {
        let all = fds.iter().copied().chain([self.0.as_raw_fd()]);
        let mut polls: Vec<libc::pollfd> = all.map(|fd| interest(fd, libc::POLLIN)).collect();
        wait(&mut polls);
    }

    /// Waits until the connection's operation in flight can go on.
    pub fn wait_for(&self, connection: &Connection) {
        let mut fds = Vec::new();
        connection.wait_fds(&mut fds);
        self.wait(&fds);
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let one = 1_u64;
        // SAFETY: write(2) is given eight bytes, and the descriptor is open as long as `self` is.
        let len = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
        assert_eq!(len, 8, "eventfd: {}", io::Error::last_os_error());
    }
}
