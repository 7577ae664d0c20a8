//! Pauses that no completion follows: the device was busy (`ASYNC_STATUS_EAGAIN`), or the producer
//! left nothing to wait for. They are resumed at their turn, once a poll (H6). See also
//! `status.rs`.

use std::cell::RefCell;
use std::rc::Rc;

use crate::common::engine;
use crate::common::executor::Executor;
use crate::common::thread::on_a_new_thread;
#[cfg(ossl300)]
use openssl_async_jobs::ffi;
use openssl_async_jobs::{CurrentJob, Job};

/// Jobs that note each of their attempts, each in a task of its own, until nobody is woken.
fn attempts_of_three(attempt: fn()) -> Vec<usize> {
    const ATTEMPTS: usize = 4;
    let noted = Rc::new(RefCell::new(Vec::new()));
    let mut tasks = Executor::new();
    for id in 0..3 {
        let noted = Rc::clone(&noted);
        tasks.spawn(Job::new(move || {
            for _ in 0..ATTEMPTS {
                noted.borrow_mut().push(id);
                attempt();
            }
        }));
    }
    // Each step is one attempt of one of them: nothing is tried again within a poll.
    for step in 0..3 * ATTEMPTS {
        assert_eq!(noted.borrow().len(), step);
        tasks.step().expect("its turn was not asked for");
    }
    assert_eq!(tasks.finished.len(), 0);
    tasks.run();
    assert_eq!(tasks.finished.len(), 3);
    assert_eq!(tasks.all_polls(), 3 * (ATTEMPTS + 1));
    noted.take()
}

#[cfg(ossl300)]
#[test]
fn a_busy_device_is_tried_again_after_the_others_had_their_turn() {
    let in_turn = [[0, 1, 2]; 4].concat();
    let tried = on_a_new_thread(|| {
        attempts_of_three(|| {
            engine::set_status(ffi::ASYNC_STATUS_EAGAIN);
            engine::pause();
        })
    });
    assert_eq!(tried, in_turn);
}

#[test]
fn a_yield_of_ours_is_resumed_after_the_others_had_their_turn() {
    let in_turn = [[0, 1, 2]; 4].concat();
    let yielded =
        on_a_new_thread(|| attempts_of_three(|| CurrentJob::get().unwrap().pause().unwrap()));
    assert_eq!(yielded, in_turn);
}

/// Before OpenSSL 3.0 a producer without wait fds can have nothing else that completes.
#[cfg(not(ossl300))]
#[test]
fn a_producer_that_registered_nothing_is_resumed_after_the_others_had_their_turn() {
    let in_turn = [[0, 1, 2]; 4].concat();
    assert_eq!(
        on_a_new_thread(|| attempts_of_three(engine::pause)),
        in_turn
    );
}
