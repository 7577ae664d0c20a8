//! Streams for tokio, and job threads.

#[path = "../common/mod.rs"]
mod common;

mod ends;
mod job_threads;
mod streams;
mod wait_fds;
