//! Which core a thread runs on, and what it has used.

use std::io;
use std::time::{Duration, Instant};

use crate::allocations;

/// Keeps this thread, and those that it starts, on a core. On a machine with fewer cores it stays
/// where it is.
pub fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    // SAFETY: a set of bits, for which all zeros is a value; `core` is within it (CPU_SETSIZE).
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % libc::CPU_SETSIZE as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) != 0
    };
    if failed {
        eprintln!("not pinned to core {core}: {}", io::Error::last_os_error());
    }
}

/// What this thread has used, up to a moment or between two.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub at: Instant,
    pub cpu: Duration,
    pub allocations: u64,
}

impl Usage {
    pub fn now() -> Usage {
        Usage {
            at: Instant::now(),
            cpu: clock(libc::CLOCK_THREAD_CPUTIME_ID),
            allocations: allocations::count(),
        }
    }

    /// From `self` until now: wall-clock seconds, CPU seconds, allocations.
    pub fn spent(&self) -> Spent {
        let now = Usage::now();
        Spent {
            wall: (now.at - self.at).as_secs_f64(),
            cpu: (now.cpu - self.cpu).as_secs_f64(),
            allocations: (now.allocations - self.allocations) as f64,
        }
    }
}

/// What was used between two moments, in seconds and in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub wall: f64,
    pub cpu: f64,
    pub allocations: f64,
}

/// The CPU time of one call in seconds, of `times` after some to get warm: what else runs on the
/// machine counts little.
pub fn of_one(times: usize, mut one: impl FnMut()) -> f64 {
    (0..=times / 10).for_each(|_| one());
    let before = Usage::now();
    (0..times).for_each(|_| one());
    before.spent().cpu / times.max(1) as f64
}

/// The CPU time of this process, of all its threads.
pub fn process_cpu() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the answer.
    let ret = unsafe { libc::clock_gettime(id, &mut time) };
    assert_eq!(ret, 0, "a clock that Linux has");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
