//! What the system refuses to job threads: themselves, and file descriptors once they run (H9, H12).

use std::sync::mpsc::channel;
use std::thread;

use openssl_async_jobs::tokio::JobThreads;
use openssl_async_jobs::Error;
use tokio::time::timeout;

use crate::common::child::in_a_process_of_its_own;
use crate::common::engine::{Operation, Tells, RESULT};
use crate::common::refuse::{refuse, Refused, DESCRIPTORS, POLLERS, THREADS};
use crate::common::thread::PATIENCE;

fn are_an_error_without(refused: &Refused) {
    refuse(refused);
    for threads in [1, 3] {
        let refused = JobThreads::builder().threads(threads).build().unwrap_err();
        assert!(matches!(refused, Error::Io(_)), "{refused:?}");
    }
}

#[test]
fn without_threads_they_are_an_error() {
    const TEST: &str = "job_threads::without_threads_they_are_an_error";
    in_a_process_of_its_own(TEST, || are_an_error_without(&THREADS));
}

#[test]
fn without_file_descriptors_they_are_an_error() {
    const TEST: &str = "job_threads::without_file_descriptors_they_are_an_error";
    in_a_process_of_its_own(TEST, || are_an_error_without(&DESCRIPTORS));
}

/// An operation on a thread that gets no more of what is refused.
fn wait_fds_are_waited_for_without(refused: &'static [&'static Refused]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let threads = JobThreads::builder().threads(1).build().unwrap();
        threads
            .run(|| refused.iter().for_each(|refused| refuse(refused)))
            .await;
        for _ in 0..3 {
            let operation = Operation::new(Tells::Fd);
            let (tell, begins) = channel();
            let device = operation.clone();
            let device = thread::spawn(move || {
                begins.recv().unwrap();
                device.complete();
            });
            let job = operation.clone();
            let run = move || job.run_with(|| tell.send(()).unwrap());
            let run = timeout(PATIENCE.unwrap(), threads.run(run));
            assert_eq!(run.await.expect("stuck"), RESULT);
            device.join().unwrap();
            operation.assert_resumed_once();
        }
        let stats = threads.stats().await;
        assert_eq!((stats.in_flight, stats.leaked), (0, 0));
    });
}

#[test]
fn without_duplicates_wait_fds_are_looked_at() {
    const TEST: &str = "job_threads::without_duplicates_wait_fds_are_looked_at";
    in_a_process_of_its_own(TEST, || wait_fds_are_waited_for_without(&[&DESCRIPTORS]));
}

#[test]
fn without_the_reactor_the_crates_own_thread_watches_wait_fds() {
    const TEST: &str = "job_threads::without_the_reactor_the_crates_own_thread_watches_wait_fds";
    in_a_process_of_its_own(TEST, || wait_fds_are_waited_for_without(&[&POLLERS]));
}

#[test]
fn without_the_reactor_and_a_thread_wait_fds_are_looked_at() {
    const TEST: &str = "job_threads::without_the_reactor_and_a_thread_wait_fds_are_looked_at";
    in_a_process_of_its_own(TEST, || {
        wait_fds_are_waited_for_without(&[&POLLERS, &THREADS])
    });
}
