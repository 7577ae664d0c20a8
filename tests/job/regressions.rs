//! What once went wrong with jobs, and must not again: wake-ups that went to another job, what
//! a former job left behind, orphans of orphans, and pauses that kept the evidence of an earlier one
//! (H3, H5, H6, H10, H11). See also `job_logger_panics.rs`.

use std::cell::{Cell, RefCell};
use std::future::{pending, Future};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, panic_any, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::Duration;

#[cfg(ossl300)]
use crate::common::executor::Executor;
use crate::common::executor::{quiet_waker, Gate};
use crate::common::runner::channel_waker;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use crate::common::wait_fd::{make_readable, take_bytes, wait_fd};
use openssl::error::{Error, ErrorStack};
use openssl::pkey::PKey;
use openssl::x509::X509;
#[cfg(ossl300)]
use openssl_async_jobs::AsyncStatus;
use openssl_async_jobs::{suspend, CurrentJob, Job, JobOwner, JobPool, SuspendError, WaitKey};

static KEY: WaitKey = WaitKey::new();

fn poll<T>(job: &mut Job<T>, waker: &Waker) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(waker))
}

/// As [`poll`], where nobody wants to be woken.
fn look<T>(job: &mut Job<T>) -> Poll<T> {
    poll(job, &quiet_waker())
}

/// A thread that can have one job, and has none left when the test is over.
fn on_a_thread_with_one_job(test: impl FnOnce() + Send + 'static) {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(1).init().unwrap();
        test();
        assert_none_left();
    });
}

fn assert_none_left() {
    let stats = JobPool::stats();
    assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
}

/// Registers the fd, and pauses until something is in it.
fn pause_until_readable(fd: &UnixStream) {
    let job = CurrentJob::get().unwrap();
    let context = job.wait_context().unwrap();
    context
        .set_wait_fd_with(&KEY, fd.as_raw_fd(), |_| ())
        .unwrap();
    let mut pauses = 0;
    while take_bytes(fd) == 0 {
        // Within one poll it would go on for ever.
        assert!(pauses < 10, "resumed again and again without evidence");
        job.pause().unwrap();
        pauses += 1;
    }
    context.clear_fd(&KEY).unwrap();
}

fn fd_job() -> (UnixStream, Job<()>) {
    fd_job_of(&JobOwner::new())
}

fn fd_job_of(owner: &JobOwner) -> (UnixStream, Job<()>) {
    let (device, fd) = wait_fd();
    let job = Job::with_owner(owner, move || pause_until_readable(&fd));
    (device, job)
}

/// Runs it with a waker and nothing else: who watches its wait fd is the crate's thread.
fn assert_is_woken((device, mut job): (UnixStream, Job<()>)) {
    let (waker, woken) = channel_waker();
    assert!(poll(&mut job, &waker).is_pending());
    make_readable(&device);
    woken.recv_timeout(PATIENCE.unwrap()).expect("not woken");
    assert!(poll(&mut job, &waker).is_ready());
}

/// A job in which another one is run to its end, and waits for ever.
fn blocked_inside() -> Job<Option<SuspendError>> {
    let mut outer = Job::new(|| {
        let inner = Job::new(|| suspend(pending::<()>()));
        inner.block_on(None).unwrap().err()
    });
    assert!(look(&mut outer).is_pending());
    outer
}

#[test]
fn a_job_that_waits_in_block_on_inside_a_job_takes_no_wake_ups_away_from_others() {
    on_a_new_thread(|| {
        let outer = blocked_inside();
        assert_is_woken(fd_job());
        drop(outer);
        assert_is_woken(fd_job());
        assert_none_left();
    });
}

#[test]
fn nor_does_it_when_it_is_forgotten() {
    on_a_new_thread(|| {
        std::mem::forget(blocked_inside());
        assert_is_woken(fd_job());
    });
}

/// A waker whose last drop says so, and panics.
struct DropPanics(Mutex<Sender<()>>);

impl Wake for DropPanics {
    fn wake(self: Arc<Self>) {}
}

impl Drop for DropPanics {
    fn drop(&mut self) {
        self.0.lock().unwrap().send(()).unwrap();
        panic_any("the drop of a waker, on purpose");
    }
}

/// Polls it with such a waker, which nobody but the job has then.
fn leave_a_waker_that_panics<T>(job: &mut Job<T>) -> Receiver<()> {
    let (tell, told) = channel();
    let waker = Waker::from(Arc::new(DropPanics(Mutex::new(tell))));
    assert!(poll(job, &waker).is_pending());
    told
}

#[test]
fn a_panic_in_the_drop_of_a_waker_costs_the_next_job_of_the_owner_no_wake_up() {
    on_a_thread_with_one_job(|| {
        let owner = JobOwner::new();
        let (device, mut job) = fd_job_of(&owner);
        let dropped = leave_a_waker_that_panics(&mut job);
        // It is nobody's panic.
        assert!(look(&mut job).is_pending());
        dropped.try_recv().expect("the waker was not replaced");
        assert_is_woken((device, job));
        assert_is_woken(fd_job_of(&owner));
    });
}

#[test]
fn a_panic_in_the_drop_of_a_waker_loses_no_orphan_and_no_place() {
    on_a_thread_with_one_job(|| {
        let (device, mut job) = fd_job();
        let dropped = leave_a_waker_that_panics(&mut job);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
        make_readable(&device);
        assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        dropped.try_recv().expect("the waker was kept");
        assert_eq!(JobPool::stats().reaped, 1);
    });
}

#[test]
fn a_panic_in_the_drop_of_a_waiters_waker_leaks_no_closure() {
    on_a_thread_with_one_job(|| {
        let (device, mut first) = fd_job();
        assert!(look(&mut first).is_pending());
        let held = Arc::new(());
        let closure = Arc::clone(&held);
        let mut second = Job::new(move || drop(closure));
        let dropped = leave_a_waker_that_panics(&mut second);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(second)));
        dropped.try_recv().expect("the waker was kept");
        assert_eq!(Arc::strong_count(&held), 1, "the closure was leaked");
        make_readable(&device);
        first.block_on(PATIENCE).unwrap();
    });
}

/// A job that registers the fd, and ends without clearing it.
fn register(owner: &JobOwner, fd: UnixStream, panics: bool) {
    let job = Job::with_owner(owner, move || {
        let job = CurrentJob::get().unwrap();
        let context = job.wait_context().unwrap();
        context.set_wait_fd(&KEY, fd.into()).unwrap();
        if panics {
            panic_any("a job, on purpose");
        }
    });
    let ended = catch_unwind(AssertUnwindSafe(|| job.block_on(PATIENCE).unwrap()));
    assert_eq!(ended.is_err(), panics);
}

#[test]
fn what_a_job_has_registered_is_its_owners_and_nobody_elses() {
    for panics in [false, true] {
        on_a_thread_with_one_job(move || {
            let count = || {
                let job = CurrentJob::get().unwrap();
                let fds = job.wait_context().unwrap().all_fds().unwrap();
                fds.len()
            };
            let (owner, other) = (JobOwner::new(), JobOwner::new());
            let (_device, fd) = wait_fd();
            register(&owner, fd, panics);
            let of_another = Job::with_owner(&other, count);
            assert_eq!(of_another.block_on(PATIENCE).unwrap(), 0);
            assert_eq!(Job::new(count).block_on(PATIENCE).unwrap(), 0);
            let (_device, fd) = wait_fd();
            register(&JobOwner::new(), fd, panics);
            assert_eq!(Job::new(count).block_on(PATIENCE).unwrap(), 0);
            // Nothing to wait for: resumed at once.
            let pause = Job::new(|| CurrentJob::get().unwrap().pause());
            pause.block_on(PATIENCE).expect("stuck").unwrap();
            let of_the_owner = Job::with_owner(&owner, count);
            assert_eq!(of_the_owner.block_on(PATIENCE).unwrap(), 1);
        });
    }
}

#[test]
fn a_wait_fd_that_a_former_job_left_is_no_evidence_for_another() {
    static OTHER: WaitKey = WaitKey::new();
    on_a_thread_with_one_job(|| {
        let (left, fd) = wait_fd();
        let former = Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            context.set_wait_fd(&OTHER, fd.into()).unwrap();
            left
        });
        let left = former.block_on(PATIENCE).unwrap();
        // It may be closed by now.
        let _ = std::io::Write::write(&mut &left, &[1]);
        let (device, mut job) = fd_job();
        for _ in 0..10 {
            assert!(look(&mut job).is_pending());
        }
        assert_eq!(JobPool::stats().resumed, 0);
        make_readable(&device);
        assert!(look(&mut job).is_ready());
        assert_eq!(JobPool::stats().resumed, 1);
    });
}

#[test]
fn drain_finishes_an_orphan_that_is_the_output_of_an_orphan() {
    /// Dropped after the job.
    struct OnDrop(Sender<()>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
        }
    }
    on_a_new_thread(|| {
        let (tell, told) = channel();
        let (inner_device, mut inner) = fd_job();
        assert!(look(&mut inner).is_pending());
        let (device, fd) = wait_fd();
        let mut outer = Job::new(move || {
            pause_until_readable(&fd);
            (inner, OnDrop(tell))
        });
        assert!(look(&mut outer).is_pending());
        drop(outer);
        make_readable(&device);
        let completing = thread::spawn(move || {
            told.recv().unwrap();
            make_readable(&inner_device);
            inner_device
        });
        assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        completing.join().unwrap();
        assert_eq!(JobPool::stats().reaped, 2);
        assert_none_left();
    });
}

#[test]
fn drain_finishes_a_suspended_job_that_an_orphan_drops() {
    on_a_new_thread(|| {
        let (told, inner) = suspended_for_ever();
        let (device, fd) = wait_fd();
        let mut outer = Job::new(move || {
            pause_until_readable(&fd);
            drop(inner);
        });
        assert!(look(&mut outer).is_pending());
        drop(outer);
        make_readable(&device);
        // There is nothing to wait for.
        assert_eq!(JobPool::drain(Duration::ZERO).unwrap(), 0);
        assert_eq!(told.get(), Some(SuspendError::Cancelled));
        assert_none_left();
    });
}

/// A job in flight that says what it was told in the end.
fn suspended_for_ever() -> (Rc<Cell<Option<SuspendError>>>, Job<()>) {
    let told = Rc::new(Cell::new(None));
    let tell = Rc::clone(&told);
    let mut job = Job::new(move || tell.set(suspend(pending::<()>()).err()));
    assert!(look(&mut job).is_pending());
    (told, job)
}

#[test]
fn a_suspended_job_that_is_dropped_inside_another_is_cancelled_when_that_ends() {
    on_a_new_thread(|| {
        let (told, inner) = suspended_for_ever();
        let outer = Job::new(move || drop(inner));
        outer.block_on(PATIENCE).unwrap();
        assert_eq!(told.get(), Some(SuspendError::Cancelled));
        assert_none_left();
    });
}

#[cfg(ossl300)]
#[test]
fn a_device_that_was_busy_once_is_no_evidence_for_the_next_pause() {
    on_a_thread_with_one_job(|| {
        let (device, fd) = wait_fd();
        let mut tasks = Executor::new();
        let id = tasks.spawn(Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            context.set_status(AsyncStatus::Eagain).unwrap();
            job.pause().unwrap();
            pause_until_readable(&fd);
        }));
        tasks.step();
        tasks.step();
        assert_eq!(JobPool::stats().paused, 2);
        for _ in 0..10 {
            tasks.poll(id);
        }
        assert_eq!(JobPool::stats().resumed, 1);
        make_readable(&device);
        tasks.poll(id);
        assert_eq!(tasks.finished.len(), 1);
        assert_eq!(JobPool::stats().resumed, 2);
    });
}

#[cfg(ossl300)]
#[test]
fn a_notifier_that_is_out_still_counts_after_a_wait_fd_has_resumed_its_job() {
    on_a_thread_with_one_job(|| {
        static OTHER: WaitKey = WaitKey::new();
        let (device, fd) = wait_fd();
        let (_never, other) = wait_fd();
        let (tell, told) = channel();
        let (complete, completed) = channel();
        let mut job = Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let context = job.wait_context().unwrap();
            tell.send(context.notifier().unwrap().unwrap()).unwrap();
            pause_until_readable(&fd);
            // It has something to wait for: it is not resumed as its turn comes.
            context.set_wait_fd(&OTHER, other.into()).unwrap();
            while completed.try_recv().is_err() {
                job.pause().unwrap();
            }
        });
        assert!(look(&mut job).is_pending());
        let notifier = told.try_recv().unwrap();
        make_readable(&device);
        let (waker, woken) = channel_waker();
        // Until it is paused for the second operation: how often that takes is not the point.
        while JobPool::stats().paused < 2 {
            assert!(poll(&mut job, &waker).is_pending());
        }
        let notifying = thread::spawn(move || {
            complete.send(()).unwrap();
            // SAFETY: the job that it was made in is in flight.
            unsafe { notifier.notify() };
        });
        while poll(&mut job, &waker).is_pending() {
            woken.recv_timeout(PATIENCE.unwrap()).expect("not woken");
        }
        notifying.join().unwrap();
    });
}

#[test]
fn a_clean_up_can_run_a_job_where_there_is_one_job() {
    on_a_thread_with_one_job(|| {
        let (device, fd) = wait_fd();
        make_readable(&device);
        let (tell, told) = channel();
        let job = Job::new(move || {
            let job = CurrentJob::get().unwrap();
            let raw = fd.as_raw_fd();
            let clean_up = move |_| {
                let ran = look(&mut Job::new(|| drop(fd)));
                tell.send(ran.is_ready()).unwrap();
            };
            let context = job.wait_context().unwrap();
            context.set_wait_fd_with(&KEY, raw, clean_up).unwrap();
        });
        job.block_on(PATIENCE).unwrap();
        assert_eq!(told.try_recv(), Ok(true));
    });
}

#[test]
fn the_queues_of_errors_of_a_job_and_of_its_owner_are_their_own() {
    let codes =
        |errors: &ErrorStack| -> Vec<_> { errors.errors().iter().map(Error::code).collect() };
    on_a_thread_with_one_job(move || {
        let owners = || X509::from_der(&[]).map(drop).unwrap_err();
        let jobs = || PKey::private_key_from_pem(b"none").map(drop).unwrap_err();
        let (of_the_owner, of_the_job) = (codes(&owners()), codes(&jobs()));
        assert_ne!(of_the_owner, of_the_job);
        let assert_queued = move |expected: &[_]| assert_eq!(codes(&ErrorStack::get()), expected);

        let gate = Gate::new();
        let wait = gate.wait();
        let expected = of_the_job.clone();
        owners().put();
        let mut job = Job::new(move || {
            assert_queued(&[]);
            jobs().put();
            suspend(wait).unwrap();
            assert_queued(&expected);
        });
        assert!(look(&mut job).is_pending());
        assert_queued(&of_the_owner);
        gate.open();
        owners().put();
        assert!(look(&mut job).is_ready());
        assert_queued(&of_the_owner);
    });
}

#[test]
fn a_job_that_ends_in_the_clone_of_a_waiters_waker_gives_its_place_to_that() {
    thread_local!(static LAST: RefCell<Option<Job<()>>> = const { RefCell::new(None) });
    unsafe fn clone(data: *const ()) -> RawWaker {
        drop(LAST.take());
        RawWaker::new(data, &VTABLE)
    }
    static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, |_| {}, |_| {}, |_| {});
    on_a_thread_with_one_job(|| {
        let (told, first) = suspended_for_ever();
        LAST.set(Some(first));
        // SAFETY: the functions of the table do not use the pointer, and may be called on any
        // thread.
        let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) };
        let mut second = Job::new(|| 2);
        let _ = poll(&mut second, &waker);
        assert_eq!(told.get(), Some(SuspendError::Cancelled));
        assert_eq!(second.block_on(PATIENCE).expect("stuck"), 2);
    });
}

/// The waker holds the task, and that its runtime with what it has open.
#[test]
fn a_thread_that_looks_after_orphans_and_has_no_job_keeps_no_waker_when_it_ends() {
    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let task = Arc::new(Task);
    let waker = Waker::from(Arc::clone(&task));
    on_a_new_thread(move || {
        let reap = Pin::new(&mut JobPool::reap()).poll(&mut Context::from_waker(&waker));
        assert!(reap.is_pending());
    });
    assert_eq!(Arc::strong_count(&task), 1);
}
