//! Long conversations whose crypto pauses in the provider, in all ways that it can be told of the
//! completion: every byte arrives, and only what the policy says pauses.
#![cfg(ossl300)]

use openssl::ssl::{Ssl, SslVersion};
use openssl_async_jobs::{AsyncPolicy, JobPool};
use testing::pausing::turn;
use testing::provider::{self, Counters, Notify, Settings};
use testing::tls::{self, transfer, Jobs, KeyType, Kind, LONG, SHORT, VERSIONS};

const NOTIFIES: [Notify; 3] = [Notify::CallbackElseFd, Notify::Both, Notify::Fd];

/// A transfer with these settings of the provider; what the provider has counted meanwhile.
fn transfers(
    len: usize,
    settings: Settings,
    version: SslVersion,
    client: Kind,
    server: Kind,
) -> (Jobs, Jobs, Counters) {
    let _turn = turn();
    provider::set(settings);
    let identity = tls::certificate(KeyType::Rsa, &["server.test"]);
    let client_context = tls::client_context(version, &[&identity.certificate]).build();
    let server_context = tls::server_context(version, &[&identity]).build();
    let before = provider::counters();
    let (client, server) = transfer(
        len,
        (Ssl::new(&client_context).unwrap(), client),
        (Ssl::new(&server_context).unwrap(), server),
    );
    let seen = provider::counters().since(&before);
    println!("{version:?} {settings:?}: {seen:?}");
    assert_eq!(seen.completed, seen.paused());
    assert_eq!(seen.spurious, 0, "resumed before its completion (H6)");
    (client, server, seen)
}

/// How often jobs have paused for it: once more for each resume that came before the completion.
fn pauses(seen: &Counters) -> u64 {
    seen.paused() + seen.spurious
}

fn settings(notify: Notify, complete_first: bool) -> Settings {
    Settings {
        notify,
        complete_first,
        ..Settings::default()
    }
}

/// Of a transfer of so many bytes each way, in records of 16 KiB.
fn records(len: usize) -> u64 {
    2 * (len / (16 << 10)) as u64
}

#[test]
fn a_server_all_of_whose_operations_pause_and_an_ordinary_client_understand_each_other() {
    for version in VERSIONS {
        for notify in NOTIFIES {
            for complete_first in [false, true] {
                let (client, server, seen) = transfers(
                    SHORT,
                    settings(notify, complete_first),
                    *version,
                    Kind::Ordinary,
                    Kind::Blocking(AsyncPolicy::Always),
                );
                assert_eq!(client.in_all.started, 0);
                assert_eq!(server.in_all.paused, pauses(&seen));
                assert!(seen.ciphers >= records(SHORT));
                assert_eq!((seen.signatures, seen.key_exchanges), (1, 1));
            }
        }
    }
}

#[test]
fn a_client_all_of_whose_operations_pause_and_an_ordinary_server_understand_each_other() {
    for version in VERSIONS {
        for notify in NOTIFIES {
            let (client, server, seen) = transfers(
                SHORT,
                settings(notify, false),
                *version,
                Kind::NonBlocking(AsyncPolicy::Always),
                Kind::Ordinary,
            );
            assert_eq!(server.in_all.started, 0);
            assert_eq!(client.in_all.paused, pauses(&seen));
            assert!(seen.ciphers >= records(SHORT));
        }
    }
}

#[test]
fn two_ends_all_of_whose_operations_pause_understand_each_other() {
    for version in VERSIONS {
        for notify in NOTIFIES {
            let (client, server, seen) = transfers(
                LONG,
                settings(notify, false),
                *version,
                Kind::Blocking(AsyncPolicy::Always),
                Kind::NonBlocking(AsyncPolicy::Always),
            );
            let paused = client.in_all.paused + server.in_all.paused;
            assert_eq!(paused, pauses(&seen));
            assert!(client.in_all.paused >= records(LONG) && server.in_all.paused >= records(LONG));
        }
    }
}

#[test]
fn a_device_that_is_busy_at_first_is_asked_again() {
    for version in VERSIONS {
        let busy = Settings {
            busy_first: true,
            ..Settings::default()
        };
        let always = AsyncPolicy::Always;
        for kind in [Kind::Blocking(always), Kind::NonBlocking(always)] {
            let (_, server, seen) = transfers(SHORT, busy, *version, Kind::Ordinary, kind);
            assert_eq!(server.in_all.paused, 2 * seen.paused());
        }
    }
}

#[test]
fn under_the_default_policy_the_handshake_pauses_and_nothing_after_it() {
    assert_eq!(AsyncPolicy::default(), AsyncPolicy::Handshake);
    for version in VERSIONS {
        for notify in NOTIFIES {
            let jobs = Kind::Blocking(AsyncPolicy::Handshake);
            let ends = [(jobs, Kind::Ordinary), (Kind::Ordinary, jobs)];
            for (client, server) in ends {
                let settings = settings(notify, false);
                let (client, server, seen) = transfers(SHORT, settings, *version, client, server);
                let (with, without) = match client.in_all.started {
                    0 => (server, client),
                    _ => (client, server),
                };
                assert_eq!(without.in_all.started, 0);
                assert!(with.in_handshake.paused > 0);
                assert_eq!(with.in_all, with.in_handshake);
                assert_eq!(with.in_all.paused, pauses(&seen));
            }
        }
    }
}

#[test]
fn under_the_policy_never_no_job_runs_and_nothing_pauses() {
    for version in VERSIONS {
        let never = AsyncPolicy::Never;
        let (client, server, seen) = transfers(
            SHORT,
            Settings::default(),
            *version,
            Kind::NonBlocking(never),
            Kind::Blocking(never),
        );
        assert_eq!((client.in_all.started, server.in_all.started), (0, 0));
        assert_eq!(seen, Counters::default());
    }
    assert_eq!(JobPool::stats().leaked, 0);
}
