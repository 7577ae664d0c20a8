//! Wait fds in somebody's reactor, for the pauses of one job (H9).
//!
//! It is duplicates that are registered. They stay from pause to pause, and go when the engine has
//! deleted its own from the wait context, and before that is freed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll};

use crate::job::wait_set::{is_ready, poll, readable, WaitSet};

/// A file descriptor that a reactor watches as long as this is there.
pub(crate) trait Registration {
    /// Ready if `is_readable` says so once the reactor has told; else the waker is called when it
    /// may. An error: the reactor does not watch it any more, or is not the caller's.
    fn poll_readable(
        &self,
        cx: &mut Context<'_>,
        is_readable: &dyn Fn() -> bool,
    ) -> Poll<io::Result<()>>;
}

/// Registers a file descriptor with the caller's reactor.
pub(crate) type Register = fn(OwnedFd) -> io::Result<Box<dyn Registration>>;

/// The wait fds of a job that are registered.
#[derive(Default)]
pub(crate) struct Registrations {
    registered: Vec<(RawFd, Box<dyn Registration>)>,
}

impl Registrations {
    /// Has the waker called when one of the wait fds is readable.
    pub(crate) fn watch(
        &mut self,
        wait_set: &WaitSet,
        register: Register,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let mut fds = Vec::with_capacity(wait_set.count());
        wait_set.extend(&mut fds);
        for fd in fds {
            self.watch_one(fd, register, cx)?;
        }
        Ok(())
    }

    fn watch_one(&mut self, fd: RawFd, register: Register, cx: &mut Context<'_>) -> io::Result<()> {
        if fd < 0 {
            // No descriptor, whatever its engine says.
            return Ok(());
        }
        let is_readable = || is_readable(fd);
        if let Some(known) = self.registered.iter().position(|(number, _)| *number == fd) {
            match self.registered[known].1.poll_readable(cx, &is_readable) {
                Poll::Ready(Err(_)) => drop(self.registered.swap_remove(known)),
                Poll::Ready(Ok(())) => return wake(cx),
                Poll::Pending => return Ok(()),
            }
        }
        // SAFETY: the engine keeps it open while it is registered in the wait context (H9); should
        // it not, the call fails, or duplicates what has its number now, and a wake-up too many
        // comes of it.
        let duplicate = match unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned() {
            // Its engine has closed it, and has another way to say that it is done.
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => return Ok(()),
            duplicate => duplicate?,
        };
        let registration = register(duplicate)?;
        let polled = registration.poll_readable(cx, &is_readable);
        self.registered.push((fd, registration));
        match polled {
            Poll::Ready(Ok(())) => wake(cx),
            Poll::Ready(Err(e)) => Err(e),
            Poll::Pending => Ok(()),
        }
    }

    /// After a pause: forgets what the engine has deleted since the one before. A new one may have
    /// the same number.
    #[inline]
    pub(crate) fn follow(&mut self, wait_set: &WaitSet) {
        if !self.registered.is_empty() {
            let deleted = wait_set.deleted();
            self.registered.retain(|(fd, _)| !deleted.contains(fd));
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        if !self.registered.is_empty() {
            self.registered.clear();
        }
    }
}

/// It is the next poll that finds the evidence.
fn wake(cx: &mut Context<'_>) -> io::Result<()> {
    cx.waker().wake_by_ref();
    Ok(())
}

/// Seen with poll(2): what a reactor knows may be of the past.
fn is_readable(fd: RawFd) -> bool {
    let mut polled = [readable(fd)];
    poll(&mut polled, 0).is_ok() && is_ready(&polled[0])
}
