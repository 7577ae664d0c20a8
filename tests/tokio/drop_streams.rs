//! A local stream dropped after any number of polls of any operation: at once, whatever its engine
//! still does, and all that it had is freed once that has completed (H3).

use std::task::Poll;

use openssl_async_jobs::JobPool;
use tokio::task::spawn_local;

use super::ends::on_one_thread;
use super::held::{poll_once, Pauses};
use super::talk::{Case, Step, Talk};
use crate::common::child::in_a_process_of_its_own;

/// Whether the step came to its end before the drop, and whether something was in flight after it.
async fn drops(case: Case, within: Step, polls: usize) -> (bool, bool) {
    let mut talk = Talk::new(case);
    for step in Step::ALL {
        if step == within {
            break;
        }
        assert!(talk.step(step, usize::MAX).await);
    }
    let done = talk.step(within, polls).await;
    let Talk {
        stream,
        device,
        mut freed,
        peer,
        ..
    } = talk;
    // The device is a task of this thread: a drop that waited for it would wait for ever.
    drop(stream);
    let later = JobPool::stats().in_flight > 0;
    let at_once = matches!(
        poll_once(std::pin::Pin::new(&mut freed)).await,
        Poll::Ready(Ok(_))
    );
    assert_ne!(at_once, later, "freed too early, or not at all");
    if later {
        freed.await.unwrap();
    }
    assert_eq!(JobPool::stats().in_flight, 0);
    device.assert_each_resumed_once();
    peer.abort();
    let _ = peer.await;
    (done, later)
}

async fn drop_at_each_poll(case: Case) -> usize {
    let mut left = 0;
    for within in Step::ALL {
        for polls in 0.. {
            let (done, later) = drops(case, within, polls).await;
            left += usize::from(later);
            if done {
                break;
            }
        }
    }
    left
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn dropped_at_any_poll_it_is_gone_at_once_and_freed_when_its_engine_is_done() {
    let test = "drop_streams::\
                dropped_at_any_poll_it_is_gone_at_once_and_freed_when_its_engine_is_done";
    in_a_process_of_its_own(test, || {
        on_one_thread(async {
            let _reap = spawn_local(JobPool::reap());
            let mut open = Vec::new();
            // The first round makes what the process has once.
            for _round in 0..2 {
                for case in Case::all() {
                    let left = drop_at_each_poll(case).await;
                    println!("{case:?}: {left} in flight after the drop");
                    assert_eq!(left > 0, case.pauses != Pauses::Suspended);
                }
                open.push(open_files());
            }
            assert_eq!(open[0], open[1], "files stay open");
            let stats = JobPool::stats();
            assert_eq!(stats.finished, stats.started);
            assert_eq!((stats.in_flight, stats.waiting, stats.leaked), (0, 0, 0));
        })
    });
}
