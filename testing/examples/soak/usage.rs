//! What the process has: file descriptors, threads, resident memory.

use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How much more memory may be resident at the end than at the start, in KiB: what the allocator
/// keeps, of which there is more after more rounds.
pub const TOLERANCE: usize = 16 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    fds: usize,
    threads: usize,
    /// In KiB.
    resident: usize,
}

impl Usage {
    pub fn now() -> Usage {
        // What is free and not given back is not in use.
        #[cfg(target_env = "gnu")]
        // SAFETY: a number; from any thread.
        unsafe {
            libc::malloc_trim(0)
        };
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).expect(name)
        };
        Usage {
            // Without that of the directory itself.
            fds: fs::read_dir("/proc/self/fd").expect("Linux").count() - 1,
            threads: number("Threads:"),
            resident: number("VmRSS:"),
        }
    }

    /// After the first round: with the threads of before, and the two that stay, the engine's device
    /// and the crate's for wait fds.
    pub fn warm(before: &Usage) -> Usage {
        Usage::when(|now| now.threads == before.threads + 2)
    }

    pub fn settled(start: &Usage) -> Usage {
        Usage::when(|now| (now.fds, now.threads) == (start.fds, start.threads))
    }

    /// When threads that were told to end have ended: the runtime does not say so.
    fn when(is_so: impl Fn(&Usage) -> bool) -> Usage {
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let now = Usage::now();
            if is_so(&now) || Instant::now() > patience {
                return now;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn assert_counts(&self, end: &Usage) {
        let counts = |usage: &Usage| (usage.fds, usage.threads);
        assert_eq!(counts(self), counts(end), "file descriptors and threads");
    }

    pub fn assert_memory(&self, end: &Usage) {
        let more = end.resident.saturating_sub(self.resident);
        assert!(more <= TOLERANCE, "{more} KiB more are resident");
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage {
            fds,
            threads,
            resident,
        } = self;
        write!(f, "{fds} fds, {threads} threads, {resident} KiB resident")
    }
}
