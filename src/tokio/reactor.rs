//! Wait fds in the runtime's reactor (H9).

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::task::{ready, Context, Poll};

use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tokio::runtime::{Handle, Id};

use crate::job::Registration;
use crate::panics::forget_panic;

/// A duplicate of a wait fd.
struct InReactor {
    duplicate: AsyncFd<OwnedFd>,
    /// Whose reactor it is: if the task runs on another one by now, nobody may drive this.
    runtime: Id,
}

thread_local! {
    /// A runtime without a reactor, which was asked once.
    static WITHOUT: Cell<Option<Id>> = const { Cell::new(None) };
}

/// Registers with the reactor of the runtime that the caller runs on.
pub(crate) fn register(duplicate: OwnedFd) -> io::Result<Box<dyn Registration>> {
    let runtime = Handle::try_current().map_err(io::Error::other)?.id();
    // Below a panic is caught, which would end the process there: the crate's own thread watches.
    if cfg!(panic = "abort") || WITHOUT.get() == Some(runtime) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    // It panics if the runtime has none, and there is no asking before.
    let registered = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `AsyncFd::register` wants a descriptor that stays open, and the same, as long as
        // it is registered: it owns this one, which nobody else knows (H9).
        unsafe { AsyncFd::register_with_interest(duplicate, Interest::READABLE) }
    }));
    let duplicate = registered.map_err(|payload| {
        forget_panic(payload);
        WITHOUT.set(Some(runtime));
        io::Error::from(io::ErrorKind::Unsupported)
    })??;
    Ok(Box::new(InReactor { duplicate, runtime }))
}

impl Registration for InReactor {
    fn poll_readable(
        &self,
        cx: &mut Context<'_>,
        is_readable: &dyn Fn() -> bool,
    ) -> Poll<io::Result<()>> {
        if Handle::try_current().map_err(io::Error::other)?.id() != self.runtime {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        loop {
            let mut told = ready!(self.duplicate.poll_read_ready(cx))?;
            // After the guard: what comes from here on it does not clear.
            if is_readable() {
                return Poll::Ready(Ok(()));
            }
            told.clear_ready();
        }
    }
}
