//! The stacks that jobs run on (H4): guarded, mapped, and kept by the thread for its next jobs.

use std::io;
use std::ops::Range;

use corosensei::stack::{DefaultStack, Stack, StackPointer};

/// What a job gets unless the pool's builder says otherwise, in bytes, without the guard page.
pub(crate) const DEFAULT_SIZE: usize = 256 * 1024;
/// Less would not hold libssl and a callback.
pub(crate) const MIN_SIZE: usize = 32 * 1024;
/// More is a mistake: a job for each connection has one.
pub(crate) const MAX_SIZE: usize = 1 << 30;

/// Below a stack, in bytes. The library's guard of one page is enough for Rust, which probes each
/// page of a large frame; C need not, and libcrypto has frames of several pages.
const GUARD: usize = 64 * 1024;

/// A stack with a guard below it.
pub(crate) struct JobStack(DefaultStack);

impl JobStack {
    pub(crate) fn new(size: usize) -> io::Result<JobStack> {
        let stack = DefaultStack::new(size + GUARD)?;
        // SAFETY: the lowest pages of a mapping of our own, that nothing is on yet; the page that
        // is the library's guard is among them, and as many as that are left.
        match unsafe { libc::mprotect(stack.limit().get() as *mut _, GUARD, libc::PROT_NONE) } {
            0 => Ok(JobStack(stack)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The addresses of what may be on it, guard and all.
    #[inline]
    pub(crate) fn range(&self) -> Range<usize> {
        self.0.limit().get()..self.0.base().get()
    }

    /// The stack as `corosensei::on_stack` wants it, while its owner keeps it.
    #[inline]
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            base: self.0.base(),
            limit: self.0.limit(),
        }
    }
}

/// Where a [`JobStack`] is.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: a `JobStack`'s, which has a guard page and is larger than the minimum (H4). It is alive:
// the job that runs on it owns it.
unsafe impl Stack for Bounds {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}
