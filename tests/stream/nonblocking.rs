//! `SslStream` over sockets that do not block: `interest()` says exactly what is to be waited for.
//! Whoever waits for that, and for nothing else, neither hangs nor spins (H6), whatever is paused.

use std::os::unix::net::UnixStream;

use crate::common::handshake::{client_context, elsewhere, server_context, tls12};
use crate::common::polled::{drive, drive_once, set_send_buffer, sockets, Polled};
use crate::common::records::on_each_record;
use crate::common::script::Numbers;
use crate::common::thread::on_a_new_thread;
use openssl::ssl::{Ssl, SslContext, SslVerifyMode};
use openssl_async_jobs::{suspend, AsyncPolicy, JobPool};

const POLICIES: [AsyncPolicy; 3] = [
    AsyncPolicy::Handshake,
    AsyncPolicy::Always,
    AsyncPolicy::Never,
];

/// Both suspend on what another thread finds: the server when it is asked for a name, the client
/// when it has seen the certificate.
fn contexts(old: bool) -> (SslContext, SslContext) {
    let client = client_context(|ctx| {
        ctx.set_verify_callback(SslVerifyMode::PEER, |_, _| {
            // Under `Never` it is not in a job.
            let _ = suspend(elsewhere(|| ()));
            true
        });
    });
    let server = server_context(|ctx| {
        if old {
            tls12(ctx);
        }
        ctx.set_servername_callback(|_, _| {
            let _ = suspend(elsewhere(|| ()));
            Ok(())
        });
    });
    (client, server)
}

struct Plan<'a> {
    contexts: &'a (SslContext, SslContext),
    policy: AsyncPolicy,
    data: usize,
    send_buffer: Option<libc::c_int>,
    /// Whether each record pauses, too.
    records: bool,
}

impl Plan<'_> {
    fn pair(&self, seed: u64) -> [Polled; 2] {
        let mut numbers = Numbers::new(seed);
        let mut client = Ssl::new(&self.contexts.0).unwrap();
        client.set_hostname("name.example").unwrap();
        let mut server = Ssl::new(&self.contexts.1).unwrap();
        if self.records {
            for ssl in [&mut client, &mut server] {
                on_each_record(ssl, || {
                    let _ = suspend(elsewhere(|| ()));
                });
            }
        }
        let (a, b) = sockets();
        for socket in [&a, &b] {
            if let Some(bytes) = self.send_buffer {
                set_send_buffer(socket, bytes);
            }
        }
        let mut end = |ssl, socket: UnixStream, accepts| {
            let mut end = Polled::new(ssl, socket, accepts, numbers.bytes(self.data));
            end.stream.set_policy(self.policy);
            end
        };
        [end(client, a, false), end(server, b, true)]
    }

    /// So many of them together, each of which may be woken so often.
    fn run(&self, pairs: usize, wakes: usize) {
        let mut ends: Vec<Polled> = (0..pairs).flat_map(|n| self.pair(n as u64)).collect();
        drive(&mut ends, pairs * wakes);
        for (n, pair) in ends.chunks(2).enumerate() {
            let mut numbers = Numbers::new(n as u64);
            let (from_client, from_server) = (numbers.bytes(self.data), numbers.bytes(self.data));
            assert!(pair[0].got == from_server, "what the server sent");
            assert!(pair[1].got == from_client, "what the client sent");
        }
        drop(ends);
        let stats = JobPool::stats();
        assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
    }
}

fn each_way(test: fn(AsyncPolicy, bool)) {
    for policy in POLICIES {
        for old in [false, true] {
            on_a_new_thread(move || test(policy, old));
        }
    }
}

#[test]
fn two_streams_with_suspended_callbacks_neither_hang_nor_spin() {
    each_way(|policy, old| {
        Plan {
            contexts: &contexts(old),
            policy,
            data: 100_000,
            send_buffer: None,
            records: false,
        }
        .run(1, 200);
    });
}

#[test]
fn many_streams_neither_hang_nor_spin() {
    each_way(|policy, old| {
        Plan {
            contexts: &contexts(old),
            policy,
            data: 20_000,
            send_buffer: None,
            records: false,
        }
        .run(100, 60);
    });
}

#[test]
fn more_streams_than_jobs_neither_hang_nor_spin() {
    on_a_new_thread(|| {
        JobPool::builder().max_jobs(2).init().unwrap();
        Plan {
            contexts: &contexts(false),
            policy: AsyncPolicy::Always,
            data: 20_000,
            send_buffer: None,
            records: false,
        }
        .run(30, 200);
    });
}

#[test]
fn writes_that_the_socket_takes_in_parts_are_kept_and_sent_in_order() {
    each_way(|policy, old| {
        Plan {
            contexts: &contexts(old),
            policy,
            data: 500_000,
            send_buffer: Some(2048),
            records: false,
        }
        .run(2, 2000);
    });
}

#[test]
fn a_pause_at_each_record_neither_hangs_nor_spins() {
    for old in [false, true] {
        on_a_new_thread(move || {
            Plan {
                contexts: &contexts(old),
                policy: AsyncPolicy::Always,
                data: 60_000,
                send_buffer: Some(4096),
                records: true,
            }
            .run(3, 2000);
            assert!(JobPool::stats().paused > 100);
        });
    }
}

#[test]
fn dropped_after_any_wake_up_nothing_stays_in_flight() {
    for policy in POLICIES {
        on_a_new_thread(move || {
            let contexts = contexts(false);
            let plan = Plan {
                contexts: &contexts,
                policy,
                data: 20_000,
                send_buffer: Some(4096),
                records: true,
            };
            for wakes in 0..60 {
                let mut ends = plan.pair(wakes);
                for n in 0..wakes {
                    if !drive_once(&mut ends, n == 0) {
                        break;
                    }
                }
                drop(ends);
                let stats = JobPool::stats();
                assert_eq!((stats.in_flight, stats.waiting), (0, 0), "{stats:?}");
                assert_eq!((stats.reaped, stats.leaked), (0, 0), "{stats:?}");
            }
        });
    }
}
