//! A busy device: the first pause signals nothing, its status says to try again.

use std::ffi::c_int;

use foreign_types::ForeignTypeRef;
use testing::pausing::turn;
use testing::provider::{self, Settings};
use testing::tls::{self, Attempt, End, KeyType};

const ASYNC_STATUS_EAGAIN: c_int = 3;

extern "C" {
    fn SSL_get_async_status(ssl: *mut openssl_sys::SSL, status: *mut c_int) -> c_int;
}

#[test]
fn a_busy_device_asks_to_try_again() {
    let _turn = turn();
    let before = provider::counters();
    provider::set(Settings {
        kinds: provider::SIGNATURES,
        busy_first: true,
        ..Settings::default()
    });
    let version = tls::VERSIONS[0];
    let identity = tls::certificate(KeyType::Ecdsa, &["server.test"]);
    let server = tls::server_context(version, &[&identity]).build();
    let client = tls::client_context(version, &[&identity.certificate]).build();
    let (near, far) = tls::pair();
    let mut client = End::client(&client, near);
    let mut server = End::async_server(&server, far);

    assert!(matches!(client.handshake()(), Attempt::Wait(_)));
    assert!(matches!(server.handshake()(), Attempt::Wait(_)));
    assert_eq!(server.pauses(), 1);
    let mut status = -1;
    // SAFETY: SSL_get_async_status reads a live SSL that has run a job and writes one int.
    let ok = unsafe { SSL_get_async_status(server.ssl().as_ptr(), &mut status) };
    assert_eq!((ok, status), (1, ASYNC_STATUS_EAGAIN));
    assert_eq!(provider::counters().since(&before).completed, 0);

    // Tried again: now the device takes the operation.
    tls::converse(&mut client, &mut server);
    assert_eq!(server.pauses(), 2);
    let seen = provider::counters().since(&before);
    assert_eq!((seen.signatures, seen.completed, seen.spurious), (1, 1, 0));
}
