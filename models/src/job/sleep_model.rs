//! A thread that sleeps in poll(2), and the wakers that end that.

use std::sync::Arc;
use std::task::Waker;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::job::signal::Signal;
use crate::job::wake_fd::WakeFd;

/// Three threads have too many orders for all of them: those in which a thread is interrupted no
/// more often than this, besides where it waits.
const INTERRUPTIONS: usize = 3;

fn in_many_orders(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(INTERRUPTIONS);
    builder.check(model);
}

#[test]
fn what_is_set_before_the_file_descriptor_is_seen_by_who_polls_it() {
    in_many_orders(|| {
        let fd = Arc::new(WakeFd::new().unwrap());
        let jobs = Arc::new(AtomicUsize::new(0));
        let tells = [(); 2].map(|()| {
            let (fd, jobs) = (Arc::clone(&fd), Arc::clone(&jobs));
            thread::spawn(move || {
                jobs.fetch_add(1, Ordering::Relaxed);
                fd.set();
            })
        });
        while jobs.load(Ordering::Relaxed) < 2 {
            fd.event_fd().poll();
            fd.clear();
        }
        tells.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_waker_interrupts_a_thread_that_falls_asleep() {
    in_many_orders(|| {
        let signal = Arc::new(Signal::new().unwrap());
        let ready = Arc::new(AtomicUsize::new(0));
        let wakers = [(); 2].map(|()| {
            let (waker, ready) = (Waker::from(Arc::clone(&signal)), Arc::clone(&ready));
            thread::spawn(move || {
                ready.fetch_add(1, Ordering::Relaxed);
                waker.wake();
            })
        });
        // As `block_on` does: looked at again after each wake-up.
        while ready.load(Ordering::Relaxed) < 2 {
            while signal.falls_asleep() {
                signal.wake_fd().event_fd().poll();
                signal.clear();
                signal.is_awake();
            }
        }
        wakers.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
