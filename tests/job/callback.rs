//! The completion callback of a job's wait context comes at any time, on any thread: before the
//! pause, more than once, after its job has ended (H6, H8). OpenSSL 3.0 and later.
#![cfg(ossl300)]

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use crate::common::engine::{wait_context, Operation, Tells, RESULT};
use crate::common::executor::quiet_waker;
use crate::common::runner::{channel_waker, Runner};
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl_async_jobs::{Job, JobPool};

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

/// A job of two operations, paused in the second.
fn in_its_second_operation() -> (Operation, Operation, Job<()>) {
    let [first, second] = [0; 2].map(|_| Operation::new(Tells::Callback));
    let both = [first.clone(), second.clone()];
    let mut job = Job::new(move || {
        for operation in both {
            assert_eq!(operation.run(), RESULT);
        }
    });
    assert!(poll(&mut job).is_pending());
    first.complete();
    assert!(poll(&mut job).is_pending());
    first.assert_resumed_once();
    (first, second, job)
}

#[test]
fn before_the_pause_it_counts() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let operation = Operation::new(Tells::Callback);
            let job = operation.clone();
            let job = Job::new(move || job.run_with(|| job.complete()));
            assert_eq!(runner.run(job, |_| ()), RESULT);
            operation.assert_resumed_once();
        });
    }
}

#[test]
fn twice_before_it_is_seen_it_resumes_once() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let [first, second] = [0; 2].map(|_| Operation::new(Tells::Callback));
            let both = [first.clone(), second.clone()];
            let job = Job::new(move || both.each_ref().map(Operation::run));
            let results = runner.run(job, |times| match times {
                1 => {
                    first.complete();
                    first.call_back();
                }
                // More wake-ups than one: the second operation is not resumed by them.
                _ => {
                    second.assert_not_resumed();
                    second.complete();
                }
            });
            assert_eq!(results, [RESULT; 2]);
            first.assert_resumed_once();
            second.assert_resumed_once();
        });
    }
}

#[test]
fn it_counts_for_one_pause() {
    on_a_new_thread(|| {
        let (_, second, mut job) = in_its_second_operation();
        for _ in 0..10 {
            assert!(poll(&mut job).is_pending());
        }
        second.assert_not_resumed();
        second.complete();
        assert!(poll(&mut job).is_ready());
        second.assert_resumed_once();
    });
}

#[test]
fn after_its_job_has_ended_it_is_nothing_to_the_next_job_of_the_wait_context() {
    on_a_new_thread(|| {
        let context = || wait_context() as usize;
        let former = Operation::new(Tells::Callback);
        let first = former.clone();
        let first = Job::new(move || {
            first.run_with(|| first.complete());
            context()
        });
        let first = first.block_on(PATIENCE).unwrap();

        former.call_back();
        let operation = Operation::new(Tells::Callback);
        let next = operation.clone();
        let mut next = Job::new(move || {
            former.call_back();
            next.run_with(|| former.call_back());
            (context(), former)
        });
        let (waker, woken) = channel_waker();
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut next).poll(&mut cx).is_pending());
        assert!(
            woken.try_recv().is_err(),
            "woken by a former job's callback"
        );
        operation.assert_not_resumed();
        operation.complete();
        woken.try_recv().expect("woken by its own");
        let Poll::Ready((second, former)) = Pin::new(&mut next).poll(&mut cx) else {
            panic!("it has completed");
        };
        assert_eq!(first, second, "another wait context: this tests nothing");
        operation.assert_resumed_once();

        // And when nobody has the wait context any more.
        former.call_back();
        operation.call_back();
    });
}

#[test]
fn after_its_thread_has_ended_it_is_nothing_to_anybody() {
    let operation = Operation::new(Tells::Callback);
    let job = operation.clone();
    on_a_new_thread(move || {
        let job = Job::new(move || job.run_with(|| job.complete()));
        job.block_on(PATIENCE).unwrap();
    });
    on_a_new_thread(move || {
        let mut jobs: Vec<_> = (0..100)
            .map(|_| {
                let operation = Operation::new(Tells::Callback);
                let job = operation.clone();
                (operation, Job::new(move || job.run()))
            })
            .collect();
        for (_, job) in &mut jobs {
            assert!(poll(job).is_pending());
        }
        operation.call_back();
        for (operation, job) in &mut jobs {
            assert!(poll(job).is_pending());
            operation.assert_not_resumed();
            operation.complete();
            assert!(poll(job).is_ready());
        }
    });
}

#[test]
fn on_another_thread_while_its_job_pauses_it_is_seen_and_counts_once() {
    const ROUNDS: usize = 2000;
    for runner in Runner::BOTH {
        let (submit, submitted) = channel::<(Operation, Arc<Barrier>)>();
        let device = thread::spawn(move || {
            for (round, (operation, at_once)) in submitted.iter().enumerate() {
                at_once.wait();
                // At every moment from before the pause to after it.
                for _ in 0..round % 256 * 2 {
                    std::hint::spin_loop();
                }
                operation.complete();
            }
        });
        on_a_new_thread(move || {
            for _ in 0..ROUNDS {
                let operation = Operation::new(Tells::Callback);
                let (job, submit) = (operation.clone(), submit.clone());
                let job = Job::new(move || {
                    job.run_with(|| {
                        let at_once = Arc::new(Barrier::new(2));
                        submit.send((job.clone(), Arc::clone(&at_once))).unwrap();
                        at_once.wait();
                    })
                });
                assert_eq!(runner.run(job, |_| ()), RESULT);
                operation.assert_resumed_once();
            }
            let stats = JobPool::stats();
            let rounds = ROUNDS as u64;
            assert_eq!((stats.paused, stats.resumed), (rounds, rounds));
        });
        device.join().unwrap();
    }
}

/// As by an executor that runs a task where it is woken, or that holds a lock of its own while it
/// wakes one and while it polls one.
#[test]
fn the_job_may_be_polled_again_while_its_waker_is_called() {
    struct WaitsForPoll {
        called: Mutex<Sender<()>>,
        polled: Mutex<Receiver<()>>,
        in_vain: AtomicBool,
    }
    impl Wake for WaitsForPoll {
        fn wake(self: Arc<Self>) {
            self.called.lock().unwrap().send(()).unwrap();
            let polled = self.polled.lock().unwrap();
            let waited = polled.recv_timeout(PATIENCE.unwrap());
            self.in_vain.store(waited.is_err(), Ordering::SeqCst);
        }
    }
    on_a_new_thread(|| {
        let operation = Operation::new(Tells::Callback);
        let job = operation.clone();
        let mut job = Job::new(move || job.run());
        let ((called, was_called), (tell, polled)) = (channel(), channel());
        let waits = Arc::new(WaitsForPoll {
            called: Mutex::new(called),
            polled: Mutex::new(polled),
            in_vain: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&waits));
        assert!(Pin::new(&mut job)
            .poll(&mut Context::from_waker(&waker))
            .is_pending());
        let device = operation.clone();
        let device = thread::spawn(move || device.complete());
        was_called.recv().unwrap();
        // It registers another waker first.
        assert_eq!(poll(&mut job), Poll::Ready(RESULT));
        tell.send(()).unwrap();
        device.join().unwrap();
        assert!(!waits.in_vain.load(Ordering::SeqCst), "locked meanwhile");
        operation.assert_resumed_once();
    });
}
