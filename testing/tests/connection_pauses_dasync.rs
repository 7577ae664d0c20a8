//! Long conversations whose records pause in OpenSSL's own test engine: every byte arrives, and only
//! what the policy says pauses.
#![cfg(engines)]

use std::sync::Once;

use openssl::ssl::{Ssl, SslVersion};
use openssl_async_jobs::AsyncPolicy;
use testing::tls::{self, transfer, Jobs, KeyType, Kind, LONG, SHORT};
use testing::{load_dasync, Method};

/// TLS 1.2 with records whose HMAC is of SHA-1.
fn transfers(len: usize, client: Kind, server: Kind) -> (Jobs, Jobs) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| load_dasync(&[Method::Digests]));
    let identity = tls::certificate(KeyType::Rsa, &["server.test"]);
    let server_context = tls::server_context(SslVersion::TLS1_2, &[&identity]).build();
    let mut client_context = tls::client_context(SslVersion::TLS1_2, &[&identity.certificate]);
    client_context
        .set_cipher_list("ECDHE-RSA-AES128-SHA")
        .unwrap();
    let client_context = client_context.build();
    let jobs = transfer(
        len,
        (Ssl::new(&client_context).unwrap(), client),
        (Ssl::new(&server_context).unwrap(), server),
    );
    println!("{client:?} {server:?}: {jobs:?}");
    jobs
}

/// Of a transfer of so many bytes each way, in records of 16 KiB, each with one pause at least.
fn records(len: usize) -> u64 {
    2 * (len / (16 << 10)) as u64
}

#[test]
fn a_server_whose_records_pause_and_an_ordinary_client_understand_each_other() {
    let always = AsyncPolicy::Always;
    for kind in [Kind::Blocking(always), Kind::NonBlocking(always)] {
        let (client, server) = transfers(SHORT, Kind::Ordinary, kind);
        assert_eq!(client.in_all.started, 0);
        assert!(server.in_all.paused >= records(SHORT));
        assert_eq!(server.in_all.resumed, server.in_all.paused);
    }
}

#[test]
fn a_client_whose_records_pause_and_an_ordinary_server_understand_each_other() {
    let always = AsyncPolicy::Always;
    for kind in [Kind::Blocking(always), Kind::NonBlocking(always)] {
        let (client, server) = transfers(SHORT, kind, Kind::Ordinary);
        assert_eq!(server.in_all.started, 0);
        assert!(client.in_all.paused >= records(SHORT));
    }
}

#[test]
fn two_ends_whose_records_pause_understand_each_other() {
    let always = AsyncPolicy::Always;
    let (client, server) = transfers(LONG, Kind::Blocking(always), Kind::NonBlocking(always));
    assert!(client.in_all.paused >= records(LONG) && server.in_all.paused >= records(LONG));
}

#[test]
fn under_the_default_policy_the_handshake_pauses_and_nothing_after_it() {
    let handshake = AsyncPolicy::Handshake;
    let (client, server) = transfers(
        SHORT,
        Kind::NonBlocking(handshake),
        Kind::Blocking(handshake),
    );
    for jobs in [client, server] {
        assert!(jobs.in_handshake.paused > 0);
        assert_eq!(jobs.in_all, jobs.in_handshake);
    }
}

#[test]
fn under_the_policy_never_no_job_runs() {
    let never = AsyncPolicy::Never;
    let (client, server) = transfers(SHORT, Kind::NonBlocking(never), Kind::Blocking(never));
    assert_eq!((client.in_all.started, server.in_all.started), (0, 0));
}
