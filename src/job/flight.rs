//! A job's way from its start to its end: how it is started, what it waits for, and when it is
//! resumed (H5, H6, H10, H12).

use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use libc::{c_int, c_void};
use openssl::error::ErrorStack;

use crate::ffi;
use crate::job::pool::is_capable;
use crate::job::queue::Ticket;
use crate::job::reaper;
use crate::job::record::{keep_panic, run_closure, Flight, Header, Leaves, Paused, State};
use crate::job::registration::Registrations;
use crate::job::thread::{count, in_job, with, Local, Waiter};
use crate::job::thread_exit::{self, may_resume_here};
use crate::job::thread_token::ThreadToken;
use crate::job::wait_set::{Evidence, PausedBy};
use crate::panics::quietly;
use crate::trace::Since;

/// What came of starting or resuming.
pub(super) enum Switched {
    Finished,
    Paused,
    /// No job is free, or no memory: nothing was started.
    NotStarted,
}

/// Goes on with a job as far as it gets: ready once its output or its panic is in the record.
///
/// # Safety
///
/// A live record, and its owner's call: nobody else polls it.
pub(crate) unsafe fn poll(record: NonNull<Header>, cx: &mut Context<'_>) -> Poll<()> {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    assert_here(header);
    with(|local| {
        reaper::sweep(local);
        let started = match &*header.state.borrow() {
            State::New | State::Waiting(_) | State::Granted => false,
            State::InFlight(_) => true,
            State::Finished => return Poll::Ready(()),
            State::Spent => panic!("a Job was polled after it had given its output"),
        };
        let switched = match started {
            // SAFETY: a new record, and its owner.
            false => match unsafe { start(local, record, cx) } {
                Poll::Ready(switched) => switched,
                Poll::Pending => return Poll::Pending,
            },
            true => Switched::Paused,
        };
        // SAFETY: in flight, and its owner.
        let polled = unsafe { go_on(local, record, switched, started, cx) };
        // What the job has dropped inside is seen to now.
        reaper::sweep(local);
        polled
    })
}

/// Refuses what `!Send` keeps safe code from (H1, H14).
#[track_caller]
pub(crate) fn assert_here(header: &Header) {
    assert!(
        header.thread == ThreadToken::current(),
        "a Job was used on another thread, or in another process, than the one that made it"
    );
}

/// # Safety
///
/// As [`poll`]; the closure has not run.
unsafe fn start(local: &Local, record: NonNull<Header>, cx: &mut Context<'_>) -> Poll<Switched> {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    local.prepare();
    if in_job() || !is_capable() || !thread_exit::is_known() {
        // As libssl does (H5).
        leave_queue(local, header);
        // SAFETY: the closure has not run.
        unsafe { run_inline(record) };
        return Poll::Ready(Switched::Finished);
    }
    if !reserve(local, record, cx) {
        return Poll::Pending;
    }
    if let (Some(stack), Some(wait_set)) = (
        local.take_stack(),
        local.take_wait_set(header.owner.as_ref()),
    ) {
        wait_set.begin();
        header.state.replace(State::InFlight(Flight {
            job: ptr::null_mut(),
            stack,
            wait_set,
            paused: Paused::Running,
            watched: false,
            registered: Registrations::default(),
            since: Since::now(),
        }));
        // SAFETY: in flight, not running.
        match unsafe { switch(local, record) } {
            Switched::NotStarted => {}
            started => return Poll::Ready(started),
        }
        if let State::InFlight(flight) = header.state.replace(State::New) {
            local.keep(flight.stack, flight.wait_set, header.owner.as_ref());
        }
    }
    // Jobs of libssl's own have taken what the pool has, or memory is out. When one of ours ends
    // there may be room again.
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
    Poll::Ready(Switched::Finished)
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
pub(crate) fn leave_queue(local: &Local, header: &Header) {
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

/// From pause to pause while there is evidence.
///
/// # Safety
///
/// As [`poll`], and what the last switch answered; `paused_before` unless that was in this poll.
unsafe fn go_on(
    local: &Local,
    record: NonNull<Header>,
    mut switched: Switched,
    paused_before: bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let mut thread = match paused_before {
        true => Thread::Unknown,
        // What its fibre may refer to has been there since this poll began.
        false => Thread::Lives,
    };
    loop {
        if let Switched::Finished = switched {
            return Poll::Ready(());
        }
        assert!(
            !in_job(),
            "a Job in flight was polled inside another job, where OpenSSL cannot resume it: give \
             it to `suspend` there"
        );
        // SAFETY: paused, and its owner.
        match unsafe { may_resume(local, record, &mut thread, cx) } {
            Resume::Now => {}
            Resume::Later => return Poll::Pending,
            Resume::Never => panic!(
                "a Job in flight was polled while its thread destroys its thread-locals, or on a \
                 stack that is not the thread's: finish or drop it before its thread ends"
            ),
        }
        // SAFETY: paused.
        switched = unsafe { switch(local, record) };
    }
}

pub(super) enum Resume {
    Now,
    Later,
    /// Its thread ends.
    Never,
}

/// Whether this thread may run fibres still. Asked once in a poll, and only if one would run: the
/// answer takes a while.
#[derive(Clone, Copy)]
pub(super) enum Thread {
    Unknown,
    Lives,
    Ends,
}

impl Thread {
    pub(super) fn lives(&mut self, local: &Local) -> bool {
        if let Thread::Unknown = self {
            *self = match !local.ending.get() && may_resume_here() {
                true => Thread::Lives,
                false => Thread::Ends,
            };
        }
        matches!(self, Thread::Lives)
    }
}

/// Whether there is evidence that the paused job can go on; else whoever brings it wakes `cx`.
///
/// # Safety
///
/// A paused job, and its owner's call.
pub(super) unsafe fn may_resume(
    local: &Local,
    record: NonNull<Header>,
    thread: &mut Thread,
    cx: &mut Context<'_>,
) -> Resume {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    let paused = match &*header.state.borrow() {
        State::InFlight(flight) => flight.paused,
        _ => Paused::Running,
    };
    let ready = match paused {
        Paused::Running => unreachable!("a job that runs is not asked"),
        Paused::Turn => true,
        Paused::Completion(by) => await_completion(header, by, cx),
        // A future on a fibre's stack is the fibre's code.
        Paused::Future(_) if !thread.lives(local) => return Resume::Never,
        Paused::Future(mut parked) => {
            // SAFETY: the fibre waits in `suspend`, whose frame has it. Nothing of the record is
            // borrowed while the future runs.
            match unsafe { parked.as_mut() }.poll(cx) {
                Ok(ready) => ready,
                Err(payload) => {
                    keep_panic(header, payload);
                    header.cancelled.set(true);
                    true
                }
            }
        }
    };
    match ready {
        false => Resume::Later,
        true if thread.lives(local) => Resume::Now,
        true => Resume::Never,
    }
}

fn await_completion(header: &Header, by: PausedBy, cx: &mut Context<'_>) -> bool {
    let mut state = header.state.borrow_mut();
    let State::InFlight(flight) = &mut *state else {
        return true;
    };
    flight.wait_set.register(cx.waker());
    match flight.wait_set.take_evidence(by) {
        Evidence::Called => return true,
        Evidence::Readable => {
            flight.unwatch();
            // A notifier of ours may be out for another operation of the job.
            if !header.notifies.get() {
                flight.wait_set.ignore_what_is_on_its_way();
            }
            return true;
        }
        Evidence::Again => {
            // The others first: a busy device needs their turns, too.
            flight.paused = Paused::Turn;
            drop(state);
            cx.waker().wake_by_ref();
            return false;
        }
        Evidence::None => {}
    }
    if flight.wait_set.count() > 0 {
        flight.watch(header.watcher.get(), cx);
    }
    false
}

/// Starts or resumes the job, until it pauses or ends.
///
/// # Safety
///
/// A live record in flight that is not running, outside any job, with evidence.
pub(super) unsafe fn switch(local: &Local, record: NonNull<Header>) -> Switched {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    let (mut job, wait_context, mut since) = match &mut *header.state.borrow_mut() {
        State::InFlight(flight) => {
            flight.unwatch();
            flight.paused = Paused::Running;
            (flight.job, flight.wait_set.as_ptr(), flight.since)
        }
        _ => unreachable!("only a job in flight is switched to"),
    };
    let resumed = !job.is_null();
    if resumed {
        count(&local.counts.resumed);
        quietly(|| log::debug!("resume {record:p}"));
        since.resumed();
    }
    header.notifier_taken.set(false);
    // The queue of errors is the thread's: each side has its own.
    let owners = take_errors();
    put_errors(header.errors.take());

    let mut ret = 0;
    let mut arg = record;
    // SAFETY: the fibre is that of this thread (`assert_here`, H1), no job is running (H5), the
    // wait context is alive until the job has ended, and so is the record, to which OpenSSL's copy
    // of `arg` points (H2: it counts only on the first call).
    let outcome = local.enter(record, || unsafe {
        ffi::ASYNC_start_job(
            &mut job,
            wait_context,
            &mut ret,
            Some(trampoline),
            ptr::from_mut(&mut arg).cast(),
            size_of::<NonNull<Header>>(),
        )
    });
    match outcome {
        ffi::ASYNC_FINISH => {
            if !resumed {
                count(&local.counts.started);
            }
            put_errors(owners);
            finish(local, header);
            Switched::Finished
        }
        ffi::ASYNC_PAUSE => {
            if !resumed {
                count(&local.counts.started);
            }
            count(&local.counts.paused);
            // First: from here on it is known as paused, whatever a logger does.
            note_pause(header, job);
            quietly(|| log::debug!("pause {record:p}"));
            since.paused();
            if let State::InFlight(flight) = &mut *header.state.borrow_mut() {
                flight.since = since;
            }
            put_errors(owners);
            Switched::Paused
        }
        // Not started, or memory is out; what was in flight cannot be resumed any more, ever.
        _ if resumed => {
            quietly(|| log::error!("OpenSSL cannot resume a job: {}", ErrorStack::get()));
            std::process::abort();
        }
        _ => {
            drop(ErrorStack::get());
            put_errors(owners);
            Switched::NotStarted
        }
    }
}

fn finish(local: &Local, header: &Header) {
    count(&local.counts.finished);
    let flight = header.state.replace(State::Finished);
    local.release();
    // Last: clean-ups of wait fds are somebody's code, and may run jobs.
    if let State::InFlight(flight) = flight {
        drop(flight.registered); // before the wait context (H9)
        local.keep(flight.stack, flight.wait_set, header.owner.as_ref());
    }
}

fn note_pause(header: &Header, job: *mut ffi::ASYNC_JOB) {
    let paused = match header.leaves.replace(Leaves::Nothing) {
        Leaves::Future(parked) => Paused::Future(parked),
        Leaves::Yield if !header.notifier_taken.get() => {
            Paused::Completion(PausedBy::UsWithoutNotifier)
        }
        Leaves::Yield | Leaves::Nothing => Paused::Completion(PausedBy::Producer),
    };
    if let State::InFlight(flight) = &mut *header.state.borrow_mut() {
        flight.job = job;
        flight.paused = paused;
        flight.registered.follow(&flight.wait_set);
    }
    header.errors.set(take_errors());
}

/// Takes what is in OpenSSL's queue of errors.
fn take_errors() -> Option<ErrorStack> {
    Some(ErrorStack::get()).filter(|errors| !errors.errors().is_empty())
}

fn put_errors(errors: Option<ErrorStack>) {
    if let Some(errors) = errors {
        errors.put();
    }
}

/// The job's function, on OpenSSL's bare 32 KiB: goes to the guarded stack at once (H4).
unsafe extern "C" fn trampoline(arg: *mut c_void) -> c_int {
    // SAFETY: OpenSSL's copy of what `switch` passed.
    let record: NonNull<Header> = unsafe { arg.cast::<NonNull<Header>>().read() };
    // SAFETY: alive until the job has ended.
    let header = unsafe { record.as_ref() };
    let bounds = match &*header.state.borrow() {
        State::InFlight(flight) => flight.stack.bounds(),
        _ => return 0,
    };
    corosensei::on_stack(bounds, || {
        // SAFETY: the job's first and only run. It does not unwind (H10).
        unsafe { run_closure(record) }
    });
    1
}

/// Appends the wait fds that a paused job waits for.
pub(crate) fn extend_with_wait_fds(header: &Header, fds: &mut Vec<RawFd>) {
    if let State::InFlight(flight) = &*header.state.borrow() {
        if let Paused::Completion(_) = flight.paused {
            flight.wait_set.extend(fds);
        }
    }
}
