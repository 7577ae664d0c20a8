//! What happens after a first handshake, through `SslStream` at either end and under each policy:
//! resumption, tickets, key updates, renegotiation, early data, and a close of one half.

use std::io::ErrorKind;
#[cfg(ossl111)]
use std::io::{self, Read, Write};
#[cfg(ossl111)]
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use crate::common::both::{Both, Told};
use crate::common::duo::{each_way, Duo, Way, VERSIONS};
#[cfg(ossl111)]
use crate::common::key_update::update_keys;
use crate::common::memory::{client_context, server_context};
use crate::common::script::{Act, Call};
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslOptions, SslRef, SslSession,
    SslSessionCacheMode,
};
use openssl_async_jobs::AsyncPolicy;
#[cfg(ossl111)]
use openssl_async_jobs::SslStream;

mod c {
    use std::os::raw::c_int;

    use openssl_sys::SSL;

    extern "C" {
        pub(crate) fn SSL_renegotiate(ssl: *mut SSL) -> c_int;
    }
    #[cfg(ossl111)]
    extern "C" {
        pub(crate) fn SSL_get_key_update_type(ssl: *const SSL) -> c_int;
        pub(crate) fn SSL_get_early_data_status(ssl: *const SSL) -> c_int;
    }
}

/// A client's context, and the sessions that it was given.
fn collecting(
    configure: impl FnOnce(&mut SslContextBuilder),
) -> (SslContext, Arc<Mutex<Vec<SslSession>>>) {
    let sessions = Arc::new(Mutex::new(Vec::new()));
    let collects = Arc::clone(&sessions);
    let ctx = client_context(|ctx| {
        configure(ctx);
        ctx.set_session_cache_mode(
            SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL_STORE,
        );
        ctx.set_new_session_callback(move |_, session| collects.lock().unwrap().push(session));
    });
    (ctx, sessions)
}

/// A client that goes on with the session.
fn resuming(client: &SslContext, session: &SslSession) -> Ssl {
    let mut ssl = Ssl::new(client).unwrap();
    // SAFETY: a session of this context.
    unsafe { ssl.set_session(session).unwrap() };
    ssl
}

fn ends(duo: &Duo) -> [&SslRef; 2] {
    [duo.ours.ssl(), duo.peer.ssl()]
}

/// A first connection, for its session.
fn first_session(way: Way, client: &SslContext, server: &SslContext) {
    let mut duo = way.duo(client, server);
    duo.handshake();
    duo.talk(b"ping");
    assert!(ends(&duo).iter().all(|ssl| !ssl.session_reused()));
    // A session whose connection did not close is forgotten.
    for _ in 0..2 {
        duo.ours.closes();
        duo.peer.closes();
    }
}

#[test]
fn a_session_is_resumed_by_ticket_and_by_number() {
    for newest in VERSIONS {
        for tickets in [true, false] {
            each_way(|way| {
                let (client, sessions) = collecting(|ctx| {
                    ctx.set_max_proto_version(newest).unwrap();
                });
                let server = server_context(|ctx| {
                    ctx.set_session_id_context(b"test").unwrap();
                    if !tickets {
                        ctx.set_options(SslOptions::NO_TICKET);
                    }
                });
                first_session(way, &client, &server);
                let session = sessions.lock().unwrap().pop().expect("a session");
                let ssl = resuming(&client, &session);
                let mut duo = way.duo_of(ssl, Ssl::new(&server).unwrap());
                duo.handshake();
                duo.talk(b"ping");
                let reused = ends(&duo).map(|ssl| ssl.session_reused());
                assert_eq!(reused, [true; 2], "{newest:?}, {tickets}, {way:?}");
            });
        }
    }
}

#[cfg(ossl111)]
#[test]
fn as_many_tickets_come_as_were_asked_for() {
    each_way(|way| {
        for tickets in [0, 1, 5] {
            let (client, sessions) = collecting(|_| ());
            let server = server_context(|ctx| ctx.set_num_tickets(tickets).unwrap());
            let mut duo = way.duo(&client, &server);
            duo.handshake();
            duo.talk(b"ping");
            let version = duo.ours.ssl().version_str();
            assert_eq!(sessions.lock().unwrap().len(), tickets, "{version}");
        }
    });
}

/// A socket that knows how much had been sent when it was read last.
#[cfg(ossl111)]
struct Watched {
    socket: UnixStream,
    sent: usize,
    sent_before_reading: usize,
}

#[cfg(ossl111)]
impl Read for Watched {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.sent_before_reading = self.sent;
        self.socket.read(to)
    }
}

#[cfg(ossl111)]
impl Write for Watched {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let len = self.socket.write(from)?;
        self.sent += len;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// It may block, whatever the stream was told.
#[cfg(ossl111)]
#[test]
fn tickets_are_sent_before_a_transport_is_read() {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    there.set_nonblocking(true).unwrap();
    let transport = Watched {
        socket: here,
        sent: 0,
        sent_before_reading: 0,
    };
    let ssl = Ssl::new(&server_context(|_| ())).unwrap();
    let mut ours = SslStream::over(ssl, transport, false).unwrap();
    let client = Ssl::new(&client_context(|_| ())).unwrap();
    let mut peer = openssl::ssl::SslStream::new(client, there).unwrap();
    let (mut connected, mut accepted) = (false, false);
    while !connected || !accepted {
        connected |= peer.connect().is_ok();
        accepted |= ours.accept().is_ok();
    }
    let sent = ours.get_ref().sent;
    let waits = ours.read(&mut [0]).unwrap_err();
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
    assert!(ours.get_ref().sent_before_reading > sent);
}

#[cfg(ossl111)]
#[test]
fn keys_are_updated_at_either_ends_wish() {
    use foreign_types::ForeignTypeRef;
    /// What they wait for.
    fn update_type(ssl: &SslRef) -> i32 {
        // SAFETY: a live SSL, and libssl only looks.
        unsafe { c::SSL_get_key_update_type(ssl.as_ptr()) }
    }
    const NONE: i32 = -1;
    each_way(|way| {
        let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
        duo.handshake();
        for requested in [false, true, false, true] {
            assert!(update_keys(duo.ours.ssl_mut().unwrap(), requested));
            duo.talk(b"ours began");
            assert_eq!(update_type(duo.ours.ssl()), NONE);

            assert!(update_keys(duo.peer.ssl(), requested));
            duo.talk(b"the peer began");
            assert_eq!(update_type(duo.peer.ssl()), NONE);
        }
        duo.talk(&[7; 100_000]);
    });
}

/// A handshake that is asked for, and no other call made, is what sends an update.
#[cfg(ossl111)]
#[test]
fn a_handshake_sends_the_key_update_that_was_asked_for() {
    each_way(|way| {
        let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
        duo.handshake();
        duo.talk(b"ping");
        let before = duo.peer.get_ref().received;
        assert!(update_keys(duo.ours.ssl_mut().unwrap(), false));
        assert_eq!(duo.ours.handshake(), Told::Done(0));
        assert!(duo.peer.reads(&mut [0]).would_block());
        assert!(duo.peer.get_ref().received > before, "{way:?}");
        duo.talk(b"pong");
    });
}

/// What the handshake ended with: another one ends with something else.
fn finished(ssl: &SslRef) -> [u8; 64] {
    let mut message = [0; 64];
    assert!(ssl.finished(&mut message) > 0);
    message
}

#[test]
fn a_connection_is_renegotiated_at_either_ends_wish() {
    use foreign_types::ForeignTypeRef;
    each_way(|way| {
        for ours_begins in [true, false] {
            let tls12 = |ctx: &mut SslContextBuilder| {
                ctx.set_max_proto_version(VERSIONS[0]).unwrap();
            };
            let server = server_context(|ctx| {
                tls12(ctx);
                // `SSL_OP_ALLOW_CLIENT_RENEGOTIATION`; before, it is allowed.
                #[cfg(ossl300)]
                ctx.set_options(SslOptions::from_bits_retain(1 << 8));
            });
            let mut duo = way.duo(&client_context(tls12), &server);
            duo.handshake();
            duo.talk(b"ping");
            let first = ends(&duo).map(finished);
            let begins = match ours_begins {
                true => duo.ours.ssl_mut().unwrap().as_ptr(),
                false => duo.peer.ssl().as_ptr(),
            };
            // SAFETY: a live SSL that nobody uses at the moment.
            assert_eq!(unsafe { c::SSL_renegotiate(begins) }, 1);
            // The request goes out with a handshake; what comes of it is done by reads, as data
            // among the messages of a handshake is an error to libssl.
            let told = match ours_begins {
                true => duo.ours.handshake(),
                false => duo.peer.handshake(),
            };
            assert!(told.would_block() || told == Told::Done(0), "{told:?}");
            for _ in 0..10 {
                assert!(duo.peer.reads(&mut [0]).would_block());
                assert!(duo.ours.reads(&mut [0]).would_block());
            }
            duo.talk(&[7; 100_000]);
            let second = ends(&duo).map(finished);
            assert!(first[0] != second[0] && first[1] != second[1], "{way:?}");
        }
    });
}

#[cfg(ossl111)]
#[test]
fn early_data_is_taken_or_refused_and_the_handshake_goes_on() {
    use foreign_types::ForeignTypeRef;
    const REJECTED: i32 = 1;
    const ACCEPTED: i32 = 2;
    let early = |ctx: &mut SslContextBuilder| {
        ctx.set_max_early_data(10_000).unwrap();
        ctx.set_session_id_context(b"test").unwrap();
    };
    each_way(|way| {
        for accept in [true, false] {
            let (client, sessions) = collecting(|_| ());
            let server = server_context(early);
            first_session(way, &client, &server);
            let session = sessions.lock().unwrap().pop().expect("a session");
            assert!(session.max_early_data() > 0);
            // One that did not make the ticket cannot read the data.
            let other = server_context(early);
            let server = if accept { &server } else { &other };
            let ssl = resuming(&client, &session);
            let mut duo = way.duo_of(ssl, Ssl::new(server).unwrap());

            let sent = b"early, and in two pieces";
            let mut got = Vec::new();
            let mut buffer = [0; 100];
            let mut read = |read: Result<usize, ErrorCode>, buffer: &[u8]| match read {
                Ok(0) => false,
                Ok(len) => {
                    got.extend_from_slice(&buffer[..len]);
                    true
                }
                Err(code) => {
                    assert_eq!(code, ErrorCode::WANT_READ);
                    false
                }
            };
            if way.accepts {
                for piece in sent.chunks(10) {
                    assert_eq!(duo.peer.write_early_data(piece).unwrap(), piece.len());
                }
                loop {
                    let told = match duo.ours.read_early_data(&mut buffer) {
                        Err(e) if e.is_would_block() => Err(ErrorCode::WANT_READ),
                        other => Ok(other.unwrap()),
                    };
                    if !read(told, &buffer) {
                        break;
                    }
                }
            } else {
                for piece in sent.chunks(10) {
                    assert_eq!(duo.ours.write_early_data(piece).unwrap(), piece.len());
                }
                loop {
                    let told = duo.peer.read_early_data(&mut buffer);
                    if !read(told.map_err(|e| e.code()), &buffer) {
                        break;
                    }
                }
            }
            assert_eq!(got, if accept { &sent[..] } else { &[] }, "{way:?}");
            // The client first: the server's early data ends with its end.
            duo.handshake();
            duo.talk(b"ping");
            for ssl in ends(&duo) {
                // SAFETY: a live SSL; asks only.
                let status = unsafe { c::SSL_get_early_data_status(ssl.as_ptr()) };
                assert_eq!(status, if accept { ACCEPTED } else { REJECTED }, "{way:?}");
            }
        }
    });
}

#[test]
fn who_has_closed_reads_on_until_the_other_closes_too() {
    for newest in VERSIONS {
        let contexts = (
            client_context(|ctx| ctx.set_max_proto_version(newest).unwrap()),
            server_context(|_| ()),
        );
        each_way(|way| {
            for ours_closes in [true, false] {
                let mut duo = way.duo(&contexts.0, &contexts.1);
                duo.handshake();
                duo.talk(b"ping");
                let sent = Told::Shutdown("sent");
                let end = Told::Tls(ErrorCode::ZERO_RETURN.as_raw(), Vec::new());
                let received = Told::Shutdown("received");
                let mut buffer = [0; 50_000];
                let message = [7; 40_000];
                if ours_closes {
                    assert_eq!(duo.ours.closes(), sent);
                    assert_eq!(duo.peer.reads(&mut buffer), end);
                    write_all(&mut duo.peer, &message);
                    read_all(&mut duo.ours, &message);
                    assert_eq!(duo.peer.closes(), received);
                    assert_eq!(duo.ours.reads(&mut buffer), end);
                    assert_eq!(duo.ours.closes(), received);
                } else {
                    assert_eq!(duo.peer.closes(), sent);
                    assert_eq!(duo.ours.reads(&mut buffer), end);
                    write_all(&mut duo.ours, &message);
                    read_all(&mut duo.peer, &message);
                    assert_eq!(duo.ours.closes(), received);
                    assert_eq!(duo.peer.reads(&mut buffer), end);
                    assert_eq!(duo.peer.closes(), received);
                }
            }
        });
    }
}

fn write_all<S: std::io::Read + std::io::Write>(end: &mut impl Both<S>, mut message: &[u8]) {
    while !message.is_empty() {
        match end.writes(message) {
            Told::Done(len) => message = &message[len..],
            other => panic!("{other:?}"),
        }
    }
    end.flush().unwrap();
}

fn read_all<S: std::io::Read + std::io::Write>(end: &mut impl Both<S>, message: &[u8]) {
    let mut got = Vec::new();
    let mut buffer = [0; 7000];
    while got.len() < message.len() {
        match end.reads(&mut buffer) {
            Told::Done(len) => got.extend_from_slice(&buffer[..len]),
            other => panic!("{other:?}"),
        }
    }
    assert!(got == message);
    assert_eq!(end.reads(&mut buffer), Told::Io(ErrorKind::WouldBlock));
}

#[test]
fn a_shutdown_is_sent_when_the_transport_has_taken_it() {
    each_way(|way| {
        let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
        duo.handshake();
        duo.talk(b"ping");
        duo.ours.get_mut().set_script(|call| match call {
            Call::Write => Act::Fail(ErrorKind::WouldBlock),
            _ => Act::All,
        });
        assert!(duo.ours.closes().would_block());
        assert!(duo.ours.interest().writable);
        assert!(duo.peer.reads(&mut [0]).would_block());
        duo.ours.get_mut().set_script(|_| Act::All);
        assert_eq!(duo.ours.closes(), Told::Shutdown("sent"), "{way:?}");
        let end = Told::Tls(ErrorCode::ZERO_RETURN.as_raw(), Vec::new());
        assert_eq!(duo.peer.reads(&mut [0]), end);
    });
}

/// What a server does when it wants no more of a client: it closes, and is not asked again.
#[test]
fn a_shutdown_before_or_in_the_handshake_is_told_as_rust_openssl_tells_it() {
    each_way(|way| {
        let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
        let mut other = Way {
            policy: AsyncPolicy::Never,
            accepts: !way.accepts,
        }
        .duo(&client_context(|_| ()), &server_context(|_| ()));
        // The peer of the other one is at the same end as ours.
        assert_eq!(duo.ours.closes(), other.peer.closes());
        assert_eq!(duo.ours.handshake(), other.peer.handshake());
        assert_eq!(duo.ours.closes(), other.peer.closes());
    });
}
