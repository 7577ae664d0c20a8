//! Streams for tokio, and job threads.

#[path = "../common/mod.rs"]
mod common;

mod callback;
mod drop_futures;
mod drop_streams;
mod ends;
mod held;
mod hostile_peers;
mod job_threads;
mod pinned;
mod streams;
mod talk;
mod threads_drop;
mod threads_drop_run;
mod threads_end;
mod threads_run;
mod threads_runtimes;
mod thrift;
mod wait_fds;
