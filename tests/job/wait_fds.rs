//! The wait fds of a paused job: looked at with poll(2), never read, written or closed (H6, H9).
//! Those that their engine closes: `wait_fds_closed.rs`.

use std::future::Future;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::common::engine::{
    self, clear_fd, get_fd, set_fd, wait_context, Key, Operation, Tells, RESULT,
};
use crate::common::executor::quiet_waker;
use crate::common::runner::Runner;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use crate::common::wait_fd::{make_readable, take_bytes, wait_fd};
use openssl_async_jobs::{Job, JobOwner, JobPool};

static KEY: Key = Key::new();
static OTHER_KEY: Key = Key::new();

fn poll<T>(job: &mut Job<T>) -> Poll<T> {
    Pin::new(job).poll(&mut Context::from_waker(&quiet_waker()))
}

#[test]
fn what_is_written_to_it_is_all_there_for_the_engine() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let (device, fd) = wait_fd();
            let job = Job::new(move || {
                set_fd(&KEY, &fd);
                engine::pause();
                let bytes = take_bytes(&fd);
                // Readable again: what the crate polled is the same file, and open.
                assert_eq!(get_fd(&KEY), Some(fd.as_raw_fd()));
                engine::pause();
                clear_fd(&KEY);
                (bytes, take_bytes(&fd))
            });
            let bytes = runner.run(job, |times| {
                for _ in 0..times {
                    make_readable(&device);
                }
            });
            assert_eq!(bytes, (1, 2), "{runner:?}");
            assert_eq!(JobPool::stats().resumed, 2);
            let nothing = device.set_nonblocking(true).is_ok() && take_bytes(&device) == 0;
            assert!(nothing, "something was written to it, or it was closed");
        });
    }
}

#[test]
fn an_engine_that_hangs_up_is_evidence() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let (device, fd) = wait_fd();
            let mut device = Some(device);
            let job = Job::new(move || {
                set_fd(&KEY, &fd);
                engine::pause();
                clear_fd(&KEY);
            });
            runner.run(job, |_| device = None);
            assert_eq!(JobPool::stats().resumed, 1);
        });
    }
}

#[test]
fn of_two_wait_fds_the_one_that_was_added_later_counts_too() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let [(device, fd), (added_device, added)] = [0; 2].map(|_| wait_fd());
            let job = Job::new(move || {
                set_fd(&KEY, &fd);
                engine::pause();
                assert_eq!(take_bytes(&fd), 1);
                set_fd(&OTHER_KEY, &added);
                engine::pause();
                assert_eq!((take_bytes(&fd), take_bytes(&added)), (0, 1));
                clear_fd(&OTHER_KEY);
                engine::pause();
                assert_eq!(take_bytes(&fd), 1);
                clear_fd(&KEY);
            });
            let devices = [&device, &added_device, &device];
            runner.run(job, |times| make_readable(devices[times - 1]));
            assert_eq!(JobPool::stats().resumed, 3);
        });
    }
}

#[test]
fn of_sixty_four_wait_fds_any_one_counts() {
    static KEYS: [Key; 64] = [const { Key::new() }; 64];
    for runner in Runner::BOTH {
        for readable in [0, 31, 63] {
            on_a_new_thread(move || {
                let (devices, fds): (Vec<_>, Vec<_>) = KEYS.iter().map(|_| wait_fd()).unzip();
                let job = Job::new(move || {
                    for (key, fd) in KEYS.iter().zip(&fds) {
                        set_fd(key, fd);
                    }
                    engine::pause();
                    KEYS.iter().for_each(clear_fd);
                    fds.iter().map(take_bytes).collect::<Vec<_>>()
                });
                let bytes = runner.run(job, |_| make_readable(&devices[readable]));
                let expected: Vec<_> = (0..64).map(|n| usize::from(n == readable)).collect();
                assert_eq!(bytes, expected);
                assert_eq!(JobPool::stats().resumed, 1);
            });
        }
    }
}

#[test]
fn one_that_was_replaced_under_its_key_counts_no_more() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let [(former_device, former), (device, fd)] = [0; 2].map(|_| wait_fd());
            let mut job = Job::new(move || {
                set_fd(&KEY, &former);
                engine::pause();
                clear_fd(&KEY);
                set_fd(&KEY, &fd);
                // The former one stays readable, as its byte is not taken.
                engine::pause();
                clear_fd(&KEY);
                (take_bytes(&former), take_bytes(&fd))
            });
            let bytes = runner.run(&mut job, |times| match times {
                1 => make_readable(&former_device),
                _ => {
                    assert_eq!(JobPool::stats().resumed, 1);
                    make_readable(&former_device);
                    make_readable(&device);
                }
            });
            assert_eq!(bytes, (2, 1));
        });
    }
}

#[test]
fn one_that_an_engine_keeps_is_there_for_the_next_job_of_its_owner_and_for_no_other() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let (device, fd) = wait_fd();
            let number = fd.as_raw_fd();
            let one = move |fd: UnixStream| {
                engine::pause();
                assert_eq!(take_bytes(&fd), 1);
                (wait_context() as usize, fd)
            };
            let owner = JobOwner::new();
            let first = Job::with_owner(&owner, move || {
                set_fd(&KEY, &fd);
                one(fd)
            });
            let (context, mut fd) = runner.run(first, |_| make_readable(&device));
            for _ in 0..3 {
                let other = Job::new(|| assert_eq!(get_fd(&KEY), None));
                runner.run(other, |_| ());
                let next = Job::with_owner(&owner, move || {
                    assert_eq!(get_fd(&KEY), Some(number));
                    one(fd)
                });
                let (same, back) = runner.run(next, |_| make_readable(&device));
                assert_eq!(same, context);
                fd = back;
            }
            assert_eq!(JobPool::stats().resumed, 4);
        });
    }
}

#[test]
fn one_that_is_left_readable_is_no_evidence_for_the_next_job() {
    on_a_new_thread(|| {
        let (device, fd) = wait_fd();
        let left = fd.try_clone().unwrap();
        let first = Job::new(move || {
            set_fd(&KEY, &left);
            make_readable(&device);
            (device, left)
        });
        let kept = first.block_on(PATIENCE).unwrap();
        let operation = Operation::new(Tells::Fd);
        let next = operation.clone();
        let mut next = Job::new(move || next.run());
        assert!(poll(&mut next).is_pending());
        assert!(poll(&mut next).is_pending());
        operation.assert_not_resumed();
        operation.complete();
        assert_eq!(poll(&mut next), Poll::Ready(RESULT));
        operation.assert_resumed_once();
        assert_eq!(take_bytes(&fd), 1);
        drop(kept);
    });
}
