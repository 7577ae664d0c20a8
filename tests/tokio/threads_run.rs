//! Closures on job threads, and who gets a job when: in order (H10, H12).

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::pin::Pin;

use openssl_async_jobs::tokio::{JobThreads, SslStream};
use openssl_async_jobs::{suspend, CurrentJob, Error, Job};
use tokio::sync::{mpsc, oneshot};

use super::ends::{client, on_many_threads, server, server_context};
use super::held::begin;
use super::pinned::{assert_idle, one_thread, thread_of, until};

#[test]
fn as_many_at_once_as_there_are_jobs_and_the_others_in_the_order_in_which_they_came() {
    const ALL: usize = 12;
    for jobs in 1..=3 {
        on_many_threads(async {
            let threads = one_thread(jobs);
            let (tell, mut starts) = mpsc::unbounded_channel();
            let mut opens = Vec::new();
            let mut running = Vec::new();
            for n in 0..ALL {
                let (open, opened) = oneshot::channel::<()>();
                let tell = tell.clone();
                let mut run = Box::pin(threads.run(move || {
                    tell.send(n).unwrap();
                    suspend(opened).unwrap().unwrap();
                    n
                }));
                begin(run.as_mut()).await;
                opens.push(Some(open));
                running.push(Some(run));
            }
            until(&threads, |stats| {
                (stats.in_flight, stats.waiting) == (jobs, ALL - jobs)
            })
            .await;
            assert_eq!(threads.operations(), ALL);
            for n in 0..jobs {
                assert_eq!(starts.recv().await, Some(n));
            }
            // One goes without having had its turn.
            const GONE: usize = 7;
            drop(running[GONE].take());
            until(&threads, |stats| stats.waiting == ALL - jobs - 1).await;
            let mut next = jobs;
            for n in (0..ALL).filter(|n| *n != GONE) {
                assert!(starts.try_recv().is_err(), "out of turn");
                opens[n].take().unwrap().send(()).unwrap();
                assert_eq!(running[n].take().unwrap().await, n);
                next += usize::from(next == GONE);
                if next < ALL {
                    assert_eq!(starts.recv().await, Some(next));
                    next += 1;
                }
            }
            assert_idle(&threads).await;
        });
    }
}

#[test]
fn many_handshakes_share_one_job() {
    on_many_threads(async {
        let threads = one_thread(1);
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(tokio::task::yield_now()).unwrap();
                Ok(())
            })
        });
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (here, there) = tokio::io::duplex(10_000);
            let (accepting, ssl) = (threads.clone(), server(&ctx));
            tasks.spawn(async move { accepting.accept(ssl, here).await.map(drop) });
            let connecting = threads.clone();
            tasks.spawn(async move { connecting.connect(client(), there).await.map(drop) });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
        assert_idle(&threads).await;
        assert!(threads.stats().await.paused >= 50);
    });
}

#[test]
fn a_closure_runs_as_a_job_on_a_thread_of_its_own_and_gives_its_output() {
    on_many_threads(async {
        let threads = one_thread(1);
        let other = thread_of(&threads).await;
        assert_ne!(other, std::thread::current().id());
        let run = threads.run(|| {
            let in_job = CurrentJob::get().is_some();
            let twice = suspend(async { 21 }).unwrap() * 2;
            (in_job, twice, Box::new([7; 100]))
        });
        assert_eq!(run.await, (true, 42, Box::new([7; 100])));
    });
}

#[test]
fn a_job_inside_a_closure_runs_in_its_job_and_one_that_it_waits_for_has_another() {
    on_many_threads(async {
        let threads = one_thread(2);
        let nested = threads.run(|| {
            let inner = Job::new(|| {
                let innermost = Job::new(|| suspend(tokio::task::yield_now()).map(|()| 1));
                innermost.block_on(None).unwrap().unwrap() + 1
            });
            suspend(inner).unwrap() + 1
        });
        assert_eq!(nested.await, 3);
        assert_eq!(threads.stats().await.started, 2);
        assert_idle(&threads).await;
    });
}

fn payload(run: Result<(), tokio::task::JoinError>) -> Box<u32> {
    run.unwrap_err().into_panic().downcast().unwrap()
}

#[test]
fn a_panic_is_the_callers_with_its_payload_and_the_thread_goes_on() {
    on_many_threads(async {
        let threads = one_thread(1);
        let thread = thread_of(&threads).await;
        let panics = threads.clone();
        let panics = tokio::spawn(async move { panics.run(|| std::panic::panic_any(1_u32)).await });
        assert_eq!(payload(panics.await), Box::new(1));
        // In the closure, after a pause; and in what it waits for.
        let panics = threads.clone();
        let panics = tokio::spawn(async move {
            let run = panics.run(|| {
                suspend(tokio::task::yield_now()).unwrap();
                std::panic::panic_any(2_u32)
            });
            run.await
        });
        assert_eq!(payload(panics.await), Box::new(2));
        let panics = threads.clone();
        let panics = tokio::spawn(async move {
            let run = panics.run(|| {
                let _ = suspend(async { std::panic::panic_any(3_u32) });
            });
            run.await
        });
        assert_eq!(payload(panics.await), Box::new(3));

        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                let _ = suspend(async { std::panic::panic_any(4_u32) });
                Ok(())
            })
        });
        let (here, there) = tokio::io::duplex(10_000);
        let mut peer = SslStream::new(client(), there).unwrap();
        let peer = tokio::spawn(async move { Pin::new(&mut peer).connect().await.is_ok() });
        let (panics, ssl) = (threads.clone(), server(&ctx));
        let panics = tokio::spawn(async move { drop(panics.accept(ssl, here).await) });
        assert_eq!(payload(panics.await), Box::new(4));
        let _ = peer.await.unwrap();

        assert_eq!(thread_of(&threads).await, thread);
        assert_idle(&threads).await;
    });
}

#[test]
fn sizes_that_make_no_threads_are_refused() {
    let refused = [
        JobThreads::builder().threads(0),
        JobThreads::builder().max_jobs(0),
        JobThreads::builder().stack_size(0),
        JobThreads::builder().stack_size(1024),
        JobThreads::builder().stack_size(usize::MAX),
    ];
    for builder in refused {
        let error = builder.clone().build().err();
        assert!(
            matches!(error, Some(Error::PoolSize { .. })),
            "{builder:?}: {error:?}"
        );
    }
    // No size of the system's.
    let built = catch_unwind(AssertUnwindSafe(|| {
        JobThreads::builder()
            .threads(1)
            .max_jobs(usize::MAX)
            .build()
    }));
    drop(built.unwrap());
}

#[test]
fn its_statistics_are_those_of_all_its_threads() {
    on_many_threads(async {
        let threads = JobThreads::builder().threads(3).build().unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut opens = Vec::new();
        let mut running = Vec::new();
        for _ in 0..6 {
            let (open, opened) = oneshot::channel::<()>();
            let tell = tell.clone();
            let mut run = Box::pin(threads.run(move || {
                tell.send(std::thread::current().id()).unwrap();
                suspend(opened).unwrap().unwrap();
            }));
            begin(run.as_mut()).await;
            opens.push(open);
            running.push(run);
        }
        let mut on = std::collections::HashSet::new();
        for _ in 0..6 {
            on.insert(told.recv().await.unwrap());
        }
        assert_eq!(on.len(), 3, "the one that has least to do");
        let stats = threads.stats().await;
        assert_eq!((stats.started, stats.in_flight, stats.finished), (6, 6, 0));
        for (open, run) in opens.into_iter().zip(running) {
            open.send(()).unwrap();
            run.await;
        }
        let stats = threads.stats().await;
        assert_eq!(
            (stats.started, stats.paused, stats.resumed, stats.finished),
            (6, 6, 6, 6)
        );
    });
}
