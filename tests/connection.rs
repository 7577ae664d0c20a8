//! A connection without a transport: its handshake, what it reads, writes and says of itself.

mod common;

use std::future::poll_fn;
use std::task::Context;

use common::executor::{quiet_waker, yield_once, Gate};
use common::memory::{carry, client_context, server_context, Pair};
use common::thread::{on_a_new_thread, PATIENCE};
use openssl::ssl::{ErrorCode, NameType, ShutdownResult, Ssl, SslContext, SslMethod, SslMode};
use openssl_async_jobs::{
    block_on, suspend, AsyncPolicy, Connection, Error, JobPool, Progress, Role, SslAsyncExt,
};

const POLICIES: [AsyncPolicy; 3] = [
    AsyncPolicy::Handshake,
    AsyncPolicy::Always,
    AsyncPolicy::Never,
];

fn plain_pair() -> Pair {
    Pair::new(&client_context(|_| ()), &server_context(|_| ()))
}

/// A handshake to its end.
fn connected(mut pair: Pair) -> Pair {
    let Ok(done) = block_on(poll_fn(|cx| pair.handshake(cx)), PATIENCE) else {
        panic!("stuck");
    };
    done.unwrap();
    pair
}

#[test]
fn bytes_come_out_as_they_went_in_under_each_policy() {
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    for policy in POLICIES {
        let mut pair = plain_pair();
        pair.client.set_policy(policy);
        pair.server.set_policy(policy);
        let mut pair = connected(pair);
        let sent: Vec<u8> = (0..1_000_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 8) as u8)
            .collect();
        let (mut from, mut got) = (&sent[..], Vec::new());
        let mut buffer = vec![0; 50_000];
        while got.len() < sent.len() {
            while !from.is_empty() {
                match pair.client.poll_write(cx, from).unwrap() {
                    Progress::Done(len) => from = &from[len..],
                    Progress::HasCiphertext => break,
                    other => panic!("{other:?}"),
                }
            }
            pair.exchange();
            while let Progress::Done(len) = pair.server.poll_read(cx, &mut buffer).unwrap() {
                got.extend_from_slice(&buffer[..len]);
            }
        }
        assert!(got == sent, "{policy:?}");
        assert_eq!(pair.client.poll_flush(cx).unwrap(), Progress::Done(()));
    }
}

#[test]
fn a_callback_that_suspends_pauses_the_handshake_and_nothing_else_of_the_thread() {
    on_a_new_thread(|| {
        let server = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(yield_once()).unwrap();
                suspend(yield_once()).unwrap();
                Ok(())
            });
        });
        let waker = quiet_waker();
        let cx = &mut Context::from_waker(&waker);
        let mut pair = Pair::new(&client_context(|_| ()), &server);
        let _ = pair.client.poll_handshake(cx).unwrap();
        pair.exchange();
        assert_eq!(pair.server.poll_handshake(cx).unwrap(), Progress::Pending);
        assert!(pair.server.is_in_flight());
        assert!(pair.server.ssl_mut().is_none());
        assert!(pair.server.try_ssl().is_none());
        // Another one on the thread is not in its way.
        connected(plain_pair());
        let mut pair = connected(pair);
        assert!(!pair.server.is_in_flight());
        assert!(pair.server.ssl_mut().is_some());
        let name = pair.server.ssl().servername(NameType::HOST_NAME);
        assert_eq!(name, Some("name.example"));
        assert_eq!(JobPool::stats().paused, 2);
    });
}

#[test]
fn dropped_while_a_callback_waits_it_cancels_and_frees_all() {
    on_a_new_thread(|| {
        let gate = std::sync::Arc::new(std::sync::Mutex::new(None));
        let held = std::sync::Arc::new(());
        let answer = std::sync::Arc::clone(&gate);
        let holds = std::sync::Arc::clone(&held);
        let server = server_context(move |ctx| {
            ctx.set_servername_callback(move |_, _| {
                let result = suspend(Gate::new().wait());
                *answer.lock().unwrap() = Some(result);
                let _ = &holds;
                Err(openssl::ssl::SniError::ALERT_FATAL)
            });
        });
        let waker = quiet_waker();
        let cx = &mut Context::from_waker(&waker);
        let mut pair = Pair::new(&client_context(|_| ()), &server);
        let _ = pair.client.poll_handshake(cx).unwrap();
        pair.exchange();
        assert_eq!(pair.server.poll_handshake(cx).unwrap(), Progress::Pending);
        drop(pair);
        drop(server);
        assert_eq!(
            *gate.lock().unwrap(),
            Some(Err(openssl_async_jobs::SuspendError::Cancelled))
        );
        assert_eq!(
            std::sync::Arc::strong_count(&held),
            1,
            "the context is leaked"
        );
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}

#[test]
fn both_ends_say_that_they_close_and_then_reads_end() {
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    for policy in POLICIES {
        let mut pair = plain_pair();
        pair.client.set_policy(policy);
        pair.server.set_policy(policy);
        let mut pair = connected(pair);
        assert_eq!(
            pair.client.poll_shutdown(cx).unwrap(),
            Progress::Done(ShutdownResult::Sent)
        );
        assert_eq!(
            pair.client.poll_shutdown(cx).unwrap(),
            Progress::HasCiphertext
        );
        pair.exchange();
        let ended = pair.server.poll_read(cx, &mut [0; 10]).unwrap_err();
        assert_eq!(ended.code(), ErrorCode::ZERO_RETURN);
        assert_eq!(
            pair.server.poll_shutdown(cx).unwrap(),
            Progress::Done(ShutdownResult::Received)
        );
        carry(&mut pair.server, &mut pair.client);
        assert_eq!(
            pair.client.poll_shutdown(cx).unwrap(),
            Progress::Done(ShutdownResult::Received)
        );
    }
}

#[test]
fn a_peek_leaves_what_it_sees() {
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    for policy in POLICIES {
        let mut pair = plain_pair();
        pair.server.set_policy(policy);
        let mut pair = connected(pair);
        let _ = pair.client.poll_write(cx, b"hello").unwrap();
        pair.exchange();
        let mut buffer = [0; 3];
        for _ in 0..2 {
            assert_eq!(
                pair.server.poll_peek(cx, &mut buffer).unwrap(),
                Progress::Done(3)
            );
            assert_eq!(&buffer, b"hel");
        }
        assert_eq!(
            pair.server.poll_read(cx, &mut buffer).unwrap(),
            Progress::Done(3)
        );
        assert_eq!(&buffer, b"hel");
        assert_eq!(
            pair.server.poll_read(cx, &mut buffer).unwrap(),
            Progress::Done(2)
        );
        assert_eq!(&buffer[..2], b"lo");
        assert_eq!(
            pair.server.poll_read(cx, &mut buffer).unwrap(),
            Progress::WantsCiphertext
        );
    }
}

#[test]
fn datagrams_are_refused_with_the_protocols_name() {
    let ctx = SslContext::builder(SslMethod::dtls()).unwrap().build();
    let refused = Connection::new(Ssl::new(&ctx).unwrap(), Role::Client).unwrap_err();
    assert!(matches!(refused, Error::NotTls { protocol: "DTLS" }));
    assert!(
        refused.to_string().contains("SslMethod::tls()"),
        "{refused}"
    );
}

/// rust-openssl takes any bits for a mode.
#[test]
fn a_mode_that_the_context_came_with_starts_no_jobs_of_libssls_own() {
    let ctx = server_context(|ctx| {
        ctx.set_mode(SslMode::from_bits_retain(0x100));
    });
    let connection = Connection::new(Ssl::new(&ctx).unwrap(), Role::Server).unwrap();
    assert!(Ssl::new(&ctx).unwrap().is_async_mode());
    assert!(!connection.ssl().is_async_mode());
}

#[test]
fn a_transport_that_claims_too_much_is_refused() {
    struct Liar;
    impl std::io::Read for Liar {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            Ok(to.len() + 1)
        }
    }
    impl std::io::Write for Liar {
        fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
            Ok(from.len() + 1)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let waker = quiet_waker();
    let cx = &mut Context::from_waker(&waker);
    let mut pair = plain_pair();
    let _ = pair.client.poll_handshake(cx).unwrap();
    let refused = [
        pair.client.receive_from(&mut Liar).unwrap_err(),
        pair.client.send_to(&mut Liar).unwrap_err(),
    ];
    for e in refused {
        assert_eq!(e.kind(), std::io::ErrorKind::InvalidData);
    }
    connected(pair);
}

#[test]
fn a_future_that_panics_in_a_callback_fails_the_handshake_and_nothing_stays_in_flight() {
    on_a_new_thread(|| {
        let server = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                let waited = suspend(async {
                    yield_once().await;
                    std::panic::panic_any("on purpose")
                });
                waited.map_err(|_| openssl::ssl::SniError::ALERT_FATAL)
            });
        });
        let waker = quiet_waker();
        let cx = &mut Context::from_waker(&waker);
        let mut pair = Pair::new(&client_context(|_| ()), &server);
        let _ = pair.client.poll_handshake(cx).unwrap();
        pair.exchange();
        assert_eq!(pair.server.poll_handshake(cx).unwrap(), Progress::Pending);
        let raised = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pair.server.poll_handshake(cx).map(|_| ())
        }));
        assert_eq!(
            *raised.unwrap_err().downcast::<&str>().unwrap(),
            "on purpose"
        );
        assert!(!pair.server.is_in_flight());
        assert!(!pair.server.ssl().is_init_finished());
        pair.server.poll_handshake(cx).unwrap_err();
        // The client is told.
        pair.exchange();
        let told = pair.client.poll_handshake(cx).unwrap_err();
        assert_eq!(told.code(), ErrorCode::SSL);
        assert_eq!(JobPool::stats().in_flight, 0);
    });
}
