//! The future of a closure on job threads dropped in each of its states, as `threads_drop.rs` has it of
//! handshakes (H1, H3).

use openssl_async_jobs::{suspend, SuspendError};
use tokio::sync::{mpsc, oneshot};

use super::ends::on_many_threads;
use super::held::{begin, Witness};
use super::pinned::{assert_idle, one_thread, thread_of, until};
use crate::common::engine::{Operation, Tells, RESULT};

#[test]
fn a_closure_is_dropped_or_cancelled_on_its_thread() {
    on_many_threads(async {
        let threads = one_thread(1);
        let thread = thread_of(&threads).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let (witness, freed) = Witness::new();
        let (started, starts) = oneshot::channel();
        let mut suspended = Box::pin(threads.run(move || {
            let _witness = witness;
            started.send(()).unwrap();
            tell.send(suspend(std::future::pending::<()>())).unwrap();
        }));
        begin(suspended.as_mut()).await;
        starts.await.unwrap();
        let (witness, queued_freed) = Witness::new();
        let mut queued = Box::pin(threads.run(move || {
            let _witness = witness;
            panic!("it ran")
        }));
        begin(queued.as_mut()).await;
        until(&threads, |stats| stats.waiting == 1).await;
        drop(queued);
        assert_eq!(queued_freed.await.unwrap(), thread);
        assert!(told.try_recv().is_err());
        drop(suspended);
        assert_eq!(freed.await.unwrap(), thread);
        assert_eq!(told.recv().await.unwrap(), Err(SuspendError::Cancelled));
        assert_idle(&threads).await;

        // Done, and not taken.
        let (witness, mut freed) = Witness::new();
        let (end, ends) = std::sync::mpsc::channel();
        let mut done = Box::pin(threads.run(move || {
            ends.recv().unwrap();
            witness
        }));
        begin(done.as_mut()).await;
        end.send(()).unwrap();
        while threads.operations() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(freed.try_recv().is_err());
        drop(done);
        freed.await.unwrap();
    });
}

#[test]
fn a_closure_that_an_engine_has_paused_goes_on_when_that_has_completed() {
    for tells in Tells::ALL {
        on_many_threads(async {
            let threads = one_thread(1);
            let thread = thread_of(&threads).await;
            let (begun, begins) = oneshot::channel();
            let (witness, freed) = Witness::new();
            let mut paused = Box::pin(threads.run(move || {
                let _witness = witness;
                let operation = Operation::new(*tells);
                let result = operation.run_with(|| assert!(begun.send(operation.clone()).is_ok()));
                assert_eq!(result, RESULT);
            }));
            begin(paused.as_mut()).await;
            let operation = begins.await.unwrap();
            drop(paused);
            while threads.operations() > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(threads.stats().await.in_flight, 1);
            std::thread::spawn({
                let operation = operation.clone();
                move || operation.complete()
            });
            assert_eq!(freed.await.unwrap(), thread);
            operation.assert_resumed_once();
            assert_idle(&threads).await;
        });
    }
}

#[test]
fn an_output_that_comes_too_late_is_dropped_on_its_thread() {
    on_many_threads(async {
        let threads = one_thread(1);
        let (witness, freed) = Witness::new();
        let (begun, begins) = std::sync::mpsc::channel();
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let mut run = Box::pin(threads.run(move || {
            begun.send(std::thread::current().id()).unwrap();
            opened.recv().unwrap();
            witness
        }));
        begin(run.as_mut()).await;
        let its = begins.recv().unwrap();
        drop(run);
        open.send(()).unwrap();
        assert_eq!(freed.await, Ok(its));
    });
}

#[test]
fn what_came_and_was_not_taken_is_dropped_with_its_future_whatever_its_drop_does() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("a drop, on purpose");
        }
    }
    on_many_threads(async {
        let threads = one_thread(1);
        let (open, opened) = std::sync::mpsc::channel::<()>();
        let mut panics = Box::pin(threads.run(move || {
            opened.recv().unwrap();
            std::panic::panic_any(Bad)
        }));
        let mut returns = Box::pin(threads.run(|| Bad));
        begin(panics.as_mut()).await;
        begin(returns.as_mut()).await;
        open.send(()).unwrap();
        assert_idle(&threads).await;
        // It is told just before the next one begins.
        threads.run(|| ()).await;
        drop(panics);
        drop(returns);
    });
}
