//! The device calls the wait context's callback instead of signalling an fd, where one is set.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;

use foreign_types::ForeignTypeRef;
use testing::pausing::turn;
use testing::provider::{self, Settings};
use testing::tls::{self, Attempt, End, KeyType};

extern "C" {
    fn SSL_set_async_callback(
        ssl: *mut openssl_sys::SSL,
        callback: unsafe extern "C" fn(*mut openssl_sys::SSL, *mut c_void) -> c_int,
    ) -> c_int;
    fn SSL_set_async_callback_arg(ssl: *mut openssl_sys::SSL, arg: *mut c_void) -> c_int;
}

/// Signals the eventfd whose number is the argument.
unsafe extern "C" fn signal(_: *mut openssl_sys::SSL, fd: *mut c_void) -> c_int {
    let one = 1_u64;
    // SAFETY: eventfd(2) takes eight bytes; the test keeps the descriptor open.
    let written = unsafe { libc::write(fd as RawFd, (&raw const one).cast(), 8) };
    c_int::from(written == 8)
}

#[test]
fn a_callback_stands_in_for_the_fd() {
    let _turn = turn();
    // SAFETY: eventfd(2) makes a descriptor; it stays open to the end of the process.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0);

    for complete_first in [false, true] {
        provider::set(Settings {
            kinds: provider::SIGNATURES | provider::KEY_EXCHANGES,
            complete_first,
            ..Settings::default()
        });
        let identity = tls::certificate(KeyType::Rsa, &["server.test"]);
        let version = tls::VERSIONS[0];
        let server = tls::server_context(version, &[&identity]).build();
        let client = tls::client_context(version, &[&identity.certificate]).build();
        let (near, far) = tls::pair();
        let mut client = End::client(&client, near);
        let mut server = End::async_server(&server, far);
        let ssl = server.ssl().as_ptr();
        // SAFETY: the SSL is live, and the callback takes what is set as its argument.
        let set = unsafe {
            SSL_set_async_callback(ssl, signal) == 1
                && SSL_set_async_callback_arg(ssl, fd as *mut c_void) == 1
        };
        assert!(set);

        let before = provider::counters();
        // Moved into the closure, so that the server is free again after the handshake.
        let mut accept = server.handshake();
        let accept = move || {
            drain(fd);
            match accept() {
                // A pause leaves no fd of the provider's: wait for the callback.
                Attempt::Wait(fds) if fds.is_empty() => {
                    Attempt::Wait(vec![tls::interest(fd, libc::POLLIN)])
                }
                other => other,
            }
        };
        tls::pump(client.handshake(), accept);
        let seen = provider::counters().since(&before);
        assert_eq!((seen.paused(), seen.spurious), (2, 0));
        tls::converse(&mut client, &mut server);
    }
}

/// Takes what the callback has signalled, if it has.
fn drain(fd: RawFd) {
    let mut poll = tls::interest(fd, libc::POLLIN);
    let mut signals = 0_u64;
    // SAFETY: poll(2) is given one live entry, read(2) the eight bytes an eventfd answers.
    unsafe {
        if libc::poll(&mut poll, 1, 0) == 1 {
            assert_eq!(libc::read(fd, (&raw mut signals).cast(), 8), 8);
        }
    }
}
