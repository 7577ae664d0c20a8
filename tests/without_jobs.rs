//! Where OpenSSL has no fibres (`no-async` builds, musl, Android, OpenBSD) everything works, and runs
//! synchronously.
//!
//! The other tests need jobs, and these an OpenSSL without: `matrix/run` builds one.

mod common;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use common::memory::{client_context, server_context, Pair as Memory};
use common::thread::PATIENCE;
use common::tls::{async_server_context, Pair, Step};
use openssl::ssl::{NameType, SniError};
use openssl_async_jobs::{
    block_on, is_capable, suspend, AsyncPolicy, CurrentJob, Job, JobPool, SuspendError,
};

#[test]
#[ignore = "needs an OpenSSL that was built with no-async: matrix/run"]
fn it_says_so() {
    assert!(!is_capable());
    assert!(CurrentJob::get().is_none());
}

#[test]
#[ignore = "needs an OpenSSL that was built with no-async: matrix/run"]
fn a_job_runs_inline_and_there_is_nothing_to_suspend() {
    let job = Job::new(|| (CurrentJob::get().is_some(), suspend(async { 1 })));
    let (in_a_job, suspended) = job.block_on(PATIENCE).unwrap();
    assert!(!in_a_job);
    assert_eq!(suspended, Err(SuspendError::NotInJob));
    let stats = JobPool::stats();
    assert_eq!((stats.started, stats.in_flight), (0, 0));
}

#[test]
#[ignore = "needs an OpenSSL that was built with no-async: matrix/run"]
fn connections_work_under_each_policy_and_their_callbacks_are_told_that_they_cannot_wait() {
    for policy in [
        AsyncPolicy::Handshake,
        AsyncPolicy::Always,
        AsyncPolicy::Never,
    ] {
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        let server = server_context(move |ctx| {
            ctx.set_servername_callback(move |_, _| {
                *tell.lock().unwrap() = Some(suspend(async {}));
                Ok::<(), SniError>(())
            });
        });
        let mut pair = Memory::new(&client_context(|_| ()), &server);
        pair.client.set_policy(policy);
        pair.server.set_policy(policy);
        let Ok(done) = block_on(poll_fn(|cx| pair.handshake(cx)), PATIENCE) else {
            panic!("stuck");
        };
        done.unwrap();
        assert_eq!(*told.lock().unwrap(), Some(Err(SuspendError::NotInJob)));
    }
}

#[test]
#[ignore = "needs an OpenSSL that was built with no-async: matrix/run"]
fn the_mode_by_hand_stays_off_and_operations_run_at_once() {
    let server = async_server_context(|ssl| {
        assert_eq!(ssl.servername(NameType::HOST_NAME), Some("name.example"));
    });
    let mut pair = Pair::new(&server);
    assert_eq!(pair.handshake(), Step::Done);
    pair.finish();
}
