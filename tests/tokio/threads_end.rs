//! How job threads end: with the last handle, once they are done with what was cancelled, or when
//! their time for that is over (H3, H11). What is leaked is counted for the whole process, so each
//! test has one of its own.

use std::cell::RefCell;

use std::time::Duration;

use openssl_async_jobs::tokio::JobThreads;
use openssl_async_jobs::{suspend, JobPool};
use tokio::sync::oneshot;

use super::ends::on_many_threads;
use super::held::{begin, Freed, Witness};
use crate::common::child::in_a_process_of_its_own;
use crate::common::engine::{Operation, Tells, RESULT};

/// Says when a thread of these ends.
async fn end_of(threads: &JobThreads) -> Freed {
    thread_local!(static END: RefCell<Option<Witness>> = const { RefCell::new(None) });
    let (witness, ended) = Witness::new();
    threads.run(move || END.set(Some(witness))).await;
    ended
}

/// An operation under way in a closure that is cancelled, and what says that this is freed.
async fn cancelled(threads: &JobThreads, tells: Tells) -> (Operation, Freed) {
    let (begun, begins) = oneshot::channel();
    let (witness, freed) = Witness::new();
    let mut run = Box::pin(threads.run(move || {
        let _witness = witness;
        let operation = Operation::new(tells);
        let result = operation.run_with(|| assert!(begun.send(operation.clone()).is_ok()));
        assert_eq!(result, RESULT);
    }));
    begin(run.as_mut()).await;
    (begins.await.unwrap(), freed)
}

fn one_thread(drain_timeout: Duration) -> JobThreads {
    let builder = JobThreads::builder()
        .threads(1)
        .drain_timeout(drain_timeout);
    builder.build().unwrap()
}

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn they_end_with_the_last_handle() {
    on_many_threads(async {
        let threads = JobThreads::builder().threads(1).build().unwrap();
        let mut ended = end_of(&threads).await;
        let clone = threads.clone();
        drop(threads);
        assert_eq!(clone.run(|| 1).await, 1);
        assert!(ended.try_recv().is_err());
        drop(clone);
        ended.await.unwrap();
    });
}

#[test]
fn an_operation_whose_handle_is_gone_comes_to_its_end() {
    on_many_threads(async {
        let threads = JobThreads::builder().threads(1).build().unwrap();
        let mut ended = end_of(&threads).await;
        let (open, opened) = oneshot::channel::<()>();
        let (started, starts) = oneshot::channel();
        let task = tokio::spawn(async move {
            let run = threads.run(move || {
                started.send(()).unwrap();
                suspend(opened).unwrap().unwrap();
                "done"
            });
            run.await
        });
        starts.await.unwrap();
        assert!(ended.try_recv().is_err());
        open.send(()).unwrap();
        assert_eq!(task.await.unwrap(), "done");
        ended.await.unwrap();
    });
}

#[test]
fn the_last_handle_dropped_on_a_job_thread_ends_it() {
    on_many_threads(async {
        let threads = JobThreads::builder().threads(1).build().unwrap();
        let ended = end_of(&threads).await;
        let (open, opened) = oneshot::channel::<()>();
        let inner = threads.clone();
        let mut last = Box::pin(async move {
            let run = threads.run(move || {
                let _ = suspend(opened);
                drop(inner);
            });
            run.await
        });
        begin(last.as_mut()).await;
        drop(last);
        drop(open);
        ended.await.unwrap();
    });
}

#[test]
fn they_end_when_what_was_cancelled_has_completed_and_leak_nothing() {
    let test = "threads_end::they_end_when_what_was_cancelled_has_completed_and_leak_nothing";
    in_a_process_of_its_own(test, || {
        for tells in Tells::ALL {
            on_many_threads(async {
                let threads = one_thread(PATIENCE);
                let mut ended = end_of(&threads).await;
                let mut all = Vec::new();
                for _ in 0..3 {
                    all.push(cancelled(&threads, *tells).await);
                }
                drop(threads);
                for (operation, freed) in all {
                    operation.assert_not_resumed();
                    assert!(ended.try_recv().is_err());
                    operation.complete();
                    freed.await.unwrap();
                    operation.assert_resumed_once();
                }
                ended.await.unwrap();
            });
        }
        assert_eq!(JobPool::stats().leaked, 0);
    });
}

#[test]
fn what_has_not_completed_when_their_time_is_over_is_leaked_and_counted() {
    let test = "threads_end::what_has_not_completed_when_their_time_is_over_is_leaked_and_counted";
    in_a_process_of_its_own(test, || {
        let mut leaked = 0;
        for tells in Tells::ALL {
            on_many_threads(async {
                let threads = one_thread(Duration::ZERO);
                let ended = end_of(&threads).await;
                let mut all = Vec::new();
                for _ in 0..3 {
                    all.push(cancelled(&threads, *tells).await);
                }
                let others = one_thread(PATIENCE);
                drop(threads);
                ended.await.unwrap();
                leaked += all.len() as u64;
                // Those of the process, once.
                until_leaked(&others, leaked).await;
                for (operation, mut freed) in all {
                    // Its memory is there still, for the device to write to.
                    operation.complete();
                    operation.assert_not_resumed();
                    assert!(freed.try_recv().is_err());
                }
            });
        }
    });
}

/// They are counted when the last of the thread's thread-locals are destroyed.
async fn until_leaked(threads: &JobThreads, leaked: u64) {
    loop {
        match threads.stats().await.leaked {
            so_far if so_far < leaked => tokio::task::yield_now().await,
            all => return assert_eq!(all, leaked),
        }
    }
}

#[test]
fn the_drop_of_the_last_handle_does_not_wait() {
    on_many_threads(async {
        let threads = one_thread(PATIENCE);
        let ended = end_of(&threads).await;
        let (operation, freed) = cancelled(&threads, Tells::Fd).await;
        // The operation completes after it only.
        drop(threads);
        operation.complete();
        freed.await.unwrap();
        ended.await.unwrap();
        operation.assert_resumed_once();
    });
}
