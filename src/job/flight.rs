//! A job's way from its start to its end: what it waits for, and when it is resumed (H5, H6, H10).

use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use openssl::error::ErrorStack;

use crate::ffi;
use crate::job::admission::{admit, not_started, Admitted};
use crate::job::errors::Errors;
use crate::job::in_flight::Paused;
use crate::job::reaper;
use crate::job::record::{keep_panic, Header, Leaves, State};
use crate::job::thread::{count, in_job, with, Local};
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
/// Inlined, as `switch` is: a processor predicts no return that comes after a switch between
/// stacks, so the fewer there are the better.
///
/// # Safety
///
/// A live record, and its owner's call: nobody else polls it.
#[inline]
pub(crate) unsafe fn poll(record: NonNull<Header>, cx: &mut Context<'_>) -> Poll<()> {
    // SAFETY: alive.
    let header = unsafe { record.as_ref() };
    assert_here(header);
    with(|local| {
        reaper::sweep(local);
        let mut paused = match &*header.state.borrow() {
            State::InFlight(_) => true,
            State::Finished => return Poll::Ready(()),
            State::Spent => panic!("a Job was polled after it had given its output"),
            _ => false,
        };
        let mut thread = Thread::Unknown;
        if paused {
            assert_outside_jobs();
        } else {
            // SAFETY: a new record, and its owner.
            match unsafe { admit(local, record, cx) } {
                Admitted::Yes => {}
                Admitted::Later => return Poll::Pending,
                Admitted::Done => return Poll::Ready(()),
            }
            // What its fibre will refer to is there as this poll begins.
            thread = Thread::Lives;
        }
        // From pause to pause while there is evidence.
        let polled = loop {
            if paused {
                // SAFETY: paused, and its owner.
                match unsafe { look_for_evidence(local, record, &mut thread, cx) } {
                    Resume::Now => {}
                    Resume::Later => break Poll::Pending,
                    Resume::Never => panic_at_the_end(),
                }
            }
            // SAFETY: in flight and not running; with evidence, if it has paused.
            match unsafe { switch(local, record) } {
                Switched::Finished => break Poll::Ready(()),
                Switched::Paused => paused = true,
                // SAFETY: a new record, and its owner.
                Switched::NotStarted => return unsafe { not_started(local, record, cx) },
            }
        };
        // What the job has dropped inside is seen to now.
        reaper::sweep(local);
        polled
    })
}

#[inline]
fn assert_outside_jobs() {
    assert!(
        !in_job(),
        "a Job in flight was polled inside another job, where OpenSSL cannot resume it: give \
         it to `suspend` there"
    );
}

#[cold]
fn panic_at_the_end() -> ! {
    panic!(
        "a Job in flight was polled while its thread destroys its thread-locals, or on a stack \
         that is not the thread's: finish or drop it before its thread ends"
    )
}

/// Refuses what `!Send` keeps safe code from (H1, H14).
#[track_caller]
#[inline]
pub(crate) fn assert_here(header: &Header) {
    assert!(
        header.thread.is_current(),
        "a Job was used on another thread, or in another process, than the one that made it"
    );
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
    #[inline]
    pub(super) fn lives(&mut self, local: &Local) -> bool {
        if let Thread::Unknown = self {
            *self = match !local.ending.get() && local.sentinel.may_resume() {
                true => Thread::Lives,
                false => Thread::Ends,
            };
        }
        matches!(self, Thread::Lives)
    }
}

/// [`look_for_evidence`], where it need not be inlined.
///
/// # Safety
///
/// As [`look_for_evidence`].
pub(super) unsafe fn may_resume(
    local: &Local,
    record: NonNull<Header>,
    thread: &mut Thread,
    cx: &mut Context<'_>,
) -> Resume {
    // SAFETY: the caller's.
    unsafe { look_for_evidence(local, record, thread, cx) }
}

/// Whether the paused job can go on; else whoever brings the evidence for that wakes `cx`.
///
/// # Safety
///
/// A paused job, and its owner's call.
#[inline(always)]
unsafe fn look_for_evidence(
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
        Paused::Running => unreachable!("a job that runs is not asked"),
    };
    match ready {
        false => Resume::Later,
        true if thread.lives(local) => Resume::Now,
        true => Resume::Never,
    }
}

#[inline(always)]
fn await_completion(header: &Header, by: PausedBy, cx: &mut Context<'_>) -> bool {
    let mut state = header.state.borrow_mut();
    let State::InFlight(flight) = &mut *state else {
        return true;
    };
    match flight.wait_set.find_evidence(by, cx.waker()) {
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

/// [`switch`], where it need not be inlined.
///
/// # Safety
///
/// As [`switch`].
pub(super) unsafe fn go_on(local: &Local, record: NonNull<Header>) -> Switched {
    // SAFETY: the caller's.
    unsafe { switch(local, record) }
}

/// Starts or resumes the job, until it pauses or ends.
///
/// # Safety
///
/// A live record in flight that is not running, outside any job; with evidence, if it has paused.
#[inline(always)]
unsafe fn switch(local: &Local, record: NonNull<Header>) -> Switched {
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
        log_switch("resume", record);
        since.resumed();
    }
    header.notifier_taken.set(false);
    local.sentinel.note_switch();
    // The queue of errors is the thread's: each side has its own.
    let owners = Errors::take();
    header.errors.take().put();

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
            Some(header.entry()),
            ptr::from_mut(&mut arg).cast(),
            size_of::<NonNull<Header>>(),
        )
    });
    match outcome {
        ffi::ASYNC_FINISH => {
            if !resumed {
                count(&local.counts.started);
            }
            owners.put();
            finish(local, header);
            Switched::Finished
        }
        ffi::ASYNC_PAUSE => {
            if !resumed {
                count(&local.counts.started);
            }
            count(&local.counts.paused);
            local.sentinel.note_pause();
            // First: from here on it is known as paused, whatever a logger does.
            note_pause(header, job);
            log_switch("pause", record);
            since.paused();
            note_since(header, since);
            owners.put();
            Switched::Paused
        }
        // Not started, or memory is out; what was in flight cannot be resumed any more, ever.
        _ if resumed => {
            quietly(|| log::error!("OpenSSL cannot resume a job: {}", ErrorStack::get()));
            std::process::abort();
        }
        _ => {
            drop(ErrorStack::get());
            owners.put();
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
        local.keep(flight, header.owner.as_ref());
    }
}

#[inline(always)]
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
    header.errors.set(Errors::take());
}

/// Not while it is borrowed, as a subscriber is somebody's code.
#[inline(always)]
fn note_since(header: &Header, since: Since) {
    // Without the feature `tracing` it is nothing.
    if size_of::<Since>() > 0 {
        if let State::InFlight(flight) = &mut *header.state.borrow_mut() {
            flight.since = since;
        }
    }
}

/// Without a logger, or one for less, it costs a comparison.
#[inline(always)]
fn log_switch(what: &str, record: NonNull<Header>) {
    if log::max_level() >= log::LevelFilter::Debug {
        log_it(what, record);
    }
}

#[cold]
fn log_it(what: &str, record: NonNull<Header>) {
    quietly(|| log::debug!("{what} {record:p}"));
}

/// Appends the wait fds that a paused job waits for.
pub(crate) fn extend_with_wait_fds(header: &Header, fds: &mut Vec<RawFd>) {
    if let State::InFlight(flight) = &*header.state.borrow() {
        if let Paused::Completion(_) = flight.paused {
            flight.wait_set.extend(fds);
        }
    }
}
