//! The completion callback of OpenSSL 3.0 wakes the task from any thread, and costs no file (H8).
#![cfg(ossl300)]

use std::pin::pin;
use std::pin::Pin;
use std::thread;

use openssl_async_jobs::tokio::{JobThreads, LocalSslStream, SslStream};
use openssl_async_jobs::JobPool;
use tokio::sync::mpsc;

use super::ends::{client, on_many_threads, on_one_thread, server, server_context};
use super::held::begin;
use crate::common::child::in_a_process_of_its_own;
use crate::common::engine::{Operation, Tells};

const MANY: usize = 20;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// So many, for operations to come: they have files of the engine's own.
fn operations(tells: Tells) -> Vec<Operation> {
    (0..MANY).map(|_| Operation::new(tells)).collect()
}

/// How many files more there are while so many handshakes are paused by these, completed on another
/// thread afterwards.
async fn files_of_pauses(tells: Tells) -> usize {
    let all = operations(tells);
    let mut left = all.clone();
    let (next, nexts) = std::sync::mpsc::channel();
    while let Some(operation) = left.pop() {
        next.send(operation).unwrap();
    }
    let nexts = std::sync::Mutex::new(nexts);
    let ctx = server_context(move |ctx| {
        ctx.set_servername_callback(move |_, _| {
            let operation = nexts.lock().unwrap().recv().unwrap();
            operation.run();
            Ok(())
        });
    });
    let mut ends: Vec<_> = (0..MANY)
        .map(|_| {
            let (here, there) = tokio::io::duplex(10_000);
            let accepts = LocalSslStream::new(server(&ctx), here).unwrap();
            (accepts, SslStream::new(client(), there).unwrap())
        })
        .collect();
    let before = open_files();
    let mut shaking: Vec<_> = ends
        .iter_mut()
        .map(|(accepts, connects)| {
            Box::pin(async {
                let both = tokio::join!(Pin::new(accepts).accept(), Pin::new(connects).connect());
                both.0.unwrap();
                both.1.unwrap();
            })
        })
        .collect();
    for both in &mut shaking {
        // The client speaks, and then the server has something to pause at.
        begin(both.as_mut()).await;
        begin(both.as_mut()).await;
    }
    assert_eq!(JobPool::stats().in_flight, MANY);
    let files = open_files() - before;
    let completing = all.clone();
    let device = thread::spawn(move || completing.iter().for_each(Operation::complete));
    for both in shaking {
        both.await;
    }
    device.join().unwrap();
    all.iter().for_each(Operation::assert_resumed_once);
    assert_eq!(JobPool::stats().in_flight, 0);
    assert_eq!(open_files(), before);
    files
}

#[test]
fn a_pause_that_is_called_back_opens_no_file_and_one_by_fd_opens_one_duplicate() {
    let test =
        "callback::a_pause_that_is_called_back_opens_no_file_and_one_by_fd_opens_one_duplicate";
    in_a_process_of_its_own(test, || {
        on_one_thread(async {
            assert_eq!(files_of_pauses(Tells::Callback).await, 0);
            assert_eq!(files_of_pauses(Tells::Fd).await, MANY);
            assert_eq!(files_of_pauses(Tells::Callback).await, 0);
        });
    });
}

#[test]
fn closures_of_job_threads_that_are_called_back_open_no_file() {
    let test = "callback::closures_of_job_threads_that_are_called_back_open_no_file";
    in_a_process_of_its_own(test, || {
        on_many_threads(async {
            let threads = JobThreads::builder().threads(1).build().unwrap();
            threads.run(|| ()).await;
            let all = operations(Tells::Callback);
            let before = open_files();
            let (begun, mut begins) = mpsc::unbounded_channel();
            let mut runs = Vec::new();
            for operation in all.clone() {
                let begun = begun.clone();
                let mut run =
                    Box::pin(threads.run(move || {
                        operation.run_with(|| begun.send(operation.clone()).unwrap())
                    }));
                begin(run.as_mut()).await;
                runs.push(run);
            }
            let mut under_way = Vec::new();
            for _ in 0..MANY {
                under_way.push(begins.recv().await.unwrap());
            }
            // They are all paused, and not only about to be.
            assert_eq!(threads.stats().await.in_flight, MANY);
            assert_eq!(open_files(), before);
            let device = thread::spawn(move || under_way.iter().for_each(Operation::complete));
            for run in runs {
                pin!(run).await;
            }
            device.join().unwrap();
            all.iter().for_each(Operation::assert_resumed_once);
            assert_eq!(open_files(), before);
        });
    });
}
