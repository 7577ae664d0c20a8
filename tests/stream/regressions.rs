//! What streams got wrong once: peers that ask and never read, transports that are dead, and what a
//! reader and a writer of one stream take from each other.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::both::Both;
#[cfg(ossl111)]
use crate::common::both::Told;
use crate::common::compare::POLICIES;
use crate::common::duo::{each_way, Duo, Way};
use crate::common::handshake::{client_context, server_context};
use crate::common::polled::{set_send_buffer, sockets, would_block};
use crate::common::script::{link, Act, Call};
use openssl::ssl::{self, Ssl};
use openssl_async_jobs::{AsyncPolicy, SslStream};

const NOT_AT_ALL: Option<Duration> = Some(Duration::ZERO);

/// After the handshake, with all read that came with it.
fn open(way: Way) -> Duo {
    let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
    duo.handshake();
    duo.talk(b"hello");
    duo
}

/// A server's stream of this type and a client, before the handshake.
fn over_sockets<T: Both<UnixStream>>(policy: AsyncPolicy) -> (T, ssl::SslStream<UnixStream>) {
    let (a, b) = sockets();
    let mut server = Ssl::new(&server_context(|_| ())).unwrap();
    server.set_accept_state();
    let mut client = Ssl::new(&client_context(|_| ())).unwrap();
    client.set_connect_state();
    let client = ssl::SslStream::new(client, b).unwrap();
    (T::over(server, a, policy), client)
}

#[test]
#[cfg(ossl111)]
fn a_peer_that_asks_for_key_updates_and_does_not_read_is_answered_up_to_a_limit() {
    use crate::common::key_update::update_keys;
    use std::cell::Cell;
    use std::rc::Rc;

    const REQUESTS: usize = 20_000;
    const LIMIT: usize = 256 * 1024;

    for (policy, accepts) in [(AsyncPolicy::Handshake, true), (AsyncPolicy::Always, false)] {
        let way = Way { policy, accepts };
        let mut duo = open(way);
        let full = Rc::new(Cell::new(true));
        let is_full = Rc::clone(&full);
        duo.ours.get_mut().set_script(move |call| match call {
            Call::Write if is_full.get() => Act::Fail(ErrorKind::WouldBlock),
            _ => Act::All,
        });
        let before = duo.ours.get_ref().received;
        let mut asked = 0;
        for n in 0..REQUESTS {
            assert!(update_keys(duo.peer.ssl(), true));
            duo.peer.do_handshake().unwrap();
            duo.peer.get_mut().tamper(|bytes| assert!(bytes.is_empty()));
            if n % 100 == 0 {
                assert!(would_block(duo.ours.read(&mut [0])), "{way:?}");
            }
        }
        assert!(would_block(duo.ours.read(&mut [0])));
        duo.ours.get_mut().tamper(|bytes| asked = bytes.len());
        let received = duo.ours.get_ref().received - before;
        asked += received;
        // Enough to go beyond it.
        assert!(asked > 2 * LIMIT, "{asked}");
        assert!(received < LIMIT, "{way:?}: {received} bytes are taken in");

        full.set(false);
        duo.ours.flush().unwrap();
        let mut kept = 0;
        duo.peer.get_mut().tamper(|bytes| kept = bytes.len());
        assert!(kept > 0, "nothing was answered");
        assert!(kept < LIMIT, "{way:?}: {kept} bytes are kept");
        duo.talk(b"and both go on");
        assert!(duo.ours.get_ref().received - before > asked);
    }
}

/// The reader waits in the handshake; the writer finishes it, and has the reader's bytes, too.
#[test]
#[cfg(ossl111)]
fn a_reader_whose_bytes_a_write_has_received_does_not_wait_for_the_socket() {
    for policy in POLICIES {
        let (mut ours, mut peer) = over_sockets::<SslStream<UnixStream>>(policy);
        peer.connect().unwrap_err();
        let mut got = [0; 5];
        assert!(would_block(ours.read(&mut got)));
        assert!(ours.interest().readable);
        assert!(!ours.wait(NOT_AT_ALL).unwrap());
        peer.connect().unwrap();
        peer.write_all(b"hello").unwrap();
        assert_eq!(ours.write(b"banner").unwrap(), 6);
        let interest = ours.interest();
        assert!(!interest.readable, "{policy:?}: {interest:?}");
        assert!(ours.wait(NOT_AT_ALL).unwrap(), "{policy:?}");
        assert_eq!(ours.read(&mut got).unwrap(), 5);
        assert_eq!(&got, b"hello");
    }
}

#[test]
fn a_write_that_waits_is_not_woken_by_what_there_is_to_read() {
    for policy in POLICIES {
        let (mut ours, mut peer) = over_sockets::<SslStream<UnixStream>>(policy);
        let (mut is_open, mut peer_is_open) = (false, false);
        while !is_open || !peer_is_open {
            peer_is_open |= peer.connect().is_ok();
            is_open |= ours.accept().is_ok();
        }
        assert!(would_block(peer.read(&mut [0])));
        set_send_buffer(ours.get_ref(), 2048);
        assert!(would_block(ours.read(&mut [0])));
        peer.write_all(b"data").unwrap();
        while !would_block(ours.write(&[b'd'; 5000])) {}
        assert!(!ours.wait(NOT_AT_ALL).unwrap(), "{policy:?}: it is full");
        // The reader still waits.
        assert!(ours.interest().readable, "{policy:?}");
        let mut buffer = [0; 5000];
        while !would_block(peer.read(&mut buffer)) {}
        assert!(ours.wait(NOT_AT_ALL).unwrap(), "{policy:?}: there is room");
        let mut data = [0; 4];
        assert_eq!(ours.read(&mut data).unwrap(), 4);
        assert_eq!(&data, b"data");
    }
}

/// A stream whose transport has broken after the handshake. It may be told that it blocks: it does
/// not have to.
fn broken(way: Way, blocking: bool) -> Duo {
    let (here, there) = link();
    let mut client = Ssl::new(&client_context(|_| ())).unwrap();
    client.set_connect_state();
    let mut server = Ssl::new(&server_context(|_| ())).unwrap();
    server.set_accept_state();
    let (ours, peer) = match way.accepts {
        true => (server, client),
        false => (client, server),
    };
    let mut duo = Duo {
        ours: SslStream::over(ours, here, blocking).unwrap(),
        peer: Both::over(peer, there, way.policy),
    };
    duo.ours.set_policy(way.policy);
    duo.handshake();
    duo.talk(b"hello");
    duo.ours.get_mut().set_script(|call| match call {
        Call::Write => Act::Fail(ErrorKind::BrokenPipe),
        Call::Read | Call::Flush => Act::All,
    });
    duo
}

#[test]
fn a_broken_transport_is_told_of_by_the_second_write_and_by_flush() {
    each_way(|way| {
        for blocking in [true, false] {
            let mut duo = broken(way, blocking);
            // It is not sent, and may say so.
            let _ = duo.ours.write(b"a line");
            for _ in 0..3 {
                let e = duo.ours.write(b"another").unwrap_err();
                assert_eq!(e.kind(), ErrorKind::BrokenPipe, "{way:?} {blocking}");
            }

            let mut duo = broken(way, blocking);
            let _ = duo.ours.write(b"a line");
            let e = duo.ours.flush().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::BrokenPipe, "{way:?} {blocking}");
        }
    });
}

/// What the server is told of its handshake and of the request.
#[cfg(ossl111)]
fn with_a_client_that_is_gone<T: Both<UnixStream>>(policy: AsyncPolicy) -> (Told, Told) {
    let (mut server, mut client) = over_sockets::<T>(policy);
    client.connect().unwrap_err();
    assert!(server.handshake().would_block());
    client.connect().unwrap();
    client.write_all(b"request").unwrap();
    drop(client);
    let handshake = server.handshake();
    let mut request = [0; 7];
    let read = server.reads(&mut request);
    assert_eq!(&request, b"request");
    (handshake, read)
}

/// The server's tickets cannot be sent any more, and need not.
#[test]
#[cfg(ossl111)]
fn a_client_that_is_gone_before_its_tickets_is_accepted_and_its_request_read() {
    for policy in POLICIES {
        let ours = with_a_client_that_is_gone::<SslStream<UnixStream>>(policy);
        assert_eq!(ours, (Told::Done(0), Told::Done(7)), "{policy:?}");
        let theirs = with_a_client_that_is_gone::<ssl::SslStream<UnixStream>>(policy);
        assert_eq!(ours, theirs, "{policy:?}: ours left, rust-openssl's right");
    }
}

#[test]
fn a_second_record_that_came_with_the_first_is_pending() {
    each_way(|way| {
        let mut duo = open(way);
        assert!(!duo.ours.has_pending());
        duo.peer.write_all(b"hello").unwrap();
        duo.peer.write_all(b"world").unwrap();
        // It is the transport's still.
        assert!(!duo.ours.has_pending());
        let mut got = [0; 5];
        assert_eq!(duo.ours.read(&mut got).unwrap(), 5);
        assert_eq!(&got, b"hello");
        duo.ours.get_mut().tamper(|bytes| assert!(bytes.is_empty()));
        assert!(duo.ours.has_pending(), "{way:?}");
        assert_eq!(duo.ours.read(&mut got).unwrap(), 5);
        assert_eq!(&got, b"world");
        assert!(!duo.ours.has_pending(), "{way:?}");
    });
}
