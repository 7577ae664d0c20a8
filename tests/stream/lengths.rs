//! How much is read, written and kept, and when it is flushed, through `SslStream` at either end and
//! under each policy: as callers of `Read` and `Write`, and transports, expect.

use std::io::{self, ErrorKind, Read, Write};

use crate::common::both::{Both, Told};
use crate::common::compare::{Peer, POLICIES};
use crate::common::duo::{each_way, Duo, Way};
use crate::common::memory::{client_context, server_context};
use crate::common::script::{link, Act, Call, Numbers, Scripted};
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMode};
use openssl_async_jobs::{AsyncPolicy, SslStream};

fn open(way: Way) -> Duo {
    let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
    duo.handshake();
    assert!(duo.ours.reads(&mut [0]).would_block());
    assert!(duo.peer.reads(&mut [0]).would_block());
    duo
}

#[test]
fn no_bytes_are_read_and_written_at_any_time() {
    each_way(|way| {
        let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
        for _ in 0..2 {
            assert_eq!(duo.ours.write(&[]).unwrap(), 0);
            assert_eq!(duo.ours.read(&mut []).unwrap(), 0);
            assert_eq!(duo.ours.ssl_peek(&mut []).unwrap(), 0);
            duo.handshake();
        }
        duo.talk(b"ping");
    });
}

#[test]
fn the_rest_of_a_record_is_pending() {
    each_way(|way| {
        let mut duo = open(way);
        duo.peer.writes(b"hello");
        assert_eq!(duo.ours.ssl_peek(&mut [0; 2]).unwrap(), 2);
        assert_eq!(duo.ours.read(&mut [0]).unwrap(), 1);
        if way.policy != AsyncPolicy::Always {
            assert_eq!(duo.ours.ssl().pending(), 4);
        }
        // Perhaps in pieces.
        let mut rest = [0; 4];
        duo.ours.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"ello");
        assert_eq!(duo.ours.ssl().pending(), 0);
    });
}

#[test]
fn sixteen_mebibytes_come_as_they_were_sent() {
    let data = Numbers::new(1).bytes(16 << 20);
    for partial in [false, true] {
        let partially = |ctx: &mut SslContextBuilder| {
            let moving = SslMode::ACCEPT_MOVING_WRITE_BUFFER;
            ctx.set_mode(match partial {
                true => moving | SslMode::ENABLE_PARTIAL_WRITE,
                false => moving,
            });
        };
        for policy in POLICIES {
            let accepts = partial;
            let way = Way { policy, accepts };
            let mut duo = way.duo(&client_context(partially), &server_context(partially));
            duo.handshake();
            duo.talk(&data);
        }
    }
}

/// What is encrypted is as large as what is not: somebody has to hold back.
#[test]
fn a_write_takes_no_more_than_there_is_room_for() {
    each_way(|way| {
        let mut duo = open(way);
        duo.ours.get_mut().set_script(|call| match call {
            Call::Write => Act::Fail(ErrorKind::WouldBlock),
            _ => Act::All,
        });
        let mut taken = 0;
        while let Ok(len) = duo.ours.write(&vec![0; 4 << 20]) {
            taken += len;
        }
        assert!(taken < 1 << 20, "{way:?}: {taken} bytes are kept");
    });
}

/// Without `SSL_MODE_AUTO_RETRY` libssl says that it wants to read when it has handled a message
/// that is no data, and leaves what comes after it.
#[test]
fn data_behind_other_messages_is_read_without_automatic_retries() {
    const CLEAR_MODE: i32 = 78;
    let without = |ctx: &mut SslContextBuilder| {
        // SAFETY: a live context; clears a bit of its mode.
        unsafe {
            openssl_sys::SSL_CTX_ctrl(
                ctx.as_ptr(),
                CLEAR_MODE,
                SslMode::AUTO_RETRY.bits() as _,
                std::ptr::null_mut(),
            )
        };
    };
    for policy in POLICIES {
        let way = Way {
            policy,
            accepts: false,
        };
        let mut duo = way.duo(&client_context(without), &server_context(|_| ()));
        // Tickets come behind the handshake, where there are any.
        duo.handshake();
        duo.peer.writes(b"hello");
        let mut buffer = [0; 10];
        let told = duo.ours.reads(&mut buffer);
        assert_eq!(told, Told::Done(5), "{policy:?}");
    }
}

/// Keeps what is written until it is flushed.
struct Buffered(Scripted, Vec<u8>);

impl Read for Buffered {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl Write for Buffered {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.write_all(&std::mem::take(&mut self.1))
    }
}

/// Handshakes and closes over a transport that wants to be flushed.
fn over_a_buffer<T: Both<Buffered>>(policy: AsyncPolicy, accepts: bool) -> Vec<Told> {
    let contexts: [SslContext; 2] = [client_context(|_| ()), server_context(|_| ())];
    let [mut client, mut server] = contexts.map(|ctx| Ssl::new(&ctx).unwrap());
    client.set_connect_state();
    server.set_accept_state();
    let (ours, peer) = match accepts {
        true => (server, client),
        false => (client, server),
    };
    let (here, there) = link();
    let mut ours = T::over(ours, Buffered(here, Vec::new()), policy);
    let mut peer: Peer = Both::over(peer, there, policy);
    let mut told = vec![Told::Io(ErrorKind::WouldBlock); 2];
    for _ in 0..10 {
        told[0] = ours.handshake();
        told[1] = peer.handshake();
    }
    told.push(ours.writes(b"hello"));
    ours.flush().unwrap();
    told.push(peer.reads(&mut [0; 10]));
    told.push(ours.closes());
    // Not all versions of OpenSSL do that for a warning.
    ours.flush().unwrap();
    told.push(peer.reads(&mut [0; 10]));
    told
}

#[test]
fn a_transport_that_keeps_what_is_written_until_it_is_flushed_is_flushed() {
    each_way(|way| {
        let theirs = over_a_buffer::<openssl::ssl::SslStream<Buffered>>(way.policy, way.accepts);
        let ours = over_a_buffer::<SslStream<Buffered>>(way.policy, way.accepts);
        assert_eq!(ours, theirs, "{way:?}: ours left, rust-openssl's right");
    });
}
