//! What a transport may do while libssl writes through it (H2, H7, H10).

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;

use crate::common::both::{Both, Told};
use crate::common::compare::Peer;
use crate::common::handshake::{client_context, server_context, tls12};
use crate::common::script::{link, Scripted};
use foreign_types::ForeignTypeRef;
use openssl::ssl::{Ssl, SslContext, SslOptions};
use openssl_async_jobs::{AsyncPolicy, SslStream};

mod c {
    use std::os::raw::{c_char, c_int};
    extern "C" {
        pub fn SSL_renegotiate(ssl: *mut openssl_sys::SSL) -> c_int;
        #[cfg(ossl300)]
        pub fn ERR_new();
        #[cfg(ossl300)]
        pub fn ERR_set_error(lib: c_int, reason: c_int, fmt: *const c_char, ...);
        #[cfg(not(ossl300))]
        pub fn ERR_put_error(l: c_int, f: c_int, r: c_int, file: *const c_char, line: c_int);
    }
}

/// Leaves an error in the thread's queue, as C does that fails and is not asked why.
fn leave_an_error() {
    // SAFETY: an error of nobody's.
    #[cfg(ossl300)]
    unsafe {
        c::ERR_new();
        c::ERR_set_error(6, 100, std::ptr::null());
    }
    #[cfg(not(ossl300))]
    // SAFETY: likewise.
    unsafe {
        c::ERR_put_error(6, 0, 100, c"x".as_ptr(), 1)
    };
}

type BeforeWrite = Box<dyn FnMut(&[u8])>;

/// Does something before each write.
struct Does<S>(S, BeforeWrite);

impl<S: Read> Read for Does<S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.read(to)
    }
}

impl<S: Write> Write for Does<S> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        (self.1)(from);
        self.0.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

type Ours = SslStream<Does<Scripted>>;

fn pair(client: &SslContext, server: &SslContext, accepts: bool) -> (Ours, Peer) {
    let mut client = Ssl::new(client).unwrap();
    client.set_connect_state();
    let mut server = Ssl::new(server).unwrap();
    server.set_accept_state();
    let (here, there) = link();
    let (ours, peer) = match accepts {
        true => (server, client),
        false => (client, server),
    };
    let mut ours = SslStream::over(ours, Does(here, Box::new(|_| ())), false).unwrap();
    let mut peer: Peer = Both::over(peer, there, AsyncPolicy::Never);
    for _ in 0..20 {
        let (a, b) = (ours.do_handshake(), peer.handshake());
        if a.is_ok() && b == Told::Done(0) {
            let _ = ours.read(&mut [0; 8]);
            let _ = peer.read(&mut [0; 8]);
            return (ours, peer);
        }
    }
    panic!("no handshake");
}

fn blocks<T>(r: &io::Result<T>) -> bool {
    matches!(r, Err(e) if e.kind() == ErrorKind::WouldBlock)
}

fn read_all<T: Read>(from: &mut T, len: usize) -> Vec<u8> {
    let (mut got, mut n) = (vec![0; len], 0);
    for _ in 0..10_000 {
        if n == len {
            break;
        }
        match from.read(&mut got[n..]) {
            Ok(0) => break,
            Ok(m) => n += m,
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
    }
    got.truncate(n);
    got
}

#[test]
fn what_a_transport_leaves_in_the_queue_of_errors_is_not_taken_for_libssls() {
    let (client, server) = (
        client_context(tls12),
        server_context(|ctx| {
            tls12(ctx);
            // The flight of a whole handshake, after which the client waits.
            ctx.set_options(SslOptions::NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
        }),
    );
    let (mut ours, mut peer) = pair(&client, &server, false);
    // SAFETY: a live SSL.
    assert_eq!(unsafe { c::SSL_renegotiate(peer.ssl().as_ptr()) }, 1);
    let request = peer.do_handshake();
    assert!(blocks(&ours.read(&mut [0; 8])), "{request:?}");
    // The peer's flight is in the same bytes as its plaintext, which is all that is read.
    let hello = peer.write(b"hello");
    let flight = peer.read(&mut [0; 8]);
    assert!(
        matches!(hello, Ok(5)) && blocks(&flight),
        "{hello:?} {flight:?}"
    );
    let mut got = [0; 5];
    assert_eq!(ours.read(&mut got).unwrap(), 5);
    let writes = Rc::new(Cell::new(0));
    let counts = Rc::clone(&writes);
    ours.get_mut().1 = Box::new(move |_| {
        counts.set(counts.get() + 1);
        leave_an_error()
    });
    let told = ours.write(b"question");
    assert!(writes.get() > 0, "nothing was tested");
    assert!(blocks(&told) || told.is_ok(), "{told:?}");
}

#[test]
fn a_transport_that_panics_loses_and_repeats_nothing() {
    for accepts in [true, false] {
        let (mut ours, mut peer) = pair(&client_context(|_| ()), &server_context(|_| ()), accepts);
        let panics = Cell::new(true);
        ours.get_mut().1 = Box::new(move |_| assert!(!panics.replace(false), "once"));
        let told = catch_unwind(AssertUnwindSafe(|| ours.write(b"first")));
        assert!(told.is_err());
        ours.write_all(b"second").unwrap();
        ours.flush().unwrap();
        assert_eq!(read_all(&mut peer, 11), b"firstsecond");
    }
}

#[test]
fn small_fragments_are_sent_together() {
    let (mut ours, mut peer) = pair(&client_context(|_| ()), &server_context(|_| ()), true);
    const SET_MAX_SEND_FRAGMENT: libc::c_int = 52; // openssl/ssl.h
    let ssl = ours.ssl().as_ptr();
    // SAFETY: of a live SSL.
    let set =
        unsafe { openssl_sys::SSL_ctrl(ssl, SET_MAX_SEND_FRAGMENT, 512, std::ptr::null_mut()) };
    assert_eq!(set, 1);
    let calls = Rc::new(Cell::new(0));
    let counts = Rc::clone(&calls);
    ours.get_mut().1 = Box::new(move |_| counts.set(counts.get() + 1));
    let mut data = vec![5; 64 * 1024];
    ours.write_all(&data).unwrap();
    let large = calls.replace(0);
    data.truncate(16 * 1024);
    ours.write_all(&data).unwrap();
    assert_eq!(read_all(&mut peer, 80 * 1024).len(), 80 * 1024);
    assert_eq!((large, calls.get()), (1, 1));
}
