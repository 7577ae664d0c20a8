//! A round: everything at once, and then nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use openssl_async_jobs::JobPool;

use crate::{blocking, device, local, pooled};

/// A number that threads add to.
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Count {
        Count(AtomicU64::new(0))
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// What happens in a round.
pub struct Counts {
    pub connections: Count,
    pub closures: Count,
    pub pauses: Count,
    pub nevers: Count,
    pub resets: Count,
    /// Of ends: those that came to a good end, gave up, or failed as the other one had.
    pub finished: Count,
    pub given_up: Count,
    pub failed: Count,
}

pub static COUNTS: Counts = Counts {
    connections: Count::new(),
    closures: Count::new(),
    pauses: Count::new(),
    nevers: Count::new(),
    resets: Count::new(),
    finished: Count::new(),
    given_up: Count::new(),
    failed: Count::new(),
};

/// Threads that wait for the release at the end of a round: the local one, the pooled one, and two
/// for std.
const GROUPS: usize = 4;

#[derive(Default)]
pub struct Figures {
    numbers: [u64; 10],
}

const NAMES: [&str; 10] = [
    "connections",
    "closures",
    "ends finished",
    "given up",
    "failed with the peer",
    "resets",
    "pauses",
    "never completed",
    "jobs",
    "reaped",
];

pub fn run(seed: u64, time: Duration) -> Figures {
    let end = Instant::now() + time;
    let released = Arc::new(Barrier::new(GROUPS + 1));
    let groups = [local::round, pooled::round, blocking::round].map(|round| {
        let released = Arc::clone(&released);
        thread::spawn(move || {
            // A group that panics would leave the others waiting for ever.
            let all = std::panic::AssertUnwindSafe(|| round(seed, end, released));
            std::panic::catch_unwind(all).unwrap_or_else(|_| std::process::exit(1))
        })
    });
    // All are at their end but for what never completes.
    released.wait();
    let held = device::release() as u64;
    released.wait();
    let stats = groups.map(|group| group.join().expect("no panic"));
    assert_eq!(JobPool::stats().leaked, 0, "jobs were leaked");
    let nevers = COUNTS.nevers.take();
    assert_eq!(held, nevers);
    Figures {
        numbers: [
            COUNTS.connections.take(),
            COUNTS.closures.take(),
            COUNTS.finished.take(),
            COUNTS.given_up.take(),
            COUNTS.failed.take(),
            COUNTS.resets.take(),
            COUNTS.pauses.take(),
            nevers,
            stats.iter().map(|stats| stats.finished).sum(),
            stats.iter().map(|stats| stats.reaped).sum(),
        ],
    }
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        let all = self.numbers.iter_mut().zip(other.numbers);
        all.for_each(|(sum, number)| *sum += number);
    }

    pub fn print(&self, of: &str) {
        let numbers = self.numbers.iter().zip(NAMES);
        let numbers: Vec<String> = numbers.map(|(n, name)| format!("{n} {name}")).collect();
        println!("{of}: {}", numbers.join(", "));
    }
}
