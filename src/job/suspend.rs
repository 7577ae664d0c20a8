//! `suspend(future)`: pauses the job until a future is ready, from any depth inside it.
//!
//! The future stays where it is, on the job's stack, and the job's owner polls it there, on the
//! owner's own stack and with the owner's waker: the fibre never holds a `Context` (H7).

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use crate::ffi;
use crate::job::pause_place;
use crate::job::record::Leaves;
use crate::job::thread::current_record;
use crate::job::thread_token::abort_if_moved;
use crate::panics::{forget_panic, Payload};

/// Why [`suspend`] has no output.
///
/// ```
/// use openssl_async_jobs::{suspend, SuspendError};
///
/// assert_eq!(suspend(async { 1 }), Err(SuspendError::NotInJob));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SuspendError {
    /// No [`Job`](crate::Job) is running here: nobody could poll the future. So in a job that
    /// libssl started by itself (`SSL_MODE_ASYNC`), and where OpenSSL has no jobs.
    NotInJob,
    /// Pausing is blocked here (`ASYNC_block_pause`), this thread unwinds from a panic, or libssl
    /// holds the lock of a context's sessions: in the callback for removed sessions, when one makes
    /// room in the cache or has timed out. Or this is not on the job's own stack: it has left another
    /// crate's coroutine that it was begun in, or has begun one. Or the job has ended the process, and this is
    /// the destructor of a thread-local that it has not made itself.
    PauseBlocked,
    /// The job's owner has been dropped, or the future panicked: the job shall come to its end.
    Cancelled,
}

impl fmt::Display for SuspendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SuspendError::NotInJob => {
                "no asynchronous job is running here that could wait for a future: run the \
                 operation inside a Job"
            }
            SuspendError::PauseBlocked => "the asynchronous job cannot be paused here",
            SuspendError::Cancelled => "the asynchronous job was cancelled",
        })
    }
}

impl StdError for SuspendError {}

/// Pauses the running [`Job`](crate::Job) until the future is ready.
///
/// It may be called from any depth inside a job, so in every callback of rust-openssl. The future
/// is polled by whoever polls the job, with its waker; it may borrow from the caller's frame, and
/// need not be `Send`. It is dropped as soon as it is ready.
///
/// While the job is paused, its thread goes on with other things. What the caller holds across the
/// call stays held: a lock that another job of this thread wants is a deadlock.
///
/// # What lasts as long as a call
///
/// A crate that sets a thread-local for the duration of a call and puts the former value back
/// (scoped thread-locals, the entered context of a runtime) relies on calls that end in the reverse
/// order of their beginning. Those of a job that pauses do not. Do not suspend inside such a call
/// that the job itself has made: nothing can check that here. (A plain `LocalKey::with` is fine.) Nor
/// in the initial value of a thread-local: another job would find it without a value, give it one
/// and use that, which the first one then replaces.
///
/// # Errors
///
/// [`SuspendError`] says why the future was not waited for; it is dropped then. A callback that is
/// told [`Cancelled`](SuspendError::Cancelled) should fail, so that the job ends soon.
///
/// # Panics
///
/// A panic of the future is raised where the job is polled, once the job has ended; here it is
/// `Cancelled`.
///
/// ```
/// use openssl_async_jobs::{suspend, Job};
///
/// let job = Job::new(|| {
///     let base = 20; // borrowed by the future
///     suspend(async { &base + 1 }).map(|n| n * 2)
/// });
/// assert_eq!(job.block_on(None).unwrap(), Ok(42));
/// ```
// Inlined, as no processor predicts the return after a pause.
#[inline]
pub fn suspend<F: Future>(future: F) -> Result<F::Output, SuspendError> {
    let record = current_record().ok_or(SuspendError::NotInJob)?;
    // SAFETY: the running job's record, which lives until its closure has returned.
    let header = unsafe { record.as_ref() };
    if header.cancelled.get() {
        return Err(SuspendError::Cancelled);
    }
    if std::thread::panicking() || !pause_place::may_pause_here(Some(header)) {
        return Err(SuspendError::PauseBlocked);
    }
    let mut slot = Slot {
        state: SlotState::Pending(future),
    };
    let parked: *mut (dyn Parked + '_) = &mut slot;
    // SAFETY: only the lifetime changes. The owner uses it while this frame waits below, and no
    // longer: `leaves` is emptied before the slot goes.
    let parked: *mut (dyn Parked + 'static) = unsafe { std::mem::transmute(parked) };
    // SAFETY: made of a reference.
    let parked = unsafe { NonNull::new_unchecked(parked) };
    header.leaves.set(Leaves::Future(parked));
    // SAFETY: a job of ours is running, with a wait context.
    let paused = unsafe { ffi::ASYNC_pause_job() };
    abort_if_moved(header.thread);
    // The owner takes it when it sees the pause.
    let blocked = matches!(header.leaves.replace(Leaves::Nothing), Leaves::Future(_));
    // SAFETY: `slot` is not moved; this is how the owner reaches it too, which is done with it.
    let state = unsafe { std::ptr::from_mut(&mut slot.state).replace(SlotState::Cancelled) };
    match state {
        SlotState::Ready(output) => Ok(output),
        SlotState::Pending(future) => {
            drop(future);
            debug_assert!(blocked || paused != 1);
            Err(SuspendError::PauseBlocked)
        }
        SlotState::Cancelled => Err(SuspendError::Cancelled),
    }
}

/// A future on a paused fibre's stack, for the job's owner.
pub(crate) trait Parked {
    /// Whether there is nothing more to wait for; on a panic neither. Does not unwind.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, Payload>;

    /// Drops the future where it is; `suspend` answers `Cancelled`. Does not unwind.
    fn cancel(&mut self) -> Result<(), Payload>;
}

/// What `suspend` and the job's owner share. It is not moved while the future is in it.
struct Slot<F: Future> {
    state: SlotState<F>,
}

enum SlotState<F: Future> {
    Pending(F),
    Ready(F::Output),
    Cancelled,
}

impl<F: Future> Slot<F> {
    /// Drops what is there, and stays with the new state even if that panics.
    fn replace(&mut self, state: SlotState<F>) -> Result<(), Payload> {
        let place = std::ptr::from_mut(&mut self.state);
        // SAFETY: dropped in place, as a pinned future must be, and then written over without
        // another drop.
        unsafe {
            let dropped = catch_unwind(AssertUnwindSafe(|| place.drop_in_place()));
            place.write(state);
            dropped
        }
    }
}

impl<F: Future> Parked for Slot<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<bool, Payload> {
        let SlotState::Pending(future) = &mut self.state else {
            return Ok(true);
        };
        // SAFETY: the slot stays in its frame until `suspend` goes on, and the future in the slot
        // until `replace` drops it in place.
        let future = unsafe { Pin::new_unchecked(future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => Ok(false),
            Ok(Poll::Ready(output)) => {
                let dropped = self.replace(SlotState::Ready(output));
                dropped.map(|()| true)
            }
            Err(payload) => {
                if let Err(second) = self.replace(SlotState::Cancelled) {
                    forget_panic(second);
                }
                Err(payload)
            }
        }
    }

    fn cancel(&mut self) -> Result<(), Payload> {
        self.replace(SlotState::Cancelled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::waker::noop_waker;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::rc::Rc;

    /// Counts its drops, and panics in them if it shall.
    struct Dropped(Rc<Cell<u32>>, bool);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            assert!(!self.1, "a drop that panics");
        }
    }

    fn slot<F: Future>(future: F) -> Slot<F> {
        Slot {
            state: SlotState::Pending(future),
        }
    }

    /// As the owner reaches it: by pointer, and without its type.
    fn poll(parked: *mut dyn Parked) -> Result<bool, Payload> {
        // SAFETY: the test's slot, which nobody else has meanwhile.
        unsafe { &mut *parked }.poll(&mut Context::from_waker(&noop_waker()))
    }

    #[test]
    fn a_future_that_refers_to_itself_is_polled_and_dropped_where_it_is() {
        let drops = Rc::new(Cell::new(0));
        let held = Dropped(Rc::clone(&drops), false);
        let mut yields = 0;
        let mut slot = slot(async move {
            let held = held;
            let refers = &held.0;
            poll_fn(|_| {
                yields += 1;
                match yields {
                    3 => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            })
            .await;
            refers.get()
        });
        let parked: *mut dyn Parked = &mut slot;
        assert!(!poll(parked).unwrap());
        assert!(!poll(parked).unwrap());
        assert!(poll(parked).unwrap());
        assert_eq!(drops.get(), 1);
        assert!(matches!(slot.state, SlotState::Ready(0)));
    }

    #[test]
    fn one_that_panics_when_it_is_polled_or_dropped_is_dropped_once() {
        for (polls, drops_panic) in [(true, false), (false, true), (false, false)] {
            let drops = Rc::new(Cell::new(0));
            let held = Dropped(Rc::clone(&drops), drops_panic);
            let mut slot = slot(async move {
                let _held = held;
                poll_fn(move |_| -> Poll<()> {
                    assert!(!polls, "a poll that panics");
                    Poll::Pending
                })
                .await;
            });
            let parked: *mut dyn Parked = &mut slot;
            assert_eq!(poll(parked).is_err(), polls);
            // SAFETY: as in `poll`.
            let cancelled = unsafe { &mut *parked }.cancel();
            assert_eq!(cancelled.is_err(), !polls && drops_panic);
            assert!(matches!(slot.state, SlotState::Cancelled));
            drop(slot);
            assert_eq!(drops.get(), 1);
        }
    }
}
