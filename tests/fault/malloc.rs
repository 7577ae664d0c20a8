//! Memory that is out in OpenSSL: whichever of its allocations fails, in a job, in a stream's making
//! or in its handshake, with callbacks that suspend. An error or a success each time; never a crash,
//! a hang, a job in flight, or memory that is not given back (H3, H12).

use std::io::ErrorKind;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::ssl::{Ssl, SslContext, SslVerifyMode};
use openssl_async_jobs::{suspend, AsyncPolicy, Job, JobPool, SslStream};

use crate::common::both::{Both, Told};
use crate::common::child::in_a_process_of_its_own;
use crate::common::compare::Peer;
use crate::common::executor::yield_once;
use crate::common::failing_malloc::{install, live, with_failures};
use crate::common::handshake::{client_context, server_context};
use crate::common::script::{link, Scripted};
use crate::common::thread::{on_a_new_thread, PATIENCE};

/// One allocation only, and all from there on.
const MODES: [i64; 2] = [1, i64::MAX];

/// Runs it with each allocation failing in turn, until there is none left to fail.
fn each_allocation(mut test: impl FnMut(i64, i64) -> bool) -> i64 {
    let mut n = 0;
    for failures in MODES {
        n = 0;
        while test(n, failures) {
            n += 1;
            assert!(n < 100_000, "no end");
        }
    }
    n
}

/// How many allocations each run leaves, in the end: OpenSSL keeps what some errors are told with,
/// for the next in their places.
fn kept_each_time(run: &mut dyn FnMut() -> bool) -> (i64, bool) {
    let mut result = (0, false);
    for _ in 0..40 {
        let before = live();
        let failed = run();
        result = (live() - before, failed);
        if result.0 <= 0 {
            break;
        }
    }
    result
}

#[track_caller]
fn assert_nothing_is_left(n: i64) {
    let stats = JobPool::stats();
    let left = (stats.in_flight, stats.waiting, stats.leaked);
    assert_eq!(
        left,
        (0, 0, 0),
        "in flight, waiting, leaked: allocation {n}"
    );
}

#[test]
fn a_job_ends_whichever_allocation_fails() {
    const TEST: &str = "malloc::a_job_ends_whichever_allocation_fails";
    in_a_process_of_its_own(TEST, || {
        install();
        let key = PKey::hmac(b"key").unwrap();
        let signs = move |key: &PKey<_>| -> Option<Vec<u8>> {
            let mut signer = Signer::new(MessageDigest::sha256(), key).ok()?;
            signer.update(b"data").ok()?;
            suspend(yield_once()).ok()?;
            signer.sign_to_vec().ok()
        };
        // What the process has once.
        let told = key.clone();
        let expected = Job::new(move || signs(&told)).block_on(PATIENCE).unwrap();
        let count = each_allocation(|n, failures| {
            let key = key.clone();
            // A thread of its own, whose pool and first job are among the allocations.
            let (told, failed) = on_a_new_thread(move || {
                // OpenSSL from 3.6 on notes in the thread's queue of errors that there is no memory for the
                // thread's queue of errors, and so on until the stack is full.
                #[cfg(ossl360)]
                drop(ErrorStack::get());
                let told = with_failures(n, failures, || {
                    Job::new(move || signs(&key)).block_on(PATIENCE).unwrap()
                });
                assert_nothing_is_left(n);
                told
            });
            assert!(failed || told == expected, "allocation {n}: {told:?}");
            failed
        });
        println!("{count} allocations in a job");
        assert!(count > 5);
    });
}

fn contexts() -> (SslContext, SslContext) {
    let client = client_context(|ctx| {
        ctx.set_verify_callback(SslVerifyMode::PEER, |_, _| {
            // The peer of ours is not in a job.
            let _ = suspend(yield_once());
            true
        });
    });
    let server = server_context(|ctx| {
        ctx.set_servername_callback(|_, _| {
            let _ = suspend(yield_once());
            Ok(())
        });
    });
    (client, server)
}

/// What both ends of a handshake need, made before anything fails.
struct Ends {
    ours: SslStream<Scripted>,
    peer: Peer,
}

impl Ends {
    fn new((client, server): &(SslContext, SslContext), accepts: bool) -> Ends {
        let mut client = Ssl::new(client).unwrap();
        client.set_hostname("name.example").unwrap();
        client.set_connect_state();
        let mut server = Ssl::new(server).unwrap();
        server.set_accept_state();
        let (ours, peer) = match accepts {
            true => (server, client),
            false => (client, server),
        };
        let (here, there) = link();
        Ends {
            ours: Both::over(ours, here, AsyncPolicy::Handshake),
            peer: Both::over(peer, there, AsyncPolicy::Never),
        }
    }

    /// Until both are told something, or neither gets on.
    fn handshake(&mut self) -> [Told; 2] {
        let blocked = Told::Io(ErrorKind::WouldBlock);
        let mut told = [blocked.clone(), blocked];
        for _ in 0..30 {
            if told[0].would_block() {
                told[0] = self.ours.handshake();
            }
            if told[1].would_block() {
                told[1] = self.peer.handshake();
            }
        }
        told
    }
}

fn every_allocation_of_a_handshake(accepts: bool) {
    install();
    let contexts = contexts();
    let done = [Told::Done(0), Told::Done(0)];
    for _ in 0..3 {
        assert_eq!(Ends::new(&contexts, accepts).handshake(), done);
    }
    let mut leaks = Vec::new();
    let count = each_allocation(|n, failures| {
        let mut run = || {
            let mut ends = Ends::new(&contexts, accepts);
            let (told, failed) = with_failures(n, failures, || ends.handshake());
            if !failed {
                assert_eq!(told, done);
            }
            drop(ends);
            drop(ErrorStack::get());
            assert_nothing_is_left(n);
            failed
        };
        let (kept, failed) = kept_each_time(&mut run);
        if kept > 0 {
            leaks.push((n, failures, kept));
        }
        failed
    });
    println!("{count} allocations in a handshake");
    assert_eq!(leaks, [], "allocation, failures, kept");
    assert!(count > 50);
}

#[test]
fn a_server_ends_whichever_allocation_of_its_handshake_fails() {
    const TEST: &str = "malloc::a_server_ends_whichever_allocation_of_its_handshake_fails";
    in_a_process_of_its_own(TEST, || every_allocation_of_a_handshake(true));
}

#[test]
fn a_client_ends_whichever_allocation_of_its_handshake_fails() {
    const TEST: &str = "malloc::a_client_ends_whichever_allocation_of_its_handshake_fails";
    in_a_process_of_its_own(TEST, || every_allocation_of_a_handshake(false));
}

#[test]
fn a_stream_is_made_or_refused_whichever_allocation_fails() {
    const TEST: &str = "malloc::a_stream_is_made_or_refused_whichever_allocation_fails";
    in_a_process_of_its_own(TEST, || {
        install();
        let (_, server) = contexts();
        let make = |ssl| SslStream::over(ssl, link().0, false);
        make(Ssl::new(&server).unwrap()).unwrap();
        let count = each_allocation(|n, failures| {
            let mut run = || {
                let ssl = Ssl::new(&server).unwrap();
                let (made, failed) = with_failures(n, failures, || make(ssl));
                assert!(failed || made.is_ok());
                drop(made);
                drop(ErrorStack::get());
                failed
            };
            let (kept, failed) = kept_each_time(&mut run);
            assert!(kept <= 0, "allocation {n}: {kept}");
            failed
        });
        println!("{count} allocations in a stream");
    });
}
