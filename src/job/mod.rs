//! Jobs: closures that may be paused, the thread's pool of them, and the side of whoever pauses
//! one.

mod admission;
mod block_on;
mod cell;
mod completion;
mod current;
mod destructors;
mod errors;
mod event_fd;
mod flight;
mod in_flight;
mod notifier;
mod owner;
mod parker;
mod pause_place;
mod poller;
mod pool;
mod queue;
mod reap;
mod reaper;
mod record;
mod registration;
mod return_addresses;
mod sentinel;
mod signal;
mod stack;
mod stats;
mod suspend;
mod task;
mod thread;
mod thread_exit;
mod thread_token;
mod wait_context;
mod wait_fd;
mod wait_set;
mod wake_fd;
mod waker;
mod wind_up;

pub(crate) use block_on::try_block_on;
pub(crate) use errors::Errors;
pub(crate) use record::Watcher;
#[cfg(feature = "tokio")]
pub(crate) use registration::Registration;
#[cfg(feature = "tokio")]
pub(crate) use thread_token::count_forks;
pub(crate) use wait_set::poll;
pub(crate) use wake_fd::WakeFd;
pub(crate) use waker::{noop_waker, wake_quietly};

pub use block_on::block_on;
pub use current::CurrentJob;
pub use notifier::Notifier;
pub use owner::JobOwner;
pub use pool::{is_capable, JobPool, JobPoolBuilder};
pub use reap::Reap;
pub use stats::JobStats;
pub use suspend::{suspend, SuspendError};
pub use task::Job;
pub use wait_context::WaitContextRef;
pub use wait_fd::WaitKey;
