//! How a job gets what it needs to start: one of the thread's free jobs, a stack, a wait context
//! (H5, H12).

use std::ptr::NonNull;
use std::task::{Context, Poll};

use crate::job::queue::Ticket;
use crate::job::record::{run_closure, Header, State};
use crate::job::thread::{in_job, Local, Waiter};
use crate::panics::quietly;

pub(super) enum Admitted {
    /// It is in flight, and to be switched to.
    Yes,
    /// It waits for a free job.
    Later,
    /// It ran where it was polled.
    Done,
}

/// # Safety
///
/// A live record whose closure has not run, and its owner's call.
pub(super) unsafe fn admit(
    local: &Local,
    record: NonNull<Header>,
    cx: &mut Context<'_>,
) -> Admitted {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    local.prepare();
    if in_job() || !local.runs_jobs() {
        // As libssl does (H5).
        leave_queue(local, header);
        // SAFETY: the closure has not run.
        unsafe { run_inline(record) };
        return Admitted::Done;
    }
    if !reserve(local, record, cx) {
        return Admitted::Later;
    }
    match local.take_flight(header.owner.as_ref()) {
        Some(flight) => {
            header.state.replace(State::InFlight(flight));
            Admitted::Yes
        }
        // SAFETY: the closure has not run.
        None => match unsafe { wait_or_run_inline(local, record, cx) } {
            Poll::Ready(()) => Admitted::Done,
            Poll::Pending => Admitted::Later,
        },
    }
}

/// For one that was admitted, and that OpenSSL did not start.
///
/// # Safety
///
/// As [`admit`].
#[cold]
pub(super) unsafe fn not_started(
    local: &Local,
    record: NonNull<Header>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    if let State::InFlight(flight) = header.state.replace(State::New) {
        local.keep(flight, header.owner.as_ref());
    }
    // SAFETY: the closure has not run.
    unsafe { wait_or_run_inline(local, record, cx) }
}

/// Jobs of libssl's own have taken what the pool has, or memory is out. When one of ours ends there
/// may be room again.
///
/// # Safety
///
/// As [`admit`].
unsafe fn wait_or_run_inline(
    local: &Local,
    record: NonNull<Header>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if local.in_flight.get() > 1 {
        local.in_flight.set(local.in_flight.get() - 1);
        let waker = cx.waker().clone();
        // It has had its turn already.
        enqueue(record, || {
            let waiter = Waiter { record, waker };
            local.queue.borrow_mut().push_front(waiter)
        });
        return Poll::Pending;
    }
    quietly(|| log::warn!("no job can be started on this thread: an operation runs synchronously"));
    // SAFETY: the closure has not run.
    unsafe { run_inline(record) };
    // Others may wait for the same.
    local.release();
    Poll::Ready(())
}

/// Has a free job, or a place in the queue for one.
fn reserve(local: &Local, record: NonNull<Header>, cx: &mut Context<'_>) -> bool {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    let waiting = match &*header.state.borrow() {
        State::Waiting(ticket) => Some(*ticket),
        State::Granted => {
            local.use_grant();
            return true;
        }
        _ => None,
    };
    if let Some(ticket) = waiting {
        // Wakers are somebody's code: cloned before the queue is borrowed, and dropped after.
        let mut waker = cx.waker().clone();
        if let Some(waiter) = local.queue.borrow_mut().get_mut(ticket) {
            std::mem::swap(&mut waiter.waker, &mut waker);
        }
        quietly(|| drop(waker));
        return false;
    }
    if local.acquire() {
        return true;
    }
    let waker = cx.waker().clone();
    enqueue(record, || {
        local.queue.borrow_mut().push(Waiter { record, waker })
    });
    // The clone is somebody's code, and a job may have ended in it.
    local.grant();
    false
}

fn enqueue(record: NonNull<Header>, push: impl FnOnce() -> Ticket) {
    let ticket = push();
    // SAFETY: alive.
    unsafe { record.as_ref() }
        .state
        .replace(State::Waiting(ticket));
}

/// For a job that does not start after all.
#[inline]
pub(crate) fn leave_queue(local: &Local, header: &Header) {
    let queued = matches!(*header.state.borrow(), State::Waiting(_) | State::Granted);
    if queued {
        leave(local, header);
    }
}

fn leave(local: &Local, header: &Header) {
    match header.state.replace(State::New) {
        State::Waiting(ticket) => {
            let waiter = local.queue.borrow_mut().remove(ticket);
            quietly(|| drop(waiter));
        }
        State::Granted => local.return_grant(),
        _ => {}
    }
}

/// # Safety
///
/// A live record whose closure has not run.
unsafe fn run_inline(record: NonNull<Header>) {
    // SAFETY: the caller's.
    unsafe { run_closure(record) };
    // SAFETY: alive.
    unsafe { record.as_ref() }.state.replace(State::Finished);
}
