//! Servers and clients that do everything at random, for as long as one likes; at the end all that
//! was there at the beginning is there, and nothing else.
//!
//!     scripts/soak [SECONDS] [SEED]
//!
//! It runs in rounds. A round starts a thread with local tasks, a runtime with job threads, and std
//! threads; pairs of a server and a client shake hands, transfer, half-close, cancel, time out and
//! reset, and their callbacks wait for a test engine that completes early, late, twice or never. At
//! its end what never completed does, and the jobs are drained. The first round warms up; after each
//! other one there are as many file descriptors and threads, and after the last one as much resident
//! memory (within `usage::TOLERANCE`).

#[path = "../../../tests/common/engine.rs"]
#[allow(dead_code)] // The soak uses its part.
mod engine;

mod blocking;
mod certificate;
mod device;
mod ends;
mod jobs;
mod local;
mod pausing;
mod plan;
mod pooled;
mod round;
mod session;
mod usage;

use std::time::{Duration, Instant};

use usage::Usage;

/// How long a round lasts at most.
const ROUND: Duration = Duration::from_secs(60);

fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| {
        arg.parse()
            .unwrap_or_else(|_| panic!("soak [SECONDS] [SEED]: {arg} is no number"))
    });
    let seconds: u64 = numbers.next().unwrap_or(600);
    let seed: u64 = numbers.next().unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_secs())
    });
    println!("seed {seed}, {seconds} s");
    let end = Instant::now() + Duration::from_secs(seconds);

    let before = Usage::now();
    let warm_up = Duration::from_secs(seconds.div_ceil(10).min(20));
    round::run(seed, warm_up).print("warm-up");
    let start = Usage::warm(&before);
    println!("start:   {start}");
    let mut total = round::Figures::default();
    for number in 1.. {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let figures = round::run(seed.wrapping_add(number), left.min(ROUND));
        figures.print(&format!("round {number}"));
        total.add(&figures);
        let now = Usage::settled(&start);
        println!("         {now}");
        start.assert_counts(&now);
    }
    let now = Usage::settled(&start);
    total.print("all");
    println!("end:     {now}");
    start.assert_counts(&now);
    start.assert_memory(&now);
    println!("nothing in flight, nothing leaked");
}
