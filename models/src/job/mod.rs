#[path = "../../../src/job/cell.rs"]
mod cell;
mod event_fd;
#[path = "../../../src/job/signal.rs"]
mod signal;
#[path = "../../../src/job/wake_fd.rs"]
mod wake_fd;
#[path = "../../../src/job/waker.rs"]
mod waker;

pub(crate) use waker::wake_quietly;

#[cfg(test)]
mod cell_model;
#[cfg(test)]
mod sleep_model;
