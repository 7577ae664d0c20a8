//! Jobs: how they start, pause, go on and end, and what others may do to them meanwhile.
//!
//! What needs a process of its own is in `job_*.rs` beside this directory: what counts allocations, leaks
//! jobs, takes the process's logger, forks, or looks at what is mapped.

mod again;
mod callback;
#[path = "../common/mod.rs"]
mod common;
mod drop;
mod drop_races;
mod evidence;
mod kept_handles;
mod panic;
mod panic_clones;
mod panic_wakers;
mod pool;
mod queue;
mod regressions;
mod status;
mod wait_fds;
mod wait_fds_closed;
