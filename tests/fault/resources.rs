//! What the system refuses: file descriptors, threads, memory for a stack. An error each time, or an
//! operation that runs all the same; never a crash, a hang or a leak (H3, H4, H9, H12).

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::thread;
use std::time::Duration;

use openssl_async_jobs::{
    block_on, suspend, CurrentJob, Error, Job, JobPool, SuspendError, WaitKey,
};

use crate::common::child::in_a_process_of_its_own;
use crate::common::executor::{quiet_waker, yield_once};
use crate::common::refuse::{refuse, Refused, DESCRIPTORS, THREADS};
use crate::common::runner::Runner;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use crate::common::wait_fd::{make_readable, take_bytes, wait_fd};

static KEY: WaitKey = WaitKey::new();

const STACK: usize = 32 << 20;
const NO_STACK: Refused = Refused::Mmap(STACK as u32, libc::ENOMEM);

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[track_caller]
fn assert_nothing_is_left() {
    let stats = JobPool::stats();
    let left = (stats.in_flight, stats.waiting, stats.leaked);
    assert_eq!(left, (0, 0, 0), "in flight, waiting, leaked");
}

/// Waits for a wait fd that is readable when it says so.
fn waits_for(fd: std::os::unix::net::UnixStream) -> Job<usize> {
    Job::new(move || {
        let job = CurrentJob::get().unwrap();
        let context = job.wait_context().unwrap();
        let registered = fd.try_clone().unwrap();
        context.set_wait_fd(&KEY, registered.into()).unwrap();
        let mut taken = 0;
        while taken == 0 {
            job.pause().unwrap();
            taken = take_bytes(&fd);
        }
        context.clear_fd(&KEY).unwrap();
        taken
    })
}

#[test]
fn without_memory_for_a_stack_an_operation_runs_synchronously() {
    const TEST: &str = "resources::without_memory_for_a_stack_an_operation_runs_synchronously";
    in_a_process_of_its_own(TEST, || {
        JobPool::builder().stack_size(STACK).init().unwrap();
        refuse(&NO_STACK);
        for _ in 0..3 {
            let job = Job::new(|| suspend(async { 1 }));
            let answer = job.block_on(PATIENCE).unwrap();
            assert_eq!(answer, Err(SuspendError::NotInJob));
        }
        assert_nothing_is_left();
    });
}

#[test]
fn without_memory_for_another_stack_a_job_waits_for_the_first_ones() {
    const TEST: &str = "resources::without_memory_for_another_stack_a_job_waits_for_the_first_ones";
    in_a_process_of_its_own(TEST, || {
        JobPool::builder().stack_size(STACK).init().unwrap();
        let mut first = Job::new(|| suspend(yield_once()).unwrap());
        let waker = quiet_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut first).poll(&mut cx).is_pending());
        refuse(&NO_STACK);
        let mut second = Job::new(|| suspend(async { 2 }));
        assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
        assert_eq!(JobPool::stats().waiting, 1);
        first.block_on(PATIENCE).unwrap();
        assert_eq!(second.block_on(PATIENCE).unwrap(), Ok(2));
        assert_nothing_is_left();
    });
}

#[test]
fn without_memory_a_pool_that_preallocates_is_an_error_and_the_next_one_is_not() {
    const TEST: &str =
        "resources::without_memory_a_pool_that_preallocates_is_an_error_and_the_next_one_is_not";
    in_a_process_of_its_own(TEST, || {
        refuse(&NO_STACK);
        let pool = JobPool::builder().max_jobs(4).preallocate(2);
        let refused = pool.clone().stack_size(STACK).init().unwrap_err();
        assert!(matches!(refused, Error::Io(_)), "{refused:?}");
        pool.init().unwrap();
        let job = Job::new(|| suspend(async { 1 }));
        assert_eq!(job.block_on(PATIENCE).unwrap(), Ok(1));
    });
}

#[test]
fn without_file_descriptors_block_on_panics_and_the_job_is_not_lost() {
    const TEST: &str =
        "resources::without_file_descriptors_block_on_panics_and_the_job_is_not_lost";
    in_a_process_of_its_own(TEST, || {
        refuse(&DESCRIPTORS);
        let dropped = Rc::new(Cell::new(false));
        struct Tells(Rc<Cell<bool>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let tells = Tells(Rc::clone(&dropped));
        let job = Job::new(move || drop(tells));
        let panic = catch_unwind(AssertUnwindSafe(|| job.block_on(PATIENCE)));
        assert!(panic.is_err());
        assert!(dropped.get());
        assert_nothing_is_left();
    });
}

#[test]
fn without_file_descriptors_drain_is_an_error_and_keeps_what_it_has() {
    const TEST: &str =
        "resources::without_file_descriptors_drain_is_an_error_and_keeps_what_it_has";
    in_a_process_of_its_own(TEST, || {
        let (device, fd) = wait_fd();
        let mut job = waits_for(fd);
        let waker = quiet_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
        refuse(&DESCRIPTORS);
        drop(job);
        let refused = JobPool::drain(Duration::ZERO).unwrap_err();
        assert!(matches!(refused, Error::Io(_)), "{refused:?}");
        assert_eq!(JobPool::stats().in_flight, 1);
        make_readable(&device);
        // The next job's poll sweeps.
        let mut next = Job::new(|| 1);
        assert!(Pin::new(&mut next).poll(&mut cx).is_ready());
        assert_nothing_is_left();
    });
}

/// Every way to wait for a wait fd, on a thread that gets no more of what is refused.
fn wait_fds_are_waited_for_without(refused: &'static Refused) {
    // All that a thread has once: the landmarks, and the waker of `block_on`.
    Job::new(|| suspend(yield_once()).unwrap())
        .block_on(PATIENCE)
        .unwrap();
    let made = [0; 2].map(|_| wait_fd());
    let [(device, fd), (second_device, second)] = made;
    // Its duplicates are made before.
    let mut jobs = [waits_for(fd), waits_for(second)];
    let waker = quiet_waker();
    let mut cx = Context::from_waker(&waker);
    if let Refused::Calls(_, libc::EMFILE) = refused {
        // The job itself duplicates: up to its first pause.
        for job in &mut jobs {
            assert!(Pin::new(job).poll(&mut cx).is_pending());
        }
    }
    let before = descriptors();
    refuse(refused);
    let [first, second] = jobs;
    let mut device = Some(device);
    let read = Runner::WakerOnly.run(first, |_| {
        // Not before it has looked once.
        if let Some(device) = device.take() {
            make_readable(&device);
        }
    });
    assert_eq!(read, 1);
    let mut device = Some(second_device);
    let read = Runner::BlockOn.run(second, |_| {
        if let Some(device) = device.take() {
            make_readable(&device);
        }
    });
    assert_eq!(read, 1);
    assert_nothing_is_left();
    assert!(descriptors() <= before, "descriptors are left");
}

#[test]
fn without_file_descriptors_wait_fds_are_looked_at() {
    const TEST: &str = "resources::without_file_descriptors_wait_fds_are_looked_at";
    in_a_process_of_its_own(TEST, || wait_fds_are_waited_for_without(&DESCRIPTORS));
}

#[test]
fn without_a_thread_wait_fds_are_looked_at() {
    const TEST: &str = "resources::without_a_thread_wait_fds_are_looked_at";
    in_a_process_of_its_own(TEST, || wait_fds_are_waited_for_without(&THREADS));
}

#[test]
fn where_no_thread_could_ever_be_started_jobs_run_synchronously() {
    const TEST: &str = "resources::where_no_thread_could_ever_be_started_jobs_run_synchronously";
    in_a_process_of_its_own(TEST, || {
        refuse(&THREADS);
        assert!(thread::Builder::new().spawn(|| ()).is_err());
        for _ in 0..3 {
            let answer = block_on(Job::new(|| suspend(async { 1 })), PATIENCE);
            assert_eq!(answer.unwrap(), Err(SuspendError::NotInJob));
        }
        assert_nothing_is_left();
    });
}

#[test]
fn at_the_limit_of_open_files_jobs_and_their_ends_lose_none() {
    const TEST: &str = "resources::at_the_limit_of_open_files_jobs_and_their_ends_lose_none";
    in_a_process_of_its_own(TEST, || {
        Job::new(|| suspend(yield_once()).unwrap())
            .block_on(PATIENCE)
            .unwrap();
        let before = descriptors();
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a place for the answer.
        let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
        assert_eq!(got, 0);
        let former = limit.rlim_cur;
        for room in 0..6 {
            // `descriptors` counts its own, too.
            limit.rlim_cur = (before - 1 + room) as libc::rlim_t;
            // SAFETY: a limit of this process.
            let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
            assert_eq!(set, 0);
            // A thread without a waker yet.
            on_a_new_thread(|| {
                let answer = catch_unwind(|| {
                    let job = Job::new(|| suspend(yield_once()));
                    job.block_on(PATIENCE).unwrap()
                });
                assert!(matches!(answer, Ok(Ok(())) | Err(_)));
                assert_nothing_is_left();
            });
        }
        limit.rlim_cur = former;
        // SAFETY: as above.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        assert_eq!(set, 0);
        assert_eq!(descriptors(), before);
    });
}
