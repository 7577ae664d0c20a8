//! Streams for tokio, and job threads.

#[path = "../common/mod.rs"]
mod common;

mod always;
mod at_random;
mod at_random_tasks;
mod callback;
mod coalesced;
mod drop_futures;
mod drop_streams;
mod each;
#[cfg(ossl111)]
mod early_data;
mod ends;
mod evidence;
mod held;
mod held_up;
mod hostile;
mod hostile_peers;
mod job_threads;
mod left_runtimes;
mod like_tokio_openssl;
mod pinned;
mod polled;
mod proxy;
mod renegotiation;
mod runtimes;
mod slow_transports;
mod streams;
mod talk;
mod threads_drop;
mod threads_drop_run;
mod threads_end;
mod threads_hostile;
mod threads_join;
mod threads_run;
mod threads_runtimes;
mod thrift;
#[cfg(ossl111)]
mod tickets;
mod vectored;
mod wait_fds;
mod wakers;
mod wire;
