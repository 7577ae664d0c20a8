//! A connection dropped at any pause of a whole conversation whose callbacks suspend: each is told
//! that it is cancelled, the operation ends within the drop, and the `Ssl` is freed (H3, H10).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use openssl::ex_data::Index;
use openssl::ssl::{
    AlpnError, SniError, Ssl, SslContextBuilder, SslSessionCacheMode, SslVerifyMode, SslVersion,
};
use openssl_async_jobs::{JobPool, Role, SuspendError};
use testing::pausing::{for_each_of, suspend_while_held, Pausing};
use testing::tls::{self, Held, KeyType, Talk, VERSIONS};

/// What the callbacks do, and have seen.
#[derive(Clone)]
struct Callbacks {
    /// Whether they fail when they are cancelled, or go on.
    fail: bool,
    cancelled: Arc<AtomicUsize>,
}

impl Callbacks {
    /// Suspends; whether the callback shall go on.
    fn ask(&self) -> bool {
        match suspend_while_held() {
            // Of the peer, which has no jobs.
            Ok(()) | Err(SuspendError::NotInJob) => true,
            Err(SuspendError::Cancelled) => {
                self.cancelled.fetch_add(1, Ordering::SeqCst);
                !self.fail
            }
            Err(e) => panic!("{e}"),
        }
    }

    fn set(&self, ctx: &mut SslContextBuilder) {
        let ask = self.clone();
        ctx.set_verify_callback(
            SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            move |good, _| good && ask.ask(),
        );
        let ask = self.clone();
        ctx.set_new_session_callback(move |_, _| {
            ask.ask();
        });
        ctx.set_session_cache_mode(SslSessionCacheMode::BOTH);
        ctx.set_session_id_context(b"test").unwrap();
        #[cfg(ossl111)]
        {
            let ask = self.clone();
            ctx.set_keylog_callback(move |_, _| {
                ask.ask();
            });
        }
    }

    fn set_servers(&self, ctx: &mut SslContextBuilder) {
        self.set(ctx);
        let ask = self.clone();
        ctx.set_servername_callback(move |_, _| match ask.ask() {
            true => Ok(()),
            false => Err(SniError::ALERT_FATAL),
        });
        let ask = self.clone();
        ctx.set_alpn_select_callback(move |_, _| match ask.ask() {
            true => Ok(b"one"),
            false => Err(AlpnError::ALERT_FATAL),
        });
        #[cfg(ossl111)]
        {
            let ask = self.clone();
            ctx.set_client_hello_callback(move |_, _| match ask.ask() {
                true => Ok(openssl::ssl::ClientHelloResponse::SUCCESS),
                false => Err(openssl::error::ErrorStack::get()),
            });
        }
    }

    fn talk(&self, version: SslVersion, role: Role, freed: &Arc<()>) -> Talk {
        static INDEX: OnceLock<Index<Ssl, Arc<()>>> = OnceLock::new();
        let index = *INDEX.get_or_init(|| Ssl::new_ex_index().unwrap());
        let identity = tls::certificate(KeyType::Ecdsa, &["server.test"]);
        let mut client = tls::client_context(version, &[&identity.certificate]);
        tls::use_identity(&mut client, &identity);
        client.set_alpn_protos(b"\x03one").unwrap();
        self.set(&mut client);
        let mut server = tls::server_context(version, &[&identity]);
        tls::trust(&mut server, &[&identity.certificate]);
        self.set_servers(&mut server);
        let mut client = Ssl::new(&client.build()).unwrap();
        client.set_hostname("server.test").unwrap();
        let server = Ssl::new(&server.build()).unwrap();
        let mut held = Held::of(Pausing::Suspended, client, server, role);
        let ssl = held.subject.ssl_mut().expect("nothing is in flight");
        ssl.set_ex_data(index, Arc::clone(freed));
        Talk::new(held)
    }
}

/// A conversation that has come to its pause number `pause`: `None` if it has none.
fn paused(mut talk: Talk, pause: usize) -> Option<Talk> {
    for _ in 0..pause {
        if talk.go_on() == Poll::Ready(()) {
            return None;
        }
        talk.held.complete();
    }
    (talk.go_on() == Poll::Pending).then_some(talk)
}

/// Drops a conversation at each of its pauses.
fn drop_at_each_pause(fail: bool, completed: bool, version: SslVersion, role: Role) {
    for pause in 0.. {
        let freed = Arc::new(());
        let callbacks = Callbacks {
            fail,
            cancelled: Arc::default(),
        };
        let Some(mut talk) = paused(callbacks.talk(version, role, &freed), pause) else {
            println!("{version:?} {role:?}: {pause} pauses");
            assert!(pause >= 2, "the callbacks are not called");
            break;
        };
        if completed {
            talk.held.complete();
        }
        let before = JobPool::stats();
        assert_eq!(before.in_flight, 1);
        drop(talk);
        let after = JobPool::stats();
        assert_eq!((after.in_flight, after.waiting, after.leaked), (0, 0, 0));
        assert_eq!(after.finished, after.started);
        assert_eq!(after.reaped, before.reaped, "it ends at once");
        assert_eq!(Arc::strong_count(&freed), 1, "the Ssl is leaked");
        assert!(callbacks.cancelled.load(Ordering::SeqCst) > 0);
        // Nor do the contexts' callbacks outlive it.
        assert_eq!(Arc::strong_count(&callbacks.cancelled), 1);
    }
}

#[test]
fn dropped_at_any_callback_that_waits_it_cancels_ends_and_is_freed() {
    for_each_of(&[Pausing::Suspended], |_| {
        for fail in [true, false] {
            for version in VERSIONS {
                for role in [Role::Client, Role::Server] {
                    drop_at_each_pause(fail, false, *version, role);
                }
            }
        }
    });
}

#[test]
fn dropped_when_what_a_callback_waits_for_is_there_it_cancels_all_the_same() {
    for_each_of(&[Pausing::Suspended], |_| {
        for fail in [true, false] {
            for version in VERSIONS {
                for role in [Role::Client, Role::Server] {
                    drop_at_each_pause(fail, true, *version, role);
                }
            }
        }
    });
}
