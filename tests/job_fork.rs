//! After fork(2) the child has copies of its parent's fibres: they are not for it to run (H14). Jobs
//! of its own work, whatever its parent had in flight.
//!
//! Each test is run in a process of its own, whose main thread forks.
#![cfg(target_os = "linux")]

mod common;

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::child::{in_a_process_of_its_own, no_core_file};
use common::executor::{quiet_waker, Gate};
use common::handshake::elsewhere;
use common::job::{Job as RawJob, Outcome, WaitContext};
use common::thread::PATIENCE;
use openssl_async_jobs::{suspend, CurrentJob, Job, JobPool, WaitKey};

/// Runs it in a child of this process, which ends with it: successfully unless it panics.
fn fork(child: impl FnOnce()) -> ExitStatus {
    fork_beside(child, || ())
}

/// [`fork`], and runs something here meanwhile.
fn fork_beside(child: impl FnOnce(), parent: impl FnOnce()) -> ExitStatus {
    // SAFETY: asks nothing of its caller. What other threads of this process hold at that moment is
    // held in the child for ever: glibc's own locks excepted, that is for the crate to cope with.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        // Should it get stuck, it is ended.
        // SAFETY: a timer of this process.
        unsafe { libc::alarm(60) };
        let good = catch_unwind(AssertUnwindSafe(child)).is_ok();
        // SAFETY: ends the process, with nothing of its parent's.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    parent();
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    ExitStatus::from_raw(status)
}

#[track_caller]
fn assert_works_in_a_child(child: impl FnOnce()) {
    let status = fork(child);
    assert!(
        status.success(),
        "{}",
        match status.signal() {
            Some(libc::SIGALRM) => "the child got stuck".to_owned(),
            _ => format!("the child ended with {status}"),
        }
    );
}

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// A job that is suspended until the gate opens.
fn parked(gate: &Gate) -> Job<i32> {
    let wait = gate.wait();
    let mut job = Job::new(move || suspend(wait).map_or(-1, |()| 1));
    assert!(poll(&mut job).is_pending());
    job
}

/// Pauses the running job until this is readable.
fn pause_until_readable(fd: &UnixStream) {
    static KEY: WaitKey = WaitKey::new();
    let job = CurrentJob::get().unwrap();
    let context = job.wait_context().unwrap();
    let registered: OwnedFd = fd.try_clone().unwrap().into();
    context.set_wait_fd(&KEY, registered).unwrap();
    job.pause().unwrap();
    context.clear_fd(&KEY).unwrap();
}

/// A job that waits for a wait fd, and who makes that readable.
fn waits_for_an_fd() -> (Job<i32>, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    let job = Job::new(move || {
        pause_until_readable(&there);
        (&there).read(&mut [0]).unwrap() as i32
    });
    (job, here)
}

/// A waker that is not `block_on`'s.
fn plain_waker() -> (Waker, Receiver<()>) {
    struct Tell(SyncSender<()>);
    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }
    let (tell, told) = sync_channel(1);
    (Waker::from(Arc::new(Tell(tell))), told)
}

/// Runs a job that waits for a wait fd with a plain waker, so that the poller thread is needed.
fn run_with_the_poller_thread() {
    let (mut job, mut fd) = waits_for_an_fd();
    let (waker, told) = plain_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut job).poll(&mut cx).is_pending());
    fd.write_all(&[1]).unwrap();
    loop {
        told.recv_timeout(PATIENCE.unwrap()).expect("not woken");
        if let Poll::Ready(read) = Pin::new(&mut job).poll(&mut cx) {
            assert_eq!(read, 1);
            return;
        }
    }
}

#[test]
fn a_job_of_the_parents_is_refused_in_the_child_and_goes_on_in_the_parent() {
    const TEST: &str = "a_job_of_the_parents_is_refused_in_the_child_and_goes_on_in_the_parent";
    in_a_process_of_its_own(TEST, || {
        let gate = Gate::new();
        let mut suspended = parked(&gate);
        let mut new = Job::new(|| 2);
        assert_works_in_a_child(|| {
            gate.open();
            for job in [&mut suspended, &mut new] {
                let polled = catch_unwind(AssertUnwindSafe(|| poll(job).is_ready()));
                let payload = polled.expect_err("it was not refused");
                let message = payload.downcast::<&str>().unwrap();
                assert!(message.contains("in another process"), "{message}");
            }
        });
        gate.open();
        assert_eq!(suspended.block_on(PATIENCE).unwrap(), 1);
        assert_eq!(new.block_on(PATIENCE).unwrap(), 2);
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn a_job_of_the_parents_is_leaked_where_the_child_drops_it() {
    const TEST: &str = "a_job_of_the_parents_is_leaked_where_the_child_drops_it";
    in_a_process_of_its_own(TEST, || {
        let (gate, ran, held) = (Gate::new(), Rc::new(Cell::new(false)), Rc::new(()));
        let (wait, run, holds) = (gate.wait(), Rc::clone(&ran), Rc::clone(&held));
        let mut job = Job::new(move || {
            let _holds = holds;
            let answer = suspend(wait);
            run.set(true);
            answer
        });
        assert!(poll(&mut job).is_pending());
        let mut job = Some(job);
        assert_works_in_a_child(|| {
            drop(job.take());
            assert!(!ran.get(), "it ran in the child");
            assert_eq!(Rc::strong_count(&held), 2, "it was freed in the child");
        });
        gate.open();
        assert_eq!(job.take().unwrap().block_on(PATIENCE).unwrap(), Ok(()));
        assert!(ran.get());
    });
}

#[test]
fn an_orphan_of_the_parents_is_not_resumed_by_the_child() {
    const TEST: &str = "an_orphan_of_the_parents_is_not_resumed_by_the_child";
    in_a_process_of_its_own(TEST, || {
        let ran = Rc::new(Cell::new(false));
        let (run, (mut here, there)) = (Rc::clone(&ran), UnixStream::pair().unwrap());
        let mut job = Job::new(move || {
            pause_until_readable(&there);
            run.set(true);
        });
        assert!(poll(&mut job).is_pending());
        drop(job);
        here.write_all(&[1]).unwrap();
        assert_works_in_a_child(|| {
            // Whatever looks after orphans.
            assert_eq!(Job::new(|| 1).block_on(PATIENCE).unwrap(), 1);
            let left = JobPool::drain(Duration::ZERO).unwrap();
            assert!(!ran.get(), "it was resumed");
            assert_eq!(left, 0, "it is not the child's");
        });
        assert_eq!(JobPool::drain(PATIENCE.unwrap()).unwrap(), 0);
        assert!(ran.get());
    });
}

/// Resumes in a child what `CurrentJob::pause` has paused.
fn assert_aborted_in_a_child() {
    let context = WaitContext::new();
    let ran = Rc::new(Cell::new(false));
    let run = Rc::clone(&ran);
    let mut job = RawJob::new(&context, move || {
        CurrentJob::get().unwrap().pause().unwrap();
        run.set(true);
    });
    assert_eq!(job.run(), Outcome::Paused);
    let status = fork(|| {
        no_core_file();
        job.run();
    });
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    assert_eq!(job.run(), Outcome::Finished);
    assert!(ran.get());
}

#[test]
fn a_pause_that_the_child_resumes_aborts_it() {
    in_a_process_of_its_own("a_pause_that_the_child_resumes_aborts_it", || {
        assert_eq!(Job::new(|| 1).block_on(PATIENCE).unwrap(), 1);
        assert_aborted_in_a_child();
    });
}

#[test]
fn a_pause_that_the_child_resumes_aborts_it_also_where_no_job_of_ours_has_run() {
    const TEST: &str = "a_pause_that_the_child_resumes_aborts_it_also_where_no_job_of_ours_has_run";
    in_a_process_of_its_own(TEST, assert_aborted_in_a_child);
}

/// Runs it in a child whose parent has used all of this, and still has a job in flight.
fn after_the_parents_jobs(test: &str, child: impl FnOnce()) {
    in_a_process_of_its_own(test, || {
        let asks = || suspend(elsewhere(|| 3)).unwrap();
        assert_eq!(Job::new(asks).block_on(PATIENCE).unwrap(), 3);
        run_with_the_poller_thread();
        let gate = Gate::new();
        let job = parked(&gate);
        assert_works_in_a_child(child);
        gate.open();
        assert_eq!(job.block_on(PATIENCE).unwrap(), 1);
        run_with_the_poller_thread();
    });
}

#[test]
fn a_new_job_of_the_childs_suspends_until_another_thread_wakes_it() {
    const TEST: &str = "a_new_job_of_the_childs_suspends_until_another_thread_wakes_it";
    after_the_parents_jobs(TEST, || {
        for n in 0..100 {
            let job = Job::new(move || suspend(elsewhere(move || n)).unwrap());
            assert_eq!(job.block_on(PATIENCE).unwrap(), n);
        }
    });
}

#[test]
fn a_new_job_of_the_childs_waits_for_a_file_descriptor() {
    const TEST: &str = "a_new_job_of_the_childs_waits_for_a_file_descriptor";
    after_the_parents_jobs(TEST, || {
        let (mut job, mut fd) = waits_for_an_fd();
        assert!(poll(&mut job).is_pending());
        let writer = thread::spawn(move || fd.write_all(&[1]).map(|()| fd));
        assert_eq!(job.block_on(PATIENCE).unwrap(), 1);
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn a_new_job_of_the_childs_waits_for_a_file_descriptor_with_any_waker() {
    const TEST: &str = "a_new_job_of_the_childs_waits_for_a_file_descriptor_with_any_waker";
    after_the_parents_jobs(TEST, run_with_the_poller_thread);
}

#[test]
fn the_limit_of_a_pool_is_the_parents_and_does_not_hold_up_the_child() {
    const TEST: &str = "the_limit_of_a_pool_is_the_parents_and_does_not_hold_up_the_child";
    in_a_process_of_its_own(TEST, || {
        JobPool::builder().max_jobs(1).init().unwrap();
        let gate = Gate::new();
        let first = parked(&gate);
        let mut second = Job::new(|| 2);
        assert!(poll(&mut second).is_pending());
        assert_works_in_a_child(|| {
            let stats = JobPool::stats();
            assert_eq!((stats.in_flight, stats.waiting), (0, 0));
            let asks = || suspend(elsewhere(|| 3)).unwrap();
            assert_eq!(Job::new(asks).block_on(PATIENCE).unwrap(), 3);
            assert_eq!(JobPool::stats().in_flight, 0);
        });
        gate.open();
        assert_eq!(first.block_on(PATIENCE).unwrap(), 1);
        assert_eq!(second.block_on(PATIENCE).unwrap(), 2);
    });
}

/// Both wait at once, each to be woken by a thread of its own: neither takes the other's wake-up.
#[test]
fn parent_and_child_wait_side_by_side() {
    in_a_process_of_its_own("parent_and_child_wait_side_by_side", || {
        let wait_often = || {
            for n in 0..2000 {
                let job = Job::new(move || suspend(elsewhere(move || n)).unwrap());
                assert_eq!(job.block_on(PATIENCE).unwrap(), n);
            }
        };
        // So that there is something to share.
        Job::new(|| suspend(elsewhere(|| 3)).unwrap())
            .block_on(PATIENCE)
            .unwrap();
        let status = fork_beside(wait_often, wait_often);
        assert!(status.success(), "{status}");
    });
}

#[test]
fn a_fork_inside_a_job_leaves_the_child_its_jobs() {
    in_a_process_of_its_own("a_fork_inside_a_job_leaves_the_child_its_jobs", || {
        let gate = Gate::default();
        let other = parked(&gate);
        let forks = Job::new(move || {
            // SAFETY: as in `fork_beside`.
            let pid = unsafe { libc::fork() };
            // Inside a job it runs where it is.
            assert_eq!(Job::new(|| 5).block_on(PATIENCE).unwrap(), 5);
            pid
        });
        let parent = std::process::id();
        let forked = catch_unwind(AssertUnwindSafe(|| forks.block_on(PATIENCE).unwrap()));
        if std::process::id() != parent {
            // SAFETY: a timer of this process.
            unsafe { libc::alarm(60) };
            let good = forked.is_ok_and(|pid| pid == 0)
                && catch_unwind(|| {
                    assert_eq!(JobPool::stats().in_flight, 0);
                    let job = Job::new(|| suspend(async { 6 }));
                    assert_eq!(job.block_on(PATIENCE).unwrap(), Ok(6));
                    assert_eq!(JobPool::stats().in_flight, 0);
                })
                .is_ok();
            // SAFETY: ends the process, with nothing of its parent's.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let (child, mut status) = (forked.unwrap(), 0);
        // SAFETY: our child, and a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        gate.open();
        assert_eq!(other.block_on(PATIENCE).unwrap(), 1);
    });
}

#[test]
fn a_job_that_has_forked_and_is_dropped_paused_in_the_child_takes_no_place_there() {
    let test = "a_job_that_has_forked_and_is_dropped_paused_in_the_child_takes_no_place_there";
    in_a_process_of_its_own(test, || {
        JobPool::builder().max_jobs(1).init().unwrap();
        let parent = std::process::id();
        let mut forks = Job::new(move || {
            // SAFETY: as in `fork_beside`.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                JobPool::stats();
                let _ = suspend(std::future::pending::<()>());
            }
            pid
        });
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut forks)));
        if std::process::id() != parent {
            // SAFETY: a timer of this process.
            unsafe { libc::alarm(60) };
            let good = polled.is_ok_and(|polled| polled.is_pending());
            drop(forks);
            let next = catch_unwind(|| Job::new(|| 1).block_on(PATIENCE).is_ok_and(|one| one == 1));
            let good = good && next.unwrap_or(false) && JobPool::stats().in_flight == 0;
            // SAFETY: ends the process, with nothing of its parent's.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        let Poll::Ready(child) = polled.unwrap() else {
            panic!("the parent's job waits for nothing");
        };
        let mut status = 0;
        // SAFETY: our child, and a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    });
}

#[test]
fn a_pool_that_the_child_makes_keeps_its_size() {
    in_a_process_of_its_own("a_pool_that_the_child_makes_keeps_its_size", || {
        // So that forks are counted.
        assert_eq!(Job::new(|| 1).block_on(PATIENCE).unwrap(), 1);
        assert_works_in_a_child(|| {
            let test = || {
                JobPool::builder()
                    .max_jobs(1)
                    .preallocate(1)
                    .init()
                    .unwrap();
                let (one, two) = (WaitContext::new(), WaitContext::new());
                let pauses = || drop(CurrentJob::get().unwrap().pause());
                let mut first = RawJob::new(&one, pauses);
                assert_eq!(first.run(), Outcome::Paused);
                let mut second = RawJob::new(&two, || ());
                assert_eq!(second.run(), Outcome::NoJobs);
                assert_eq!(first.run(), Outcome::Finished);
                assert_eq!(second.run(), Outcome::Finished);
            };
            thread::spawn(test).join().unwrap();
        });
    });
}
