//! Wait fds that their engine closes, whose numbers are other files' then: the crate has no more to
//! do with them (H6, H9).

#[cfg(ossl300)]
use std::io::Read;
use std::os::fd::RawFd;

#[cfg(ossl300)]
use crate::common::ending::poll;
use crate::common::engine::{self, clear_fd, set_fd, Key, Operation, Tells};
use crate::common::runner::Runner;
use crate::common::thread::on_a_new_thread;
#[cfg(ossl300)]
use crate::common::thread::PATIENCE;
use crate::common::wait_fd::{at_number, make_readable, take_bytes, wait_fd};
use openssl_async_jobs::{Job, JobPool};

static KEY: Key = Key::new();

#[test]
fn the_number_of_one_that_was_closed_is_another_file_that_counts_for_nothing() {
    const NUMBER: RawFd = 900;
    for tells in Tells::ALL {
        for runner in Runner::BOTH {
            on_a_new_thread(move || {
                let operation = Operation::new(*tells);
                let (device, fd) = wait_fd();
                let (other_device, other) = wait_fd();
                make_readable(&other_device);
                let job = operation.clone();
                let job = Job::new(move || {
                    let fd = at_number(fd, NUMBER);
                    set_fd(&KEY, &fd);
                    engine::pause();
                    clear_fd(&KEY);
                    drop(fd);
                    // Readable all the time.
                    let other = at_number(other, NUMBER);
                    job.run();
                    take_bytes(&other)
                });
                let others_bytes = runner.run(job, |times| match times {
                    1 => make_readable(&device),
                    _ => {
                        operation.assert_not_resumed();
                        operation.complete();
                    }
                });
                assert_eq!(others_bytes, 1, "the other file was read");
                operation.assert_resumed_once();
            });
        }
    }
}

#[test]
fn one_of_the_same_number_and_key_as_one_that_was_closed_is_waited_for_itself() {
    const NUMBER: RawFd = 910;
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let [(former_device, former), (device, fd)] = [0; 2].map(|_| wait_fd());
            let keeps_it_open = former.try_clone().unwrap();
            let job = Job::new(move || {
                let former = at_number(former, NUMBER);
                set_fd(&KEY, &former);
                engine::pause();
                clear_fd(&KEY);
                drop(former);
                let fd = at_number(fd, NUMBER);
                set_fd(&KEY, &fd);
                engine::pause();
                clear_fd(&KEY);
                take_bytes(&fd)
            });
            let bytes = runner.run(job, |times| match times {
                1 => make_readable(&former_device),
                _ => {
                    make_readable(&former_device);
                    assert_eq!(JobPool::stats().resumed, 1);
                    make_readable(&device);
                }
            });
            assert_eq!(bytes, 1, "resumed by the file that was closed");
            assert_eq!(take_bytes(&keeps_it_open), 2);
        });
    }
}

/// Its engine forgot to clear it, and completes by the callback.
#[cfg(ossl300)]
#[test]
fn one_that_is_registered_and_closed_is_no_evidence() {
    const NUMBER: RawFd = 920;
    on_a_new_thread(|| {
        let operation = Operation::new(Tells::Callback);
        let job = operation.clone();
        let mut job = Job::new(move || {
            let fd = at_number(wait_fd().1, NUMBER);
            set_fd(&KEY, &fd);
            drop(fd);
            job.run();
            clear_fd(&KEY);
        });
        assert!(poll(&mut job).is_pending());
        assert!(poll(&mut job).is_pending());
        operation.assert_not_resumed();
        operation.complete();
        assert!(poll(&mut job).is_ready());
        operation.assert_resumed_once();
    });
}

/// The callback completes it, while its wait fd is watched, on whatever runs the job.
#[cfg(ossl300)]
#[test]
fn one_that_its_engine_closes_is_kept_open_by_nobody_else() {
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let operation = Operation::new(Tells::Callback);
            let (mut device, fd) = wait_fd();
            let job = operation.clone();
            let job = Job::new(move || {
                set_fd(&KEY, &fd);
                job.run();
                clear_fd(&KEY);
            });
            runner.run(job, |_| operation.complete());
            device.set_read_timeout(PATIENCE).unwrap();
            assert_eq!(device.read(&mut [0]).expect("a duplicate is open"), 0);
        });
    }
}

/// An engine's descriptor that is none, beside one that is.
#[test]
fn one_that_is_no_number_of_a_file_is_left_alone() {
    struct NoFile;
    impl std::os::fd::AsRawFd for NoFile {
        fn as_raw_fd(&self) -> RawFd {
            openssl_async_jobs::ffi::OSSL_BAD_ASYNC_FD
        }
    }
    for runner in Runner::BOTH {
        on_a_new_thread(move || {
            let operation = Operation::new(Tells::Fd);
            let job = operation.clone();
            let job = Job::new(move || {
                set_fd(&KEY, &NoFile);
                job.run();
                clear_fd(&KEY);
            });
            runner.run(job, |_| operation.complete());
            operation.assert_resumed_once();
        });
    }
}
