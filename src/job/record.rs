//! A job's record: one allocation, which the job's owner, its fibre and the reaper share (H3).
//!
//! It is reached by pointer, never by a reference to the whole, and all that changes is in cells:
//! the fibre has its pointer on a stack that is left and entered again while the owner uses its own.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::NonNull;

use libc::{c_int, c_void};

use crate::ffi;
use crate::job::errors::Errors;
use crate::job::in_flight::Flight;
use crate::job::owner::Owner;
use crate::job::queue::Ticket;
use crate::job::registration::Register;
use crate::job::return_addresses::Stretch;
use crate::job::suspend::Parked;
use crate::job::thread::{with, Local};
use crate::job::thread_token::ThreadToken;
use crate::panics::{forget_panic, Payload};

/// The part of a record that is the same for every closure.
pub(crate) struct Header {
    vtable: &'static VTable,
    /// Its number on its thread: its address may be another's later.
    pub(crate) id: u64,
    /// Where it was made, and so where it runs (H1, H14).
    pub(crate) thread: ThreadToken,
    pub(crate) state: RefCell<State>,
    /// Where the closure's frames are, once it runs on a stack of its own.
    pub(super) stack: Cell<Stretch>,
    /// Set by the fibre for its owner, just before it pauses.
    pub(crate) leaves: Cell<Leaves>,
    /// Whether a producer in Rust has asked for the callback since the job went on last.
    pub(crate) notifier_taken: Cell<bool>,
    /// Whether one was ever asked for: it may be out for longer than a pause.
    pub(crate) notifies: Cell<bool>,
    /// Whose wait context it has.
    pub(crate) owner: Option<Owner>,
    /// Who watches its wait fds.
    pub(crate) watcher: Cell<Watcher>,
    /// The owner is gone: futures are not waited for any more.
    pub(crate) cancelled: Cell<bool>,
    /// The first panic: of the closure, or of a future, which the owner polls.
    pub(crate) panic: Cell<Option<Payload>>,
    /// What was in the thread's error queue when the job paused. It is the thread's in OpenSSL, and
    /// would be taken for the errors of whoever runs next.
    pub(crate) errors: Cell<Errors>,
}

/// Who watches a paused job's wait fds, and has it polled when one is readable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watcher {
    /// This crate: `block_on`, or the thread for those that nobody else watches.
    Crate,
    /// The owner, who asks for them.
    Owner,
    /// A reactor, by duplicates.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    // The streams for a runtime have one.
    Reactor(Register),
}

/// How a fibre left off.
#[derive(Clone, Copy)]
pub(crate) enum Leaves {
    /// As C does.
    Nothing,
    /// `CurrentJob::pause`.
    Yield,
    /// `suspend`, with a future on the fibre's stack.
    Future(NonNull<dyn Parked>),
}

pub(crate) enum State {
    New,
    /// In its thread's queue for a free job.
    Waiting(Ticket),
    /// A free job is kept for it.
    Granted,
    InFlight(Box<Flight>),
    /// The output, or a panic, is there.
    Finished,
    /// It was taken.
    Spent,
}

/// A job's function, as C calls it.
type Entry = unsafe extern "C" fn(*mut c_void) -> c_int;

struct VTable {
    enter: Entry,
    run: unsafe fn(NonNull<Header>),
    take: unsafe fn(NonNull<Header>, *mut ()),
    free: unsafe fn(NonNull<Header>),
}

#[repr(C)] // The header comes first.
struct Record<F, T> {
    header: Header,
    body: UnsafeCell<Body<F, T>>,
}

enum Body<F, T> {
    Closure(F),
    Output(T),
    Empty,
}

impl Header {
    /// A new record on the heap, for [`free`] to take away.
    pub(crate) fn allocate<F, T>(closure: F, owner: Option<Owner>) -> NonNull<Header>
    where
        F: FnOnce() -> T,
    {
        let (id, thread) = (with(Local::next_record), ThreadToken::current());
        // First the memory, so that nothing is copied there from a stack.
        let mut place = Box::<Record<F, T>>::new_uninit();
        place.write(Record {
            header: Header {
                vtable: &VTable {
                    enter: enter::<F, T>,
                    run: run::<F, T>,
                    take: take::<F, T>,
                    free: free::<F, T>,
                },
                id,
                thread,
                state: RefCell::new(State::New),
                stack: Cell::new(Stretch::EMPTY),
                leaves: Cell::new(Leaves::Nothing),
                notifier_taken: Cell::new(false),
                notifies: Cell::new(false),
                owner,
                watcher: Cell::new(Watcher::Crate),
                cancelled: Cell::new(false),
                panic: Cell::new(None),
                errors: Cell::default(),
            },
            body: UnsafeCell::new(Body::<F, T>::Closure(closure)),
        });
        NonNull::from(Box::leak(place)).cast()
    }

    /// While it is in flight; else null.
    pub(crate) fn wait_context(&self) -> *mut ffi::ASYNC_WAIT_CTX {
        match self.state.try_borrow().as_deref() {
            Ok(State::InFlight(flight)) => flight.wait_set.as_ptr(),
            _ => std::ptr::null_mut(),
        }
    }

    /// The function to start the job with. Its argument is a pointer to a `NonNull<Header>`, this
    /// one, which is alive and in flight until it has returned.
    pub(crate) fn entry(&self) -> Entry {
        self.vtable.enter
    }
}

/// Keeps the first of two panics; a job has one owner to tell.
pub(crate) fn keep_panic(header: &Header, payload: Payload) {
    match header.panic.take() {
        None => header.panic.set(Some(payload)),
        Some(first) => {
            header.panic.set(Some(first));
            forget_panic(payload);
        }
    }
}

/// Runs the closure: its output or its panic is in the record afterwards. Does not unwind (H10).
///
/// # Safety
///
/// A live record, whose closure has not run; on its thread.
pub(crate) unsafe fn run_closure(record: NonNull<Header>) {
    // SAFETY: as above; `allocate` made the pair.
    unsafe { (record.as_ref().vtable.run)(record) }
}

/// Moves the output to `output`; false if there is none, which a panic explains.
///
/// # Safety
///
/// A live record whose closure has run, and room for its type of output.
pub(crate) unsafe fn take_output<T>(record: NonNull<Header>) -> Option<T> {
    let mut output: Option<T> = None;
    // SAFETY: as above, and the record's `take` writes an `Option<T>`.
    unsafe { (record.as_ref().vtable.take)(record, std::ptr::from_mut(&mut output).cast()) };
    output
}

/// Drops what is in it, and frees it. May panic, if the closure's or the output's drop does; it is
/// freed all the same.
///
/// # Safety
///
/// A record of [`Header::allocate`] that nobody uses any more: no fibre is left in its closure.
pub(crate) unsafe fn free_record(record: NonNull<Header>) {
    // SAFETY: as above.
    unsafe { (record.as_ref().vtable.free)(record) }
}

/// On OpenSSL's bare 32 KiB: goes to the guarded stack at once (H4). Generic, so that the closure may
/// be inlined here: no processor predicts the returns of a fibre that has paused.
unsafe extern "C" fn enter<F: FnOnce() -> T, T>(arg: *mut c_void) -> c_int {
    // SAFETY: OpenSSL's copy of what the owner passed.
    let record = unsafe { arg.cast::<NonNull<Header>>().read() };
    // SAFETY: alive until the job has ended.
    let header = unsafe { record.as_ref() };
    let (bounds, range) = match &*header.state.borrow() {
        State::InFlight(flight) => (flight.stack.bounds(), flight.stack.range()),
        _ => return 0,
    };
    corosensei::on_stack(bounds, || {
        header.stack.set(Stretch::inside(range));
        // SAFETY: the job's first and only run. It does not unwind (H10).
        unsafe { run::<F, T>(record) };
        // Here, so that the closure's frames are inside this one.
        header.stack.set(Stretch::EMPTY);
    });
    1
}

#[inline]
unsafe fn run<F: FnOnce() -> T, T>(record: NonNull<Header>) {
    let record = record.cast::<Record<F, T>>();
    // SAFETY: a live record of this type; nobody else touches the body while the closure runs.
    let (header, body) = unsafe { (&(*record.as_ptr()).header, (*record.as_ptr()).body.get()) };
    // SAFETY: likewise.
    let Body::Closure(closure) = (unsafe { body.replace(Body::Empty) }) else {
        return;
    };
    match catch_unwind(AssertUnwindSafe(closure)) {
        // SAFETY: likewise; what it replaces is `Empty`, which drops nothing.
        Ok(output) => unsafe { body.write(Body::Output(output)) },
        Err(payload) => keep_panic(header, payload),
    }
}

unsafe fn take<F, T>(record: NonNull<Header>, output: *mut ()) {
    let record = record.cast::<Record<F, T>>();
    // SAFETY: a live record of this type, whose closure has run.
    if let Body::Output(value) = unsafe { (*record.as_ptr()).body.get().replace(Body::Empty) } {
        // SAFETY: the caller's place, which holds `None`.
        unsafe { output.cast::<Option<T>>().write(Some(value)) };
    }
}

unsafe fn free<F, T>(record: NonNull<Header>) {
    // SAFETY: `allocate` leaked a box that it had filled with this type, and its last user gives it
    // back.
    drop(unsafe { Box::from_raw(record.cast::<Record<F, T>>().as_ptr()) });
}
