//! From a completion to the resumed job, and other ways to wake a task.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use openssl_async_jobs::{CurrentJob, Job, Notifier};
use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, yield_now, LocalSet};

/// Runs on the runtime that the wake-ups are measured on.
pub fn on_runtime<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, run)
}

/// From the callback to the resumed job, `times` one after the other: each of them.
pub async fn callback(times: usize) -> Vec<Duration> {
    thread_local! {
        static TAKEN: RefCell<Option<Notifier>> = const { RefCell::new(None) };
    }
    let mut waits = Vec::with_capacity(times);
    for _ in 0..times {
        let resumed = Rc::new(Cell::new(None));
        let told = Rc::clone(&resumed);
        let task = spawn_local(Job::new(move || {
            let job = CurrentJob::get().expect("in a job");
            let context = job.wait_context().expect("a wait context");
            TAKEN.set(context.notifier().expect("OpenSSL 3.0"));
            job.pause().expect("it may pause");
            told.set(Some(Instant::now()));
        }));
        let notifier = loop {
            match TAKEN.take() {
                Some(notifier) => break notifier,
                None => yield_now().await,
            }
        };
        let called = Instant::now();
        // SAFETY: the job is paused, and the task keeps it.
        unsafe { notifier.notify() };
        task.await.expect("it ends");
        waits.push(resumed.get().expect("it was resumed") - called);
    }
    waits
}

/// From a write to an eventfd, through the runtime's reactor, to its reader.
pub async fn eventfd(times: usize) -> Vec<Duration> {
    // SAFETY: takes numbers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a new one, which nobody else has.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: it is closed with the registration, and always answers the same number.
    let fd = unsafe { AsyncFd::register(fd) };
    let fd = Rc::new(fd.expect("a reactor"));
    let mut waits = Vec::with_capacity(times);
    for _ in 0..times {
        let reader = Rc::clone(&fd);
        let task = spawn_local(async move {
            let mut ready = reader.readable().await.expect("a reactor");
            let resumed = Instant::now();
            let mut value = 0_u64;
            // SAFETY: eight bytes, which an eventfd writes.
            unsafe { libc::read(reader.as_raw_fd(), (&raw mut value).cast(), 8) };
            ready.clear_ready();
            resumed
        });
        yield_now().await;
        let (written, value) = (Instant::now(), 1_u64);
        // SAFETY: eight bytes, which an eventfd reads.
        unsafe { libc::write(fd.as_raw_fd(), (&raw const value).cast(), 8) };
        waits.push(task.await.expect("it ends") - written);
    }
    waits
}

/// From a thread of `spawn_blocking` that ends to the task that waits for it, and there.
pub async fn spawn_blocking(times: usize) -> Vec<Duration> {
    let mut waits = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        let blocking = tokio::task::spawn_blocking(|| {});
        blocking.await.expect("it ends");
        waits.push(begun.elapsed());
    }
    waits
}
