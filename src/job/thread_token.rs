//! Which thread of which process this is (H1, H14).

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Once;

use crate::job::thread::with;

/// A thread of a process: the one that a job was made on, and must go on on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadToken {
    /// Each thread's own, never used again.
    thread: u64,
    /// How often this process, and those that it came from, have been the child of a fork.
    forks: u64,
}

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How often this process, and those that it came from, have been the child of a fork, since the
/// first job.
#[inline]
pub(crate) fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// [`forks`], and from now on at the latest they are counted.
#[cfg(feature = "tokio")]
pub(crate) fn count_forks() -> u64 {
    ThreadToken::watch_forks();
    forks()
}

impl ThreadToken {
    // Not inlined: after a pause in the same function the compiler may go on with the thread-local's
    // address that it had before.
    #[inline(never)]
    pub(crate) fn current() -> ThreadToken {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ThreadToken::watch_forks();
        ThreadToken {
            thread: with(|local| match local.id.get() {
                0 => {
                    local.id.set(NEXT.fetch_add(1, Ordering::Relaxed));
                    local.id.get()
                }
                id => id,
            }),
            forks: forks(),
        }
    }

    /// Whether it is this thread's; for an owner, who does not pause meanwhile.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        with(|local| local.id.get() == self.thread) && forks() == self.forks
    }

    /// Counts the forks of this process from now on.
    pub(super) fn watch_forks() {
        extern "C" fn in_the_child() {
            FORKS.fetch_add(1, Ordering::Relaxed);
        }
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the handler does what is allowed in a child. Without memory for it, forks are
            // not noticed.
            unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
        });
    }
}

/// For a fibre that goes on after a pause: on another thread nothing on its stack may be touched,
/// not even to unwind.
// Not inlined: see `current`.
#[inline(never)]
pub(crate) fn abort_if_moved(before: ThreadToken) {
    if !before.is_current() {
        abort_as_moved();
    }
}

#[cold]
fn abort_as_moved() -> ! {
    // Not `eprintln`, which panics if nobody reads it, and would unwind here.
    let _ = std::io::stderr().write_all(
        b"openssl-async-jobs: a paused job was resumed on another thread, or in another \
          process, than the one that started it\n",
    );
    std::process::abort();
}
