//! What fails: OpenSSL's allocations, and what the system is asked for. An error each time, or an
//! operation that runs all the same; never a crash, a hang or a leak.
//!
//! Each test is a process of its own: what is refused there stays refused.

#[path = "../common/mod.rs"]
mod common;
#[cfg(all(target_os = "linux", feature = "tokio"))]
mod job_threads;
mod malloc;
#[cfg(target_os = "linux")]
mod resources;
mod written;
