//! The reaper: what becomes of a job whose owner is dropped while it is in flight (H3, H11).
//!
//! A future that it waits for is dropped, and the job runs to its end at once. One that an engine
//! paused is kept with all it points to, and goes on when its completion comes: with later jobs of
//! the thread, or in `JobPool::drain`. What is not done when the thread ends is leaked, and said so:
//! nothing is resumed then (see `thread_exit.rs`).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::job::block_on::Blocking;
use crate::job::parker::Parker;
use crate::job::record::{free_record, Header};
use crate::job::thread::{count, in_job, Local};
use crate::job::thread_token::ThreadToken;
use crate::job::waker::noop_waker;
use crate::job::wind_up::{report_panic, wind_up};
use crate::panics::{forget_panic, quietly};

/// Of all threads: one that leaks is at its end.
static LEAKED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn leaked() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// Takes over a job in flight. True if it could be brought to its end at once, and its record is
/// the caller's to free.
pub(crate) fn adopt(local: &Local, record: NonNull<Header>) -> bool {
    if local.ending.get() {
        leak(1);
        return false;
    }
    // SAFETY: in flight; the owner gives it up.
    if !in_job() && unsafe { wind_up(local, record, &noop_waker()) } {
        return true;
    }
    local.orphans.borrow_mut().push(record);
    local.wake_reaper();
    false
}

/// Their memory stays: whoever completes them may write into it (H3).
fn leak(jobs: usize) {
    LEAKED.fetch_add(jobs as u64, Ordering::Relaxed);
    quietly(|| {
        log::warn!(
            "{jobs} job(s) of a thread that ends are in flight, and leaked: finish them, or call \
         JobPool::drain, before the thread ends"
        )
    });
}

/// The thread ends.
pub(crate) fn abandon(local: &Local) {
    let orphans = local.orphans.take();
    // In the child of a fork they are the parent's (H14).
    let here = ThreadToken::current();
    // SAFETY: an orphan lives until it is buried.
    let own = |record: &&NonNull<Header>| unsafe { record.as_ref() }.thread == here;
    match orphans.iter().filter(own).count() {
        0 => {}
        jobs => leak(jobs),
    }
}

/// Looks after the orphans that can go on. Called with whatever jobs do on this thread.
#[inline]
pub(crate) fn sweep(local: &Local) {
    if !local.orphans.borrow().is_empty() {
        sweep_some(local);
    }
}

fn sweep_some(local: &Local) {
    let waker = local.reaper_waker().unwrap_or_else(noop_waker);
    sweep_with(local, &waker);
}

/// [`sweep`], and has the waker woken when another of them can go on.
pub(crate) fn sweep_with(local: &Local, waker: &Waker) {
    if local.orphans.borrow().is_empty() || in_job() {
        return;
    }
    // Taken out, as they may drop jobs, and so bring further orphans, which come next.
    let mut batch = Batch {
        local,
        left: local.orphans.take().into_iter(),
        kept: Vec::new(),
    };
    while let Some(record) = batch.next() {
        // SAFETY: an orphan lives until it is buried.
        if !unsafe { record.as_ref() }.thread.is_current() {
            // This is the child of a fork, and the fibre its parent's (H14).
            continue;
        }
        // First: wakers may panic.
        batch.kept.push(record);
        // SAFETY: an orphan is in flight, and has no owner but this.
        if unsafe { wind_up(local, record, waker) } {
            batch.kept.pop();
            bury(local, record);
        }
    }
}

/// Orphans that are being looked at. Those that are left at the end go back, after a panic, too.
struct Batch<'a> {
    local: &'a Local,
    left: std::vec::IntoIter<NonNull<Header>>,
    kept: Vec<NonNull<Header>>,
}

impl Batch<'_> {
    fn next(&mut self) -> Option<NonNull<Header>> {
        if self.left.len() == 0 {
            self.left = self.local.orphans.take().into_iter();
        }
        self.left.next()
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut orphans = self.local.orphans.borrow_mut();
        orphans.append(&mut self.kept);
        orphans.extend(self.left.by_ref());
    }
}

fn bury(local: &Local, record: NonNull<Header>) {
    count(&local.counts.reaped);
    // SAFETY: finished, and without an owner.
    unsafe {
        report_panic(record.as_ref());
        free_quietly(record);
    }
}

/// # Safety
///
/// As [`free_record`].
unsafe fn free_quietly(record: NonNull<Header>) {
    let freed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: the caller's.
        unsafe { free_record(record) }
    }));
    if let Err(payload) = freed {
        forget_panic(payload);
        quietly(|| log::error!("the drop of what an abandoned job had made panicked"));
    }
}

/// Brings the orphans to their end, as far as their completions come in time; says how many are
/// left.
pub(crate) fn drain(local: &Local, timeout: Duration) -> io::Result<usize> {
    if local.orphans.borrow().is_empty() || in_job() {
        return Ok(local.orphans.borrow().len());
    }
    let deadline = Instant::now().checked_add(timeout);
    let blocking = Blocking::begin();
    Parker::with(|parker| loop {
        sweep_with(local, parker.waker());
        if local.orphans.borrow().is_empty() || !parker.park(deadline) {
            break;
        }
    })?;
    drop(blocking);
    Ok(local.orphans.borrow().len())
}
