//! As `panic.rs`, for panics in what belongs to others: wakers, clean-ups of wait fds, and what
//! the reaper has (H3, H10).

use std::future::Future;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::mpsc::{channel, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::common::executor::{quiet_waker, Gate};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{suspend, CurrentJob, Job, JobPool, WaitKey};

static KEY: WaitKey = WaitKey::new();

/// A waker that says so, and panics.
struct Panics(Mutex<Sender<()>>);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().send(()).unwrap();
        panic_any("a waker, on purpose");
    }
}

fn panicking_waker() -> (Waker, std::sync::mpsc::Receiver<()>) {
    let (tell, told) = channel();
    (Waker::from(Arc::new(Panics(Mutex::new(tell)))), told)
}

fn poll<T>(job: &mut Job<T>, waker: &Waker) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(waker))
}

fn on_a_thread_with_one_job(test: impl FnOnce() + Send + 'static) {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        test();
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
        let next = Job::new(|| suspend(async { 1 }));
        assert_eq!(next.block_on(PATIENCE).unwrap(), Ok(1));
    });
}

/// Pauses as an engine does, until `fd` is readable.
fn pause_on(fd: &UnixStream) {
    let job = CurrentJob::get().unwrap();
    let context = job.wait_context().unwrap();
    context
        .set_wait_fd_with(&KEY, fd.as_raw_fd(), |_| ())
        .unwrap();
    job.pause().unwrap();
    context.clear_fd(&KEY).unwrap();
}

#[test]
fn a_panic_in_the_waker_of_the_next_waiter_is_not_raised_by_the_job_that_has_ended() {
    on_a_thread_with_one_job(|| {
        let (waker, woken) = panicking_waker();
        let gate = Gate::new();
        let wait = gate.wait();
        let mut first = Job::new(move || suspend(wait));
        let mut second = Job::new(|| 2);
        assert!(poll(&mut first, &quiet_waker()).is_pending());
        assert!(poll(&mut second, &waker).is_pending());
        gate.open();
        assert_eq!(first.block_on(PATIENCE).unwrap(), Ok(()));
        woken.try_recv().unwrap();
        // It has the place, woken or not.
        assert_eq!(second.block_on(PATIENCE).unwrap(), 2);
    });
}

#[test]
fn a_panic_in_the_waker_of_the_next_waiter_leaks_nothing_of_the_job_that_is_dropped() {
    on_a_thread_with_one_job(|| {
        let (waker, woken) = panicking_waker();
        let output = Arc::new(());
        let made = Arc::clone(&output);
        let mut first = Job::new(move || {
            suspend(Gate::new().wait()).unwrap_err();
            made
        });
        let mut second = Job::new(|| 2);
        assert!(poll(&mut first, &quiet_waker()).is_pending());
        assert!(poll(&mut second, &waker).is_pending());
        drop(first);
        woken.try_recv().unwrap();
        assert_eq!(Arc::strong_count(&output), 1, "the output was leaked");

        // Likewise of one that has the place, and gives it to the next.
        let closure = Arc::new(());
        let held = Arc::clone(&closure);
        let mut third = Job::new(move || drop(held));
        assert!(poll(&mut third, &waker).is_pending());
        let mut fourth = Job::new(|| 4);
        assert!(poll(&mut fourth, &waker).is_pending());
        drop(second);
        woken.try_recv().unwrap();
        drop(third);
        woken.try_recv().unwrap();
        assert_eq!(Arc::strong_count(&closure), 1, "the closure was leaked");
        assert_eq!(fourth.block_on(PATIENCE).unwrap(), 4);
    });
}

#[test]
fn a_panic_in_the_waker_of_a_waiter_loses_no_orphan() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(2).init().unwrap();
        let (waker, _woken) = panicking_waker();
        let mut orphans = Vec::new();
        for _ in 0..2 {
            let (mut done, fd) = UnixStream::pair().unwrap();
            done.set_nonblocking(true).unwrap();
            let mut paused = Job::new(move || pause_on(&fd));
            assert!(poll(&mut paused, &quiet_waker()).is_pending());
            drop(paused);
            orphans.push(move || done.write_all(&[1]).unwrap());
        }
        let mut waiting = Job::new(|| 3);
        assert!(poll(&mut waiting, &waker).is_pending());
        orphans.remove(0)();
        assert_eq!(JobPool::drain(Duration::ZERO).unwrap(), 1);
        assert_eq!(JobPool::stats().reaped, 1);
        orphans.remove(0)();
        assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        assert_eq!(JobPool::stats().reaped, 2);
        assert_eq!(waiting.block_on(PATIENCE).unwrap(), 3);
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn a_panic_in_a_waker_does_not_end_the_thread_that_watches_wait_fds() {
    on_a_thread_with_one_job(|| {
        let (waker, woken) = panicking_waker();
        for _ in 0..2 {
            let (mut done, fd) = UnixStream::pair().unwrap();
            let mut job = Job::new(move || pause_on(&fd));
            assert!(poll(&mut job, &waker).is_pending());
            assert!(woken.try_recv().is_err(), "woken before there is evidence");
            done.write_all(&[1]).unwrap();
            woken.recv_timeout(PATIENCE.unwrap()).expect("not watched");
            assert!(poll(&mut job, &waker).is_ready());
        }
    });
}

#[cfg(ossl300)]
#[test]
fn a_panic_in_a_waker_does_not_unwind_into_the_completion_callback() {
    on_a_thread_with_one_job(|| {
        let (waker, woken) = panicking_waker();
        let (tell, told) = channel();
        let mut job = Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let notifier = job.wait_context().unwrap().notifier().unwrap().unwrap();
            tell.send(notifier).unwrap();
            job.pause().unwrap();
        });
        assert!(poll(&mut job, &waker).is_pending());
        let notifier = told.recv().unwrap();
        std::thread::spawn(move || {
            // SAFETY: the job that it was made in is in flight.
            unsafe { notifier.notify() }
        })
        .join()
        .expect("it came through");
        woken.try_recv().unwrap();
        assert!(poll(&mut job, &waker).is_ready());
    });
}

#[test]
fn a_panic_in_the_clean_up_of_a_wait_context_leaves_the_output_alone() {
    on_a_thread_with_one_job(|| {
        let (tell, told) = channel();
        let (mut readable, fd) = UnixStream::pair().unwrap();
        readable.write_all(&[1]).unwrap();
        let job = Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            let raw = fd.as_raw_fd();
            let clean_up = move |_| {
                tell.send(()).unwrap();
                panic_any(fd)
            };
            context.set_wait_fd_with(&KEY, raw, clean_up).unwrap();
            job.pause().unwrap();
            9
        });
        assert_eq!(job.block_on(PATIENCE).unwrap(), 9);
        // One whose fd is readable is not kept for the next job.
        told.try_recv().unwrap();
    });
}

#[test]
fn a_panic_that_nobody_asks_for_any_more_goes_nowhere() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic_any("an output, on purpose");
        }
    }
    on_a_thread_with_one_job(|| {
        for panics in [true, false] {
            let (mut done, fd) = UnixStream::pair().unwrap();
            let mut job = Job::new(move || {
                pause_on(&fd);
                let output = PanicsOnDrop;
                if panics {
                    panic_any(output);
                }
                output
            });
            assert!(poll(&mut job, &quiet_waker()).is_pending());
            drop(job);
            done.write_all(&[1]).unwrap();
            assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        }
        assert_eq!(JobPool::stats().reaped, 2);
    });
}
