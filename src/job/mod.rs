//! Jobs: the thread's pool of them, and the side of whoever pauses one.

mod current;
mod notifier;
mod pool;
mod wait_context;
mod wait_fd;

pub use current::CurrentJob;
pub use notifier::Notifier;
pub use pool::{is_capable, JobPool, JobPoolBuilder};
pub use wait_context::WaitContextRef;
pub use wait_fd::WaitKey;
