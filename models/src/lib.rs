//! What threads share in openssl-async-jobs, in the orders that they can take: the crate's own
//! files, with loom's atomics and locks in the place of std's (`crate::sync`), and an eventfd that
//! loom knows.
//!
//! `cargo test --manifest-path models/Cargo.toml` runs them.
//!
//! What is modelled: the completion cell (a callback on one thread, its owner on another), the
//! wake-up of a thread that sleeps in poll(2), the file descriptor behind it, and the waker that is
//! several ones. Not: the queue of who
//! waits for a job, which is a thread's own; the queue of a job thread, which is tokio's; the table of
//! cells, of which each entry is written once; and the map of the poller's thread, which is one mutex.

#[cfg(test)]
mod counted;
mod job;
#[path = "../../src/panics.rs"]
mod panics;
mod sync;
mod tls;
