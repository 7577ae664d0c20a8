//! How a job goes on whose owner is gone (H3, H10).

use std::ptr::NonNull;
use std::task::{Context, Waker};

use crate::job::flight::{go_on, may_resume, Resume, Switched, Thread};
use crate::job::in_flight::Paused;
use crate::job::record::{keep_panic, Header, State, Watcher};
use crate::job::thread::Local;
use crate::panics::{forget_panic, quietly};

/// For a job whose owner is gone: drops what it waits for, if that can be dropped, and goes on with
/// it while there is evidence. True if it has finished.
///
/// # Safety
///
/// A live record in flight, without another owner, outside any job.
pub(crate) unsafe fn wind_up(local: &Local, record: NonNull<Header>, waker: &Waker) -> bool {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    header.cancelled.set(true);
    header.watcher.set(Watcher::Crate);
    let paused = match &mut *header.state.borrow_mut() {
        State::InFlight(flight) => {
            flight.registered.clear();
            flight.paused
        }
        _ => return true,
    };
    let mut thread = Thread::Unknown;
    if let Paused::Future(mut parked) = paused {
        if !thread.lives(local) {
            return false;
        }
        // SAFETY: the fibre waits in `suspend`, whose frame has it.
        if let Err(payload) = unsafe { parked.as_mut() }.cancel() {
            keep_panic(header, payload);
        }
        // SAFETY: paused, and nothing more to wait for.
        if let Switched::Finished = unsafe { go_on(local, record) } {
            return true;
        }
    }
    // A bound: a job that yields again and again is looked at again another time.
    for _ in 0..16 {
        let mut cx = Context::from_waker(waker);
        // SAFETY: paused.
        match unsafe { may_resume(local, record, &mut thread, &mut cx) } {
            Resume::Now => {}
            Resume::Later | Resume::Never => return false,
        }
        // SAFETY: paused, with evidence.
        if let Switched::Finished = unsafe { go_on(local, record) } {
            return true;
        }
    }
    false
}

/// The panic of a job that nobody asks any more.
pub(crate) fn report_panic(header: &Header) {
    if let Some(payload) = header.panic.take() {
        quietly(|| log::error!("a job panicked after its owner had dropped it"));
        forget_panic(payload);
    }
}
