//! Callbacks that suspend, and how often they do.

use std::future::{poll_fn, Future};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use openssl_async_jobs::{suspend, JobPool, SuspendError};

/// The questions of callbacks, which another thread answers.
#[derive(Clone, Default)]
pub struct Asked {
    paused: Arc<AtomicU64>,
    inline: Arc<AtomicU64>,
}

impl Asked {
    /// Suspends until another thread has answered; outside a job there is nothing to suspend, and
    /// it is answered at once.
    pub fn ask(&self) -> Result<(), SuspendError> {
        match suspend(elsewhere()) {
            Err(SuspendError::NotInJob) => self.inline.fetch_add(1, Ordering::SeqCst),
            other => {
                other?;
                self.paused.fetch_add(1, Ordering::SeqCst)
            }
        };
        Ok(())
    }

    /// How many have been answered: in a job that was paused, and outside one.
    pub fn times(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        (of(&self.paused), of(&self.inline))
    }
}

/// Is pending until another thread has woken it.
fn elsewhere() -> impl Future<Output = ()> {
    #[derive(Default)]
    struct Shared {
        answered: bool,
        waker: Option<Waker>,
    }
    let shared = Arc::new(Mutex::new(Shared::default()));
    let mut asked = false;
    poll_fn(move |cx| {
        let mut place = shared.lock().expect("nobody panics");
        if place.answered {
            return Poll::Ready(());
        }
        place.waker = Some(cx.waker().clone());
        if !std::mem::replace(&mut asked, true) {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut place = shared.lock().expect("nobody panics");
                place.answered = true;
                let waker = place.waker.take();
                drop(place);
                waker.into_iter().for_each(Waker::wake);
            });
        }
        Poll::Pending
    })
}

/// Does it, and says how often jobs of this thread paused in it.
pub fn pauses_of<T>(it: impl FnOnce() -> T) -> (T, u64) {
    let before = JobPool::stats().paused;
    let output = it();
    (output, JobPool::stats().paused - before)
}
