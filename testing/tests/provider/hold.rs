//! A held device completes nothing; a resume that comes too early pauses again.

use openssl_async_jobs::SslAsyncExt;
use testing::pausing::turn;
use testing::provider::{self, Notify, Settings};
use testing::tls::{self, Attempt, End, KeyType};

#[test]
fn a_resume_before_the_completion_pauses_again() {
    let _turn = turn();
    let before = provider::counters();
    provider::set(Settings {
        kinds: provider::SIGNATURES,
        notify: Notify::Fd,
        ..Settings::default()
    });
    let version = tls::VERSIONS[0];
    let identity = tls::certificate(KeyType::Ecdsa, &["server.test"]);
    let server = tls::server_context(version, &[&identity]).build();
    let client = tls::client_context(version, &[&identity.certificate]).build();
    let (near, far) = tls::pair();
    let mut client = End::client(&client, near);
    let mut server = End::async_server(&server, far);

    provider::hold(true);
    {
        // The client's hello is there, so the server gets as far as its signature.
        assert!(matches!(client.handshake()(), Attempt::Wait(_)));
        let mut accept = server.handshake();
        for _ in 0..3 {
            assert!(matches!(accept(), Attempt::Wait(_)));
        }
    }
    let seen = provider::counters().since(&before);
    assert_eq!((seen.signatures, seen.completed, seen.spurious), (1, 0, 2));

    provider::hold(false);
    let mut fds = server
        .ssl()
        .all_async_fds()
        .unwrap()
        .into_iter()
        .map(|fd| tls::interest(fd, libc::POLLIN))
        .collect::<Vec<_>>();
    assert_eq!(fds.len(), 1);
    tls::wait(&mut fds);
    tls::converse(&mut client, &mut server);
    let seen = provider::counters().since(&before);
    assert_eq!((seen.signatures, seen.completed, seen.spurious), (1, 1, 2));
}
