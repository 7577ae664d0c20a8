//! Threads of a test's own: pools and counts are a thread's.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

/// For `block_on`: what takes so long is stuck.
pub const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

/// Runs it on a thread that has had no job before; raises what it panics with.
pub fn on_a_new_thread<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(test)
        .join()
        .unwrap_or_else(|payload| resume_unwind(payload))
}

/// Carries to another thread what must not go there.
pub struct Smuggled<T>(T);

// SAFETY: it is not safe; that is what its users test (H1).
unsafe impl<T> Send for Smuggled<T> {}

impl<T> Smuggled<T> {
    pub fn new(value: T) -> Smuggled<T> {
        Smuggled(value)
    }

    pub fn into_inner(self) -> T {
        self.0
    }
}
