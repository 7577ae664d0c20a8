//! The future of an operation of a local stream dropped after any number of polls: the stream goes on
//! with any other one, and no byte is lost, repeated or misdirected (H2).

use openssl_async_jobs::JobPool;

use super::ends::on_one_thread;
use super::held::Pauses;
use super::talk::{Case, Step, Talk};
use crate::common::thread::on_a_new_thread;

/// One conversation; whether the step came to its end undropped. Adds how often it paused.
async fn drops(case: Case, dropped: Step, polls: usize, next: Step, paused: &mut usize) -> bool {
    let mut talk = Talk::new(case);
    for step in Step::ALL {
        if step == dropped {
            break;
        }
        assert!(talk.step(step, usize::MAX).await);
    }
    let before = JobPool::stats().in_flight;
    let done = talk.step(dropped, polls).await;
    assert!(JobPool::stats().in_flight <= before + 1);
    let shut = dropped == Step::Shutdown || next == Step::Shutdown;
    assert!(talk.step(next, usize::MAX).await);
    let from = if shut { Step::Shutdown } else { dropped };
    if next == Step::Shutdown && dropped != Step::Shutdown {
        // What the peer has said is there all the same.
        assert!(talk.step(Step::Read, usize::MAX).await);
    }
    talk.finish(from).await;
    *paused += talk.device.assert_each_resumed_once();
    assert_eq!(JobPool::stats().in_flight, 0);
    done
}

fn drop_at_each_poll(dropped: Step) {
    on_a_new_thread(move || {
        on_one_thread(async move {
            for case in Case::all() {
                let (mut paused, mut most) = (0, 0);
                for (n, _) in dropped.next().iter().enumerate() {
                    // There are many polls in a handshake: each has one of the others after it.
                    let turn = usize::from(dropped == Step::Handshake);
                    for polls in 0.. {
                        let next = dropped.next()[(n + turn * polls) % dropped.next().len()];
                        most = most.max(polls);
                        if drops(case, dropped, polls, next, &mut paused).await {
                            break;
                        }
                    }
                    if dropped == Step::Handshake && n > 0 {
                        break;
                    }
                }
                println!("{dropped:?} {case:?}: dropped after 0 to {most} polls");
                assert_eq!(paused > 0, case.pauses != Pauses::Suspended);
                assert!(most > 0 || dropped != Step::Handshake);
            }
            let stats = JobPool::stats();
            assert_eq!(stats.finished, stats.started);
            assert_eq!(stats.paused, stats.resumed);
        })
    })
}

#[test]
fn a_handshake_dropped_at_any_poll_is_gone_on_with_by_any_other_operation() {
    drop_at_each_poll(Step::Handshake);
}

#[test]
fn a_write_dropped_at_any_poll_is_written_once_or_not_at_all() {
    drop_at_each_poll(Step::Write);
}

#[test]
fn a_flush_dropped_at_any_poll_loses_nothing() {
    drop_at_each_poll(Step::Flush);
}

#[test]
fn a_read_dropped_at_any_poll_leaves_what_it_brings_to_the_next() {
    drop_at_each_poll(Step::Read);
}

#[test]
fn a_shutdown_dropped_at_any_poll_is_gone_on_with() {
    drop_at_each_poll(Step::Shutdown);
}
