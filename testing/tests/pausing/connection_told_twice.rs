//! An engine that signals its wait fd and calls the callback as well: what it says of one operation
//! is no evidence for the next one (H6, H8).
#![cfg(ossl300)]

use openssl::ssl::Ssl;
use openssl_async_jobs::AsyncPolicy;
use testing::pausing::turn;
use testing::provider::{self, Notify, Settings};
use testing::tls::{self, transfer, KeyType, Kind, LONG, VERSIONS};

#[test]
fn the_callback_of_an_operation_whose_fd_was_seen_first_does_not_resume_the_next_one() {
    let _turn = turn();
    let before = provider::counters();
    provider::set(Settings {
        notify: Notify::Both,
        ..Settings::default()
    });
    let identity = tls::certificate(KeyType::Rsa, &["server.test"]);
    for version in VERSIONS {
        let client = tls::client_context(*version, &[&identity.certificate]).build();
        let server = tls::server_context(*version, &[&identity]).build();
        let always = AsyncPolicy::Always;
        transfer(
            LONG,
            (Ssl::new(&client).unwrap(), Kind::Blocking(always)),
            (Ssl::new(&server).unwrap(), Kind::NonBlocking(always)),
        );
    }
    let seen = provider::counters().since(&before);
    assert_eq!(seen.spurious, 0, "{seen:?}");
}
