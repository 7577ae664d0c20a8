//! Writes that a full transport holds up, over std's streams.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::thread;

use crate::common::duo::{Duo, Way};
use crate::common::memory::{client_context, server_context};
use crate::common::polled::{set_send_buffer, sockets, would_block};
use crate::common::script::{Act, Call, Numbers};
use openssl::ssl::{self, Ssl};
use openssl_async_jobs::{AsyncPolicy, SslStream};

/// A client, and a server of rust-openssl's, which blocks.
fn opened() -> (SslStream<UnixStream>, ssl::SslStream<UnixStream>) {
    let (here, there) = sockets();
    set_send_buffer(&here, 4096);
    here.set_nonblocking(false).unwrap();
    there.set_nonblocking(false).unwrap();
    let accepting = thread::spawn(move || {
        let ctx = server_context(|_ctx| {
            #[cfg(ossl111)]
            _ctx.set_num_tickets(0).unwrap();
        });
        Ssl::new(&ctx).unwrap().accept(there).unwrap()
    });
    let ssl = Ssl::new(&client_context(|_| {})).unwrap();
    let mut stream = SslStream::new(ssl, here).unwrap();
    stream.connect().unwrap();
    (stream, accepting.join().unwrap())
}

/// Writes more than the socket takes.
fn hold(stream: &mut SslStream<UnixStream>) -> usize {
    stream.get_ref().set_nonblocking(true).unwrap();
    let mut written = 0;
    loop {
        match stream.write(&[7; 1000]) {
            Ok(len) => written += len,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                return written;
            }
        }
    }
}

#[test]
fn what_was_held_up_is_sent_before_a_read_or_peek_that_blocks() {
    type Reads = fn(&mut SslStream<UnixStream>, &mut [u8]) -> usize;
    let reads: [Reads; 2] = [
        |stream, to| stream.read(to).unwrap(),
        |stream, to| stream.ssl_peek(to).unwrap(),
    ];
    for read in reads {
        let (mut stream, mut peer) = opened();
        let written = hold(&mut stream);
        stream.get_ref().set_nonblocking(false).unwrap();
        let answering = thread::spawn(move || {
            peer.read_exact(&mut vec![0; written]).unwrap();
            peer.write_all(b"answer").unwrap();
            peer
        });
        let mut answer = [0; 6];
        assert_eq!(read(&mut stream, &mut answer), 6);
        assert_eq!(&answer, b"answer");
        answering.join().unwrap();
    }
}

#[test]
fn what_was_held_up_is_waited_for_until_it_is_sent() {
    let (mut stream, mut peer) = opened();
    let written = hold(&mut stream);
    // The end of the other direction changes nothing.
    let reading = thread::spawn(move || {
        peer.shutdown().unwrap();
        let (mut all, mut buffer) = (0, [0; 4096]);
        // Until its end, which OpenSSL 3 and later calls an error.
        while let Ok(len @ 1..) = peer.read(&mut buffer) {
            all += len;
        }
        all
    });
    stream.wait(None).unwrap();
    while would_block(stream.read(&mut [0]).map(|_| 0)) {
        stream.wait(None).unwrap();
    }
    while stream.interest().writable {
        stream.wait(None).unwrap();
        let _ = stream.flush();
    }
    // So its end says what has come, and nothing was left behind.
    drop(stream);
    assert_eq!(reading.join().unwrap(), written);
}

/// Over a transport in memory, and with a server that is polled.
fn duo() -> Duo {
    let server = server_context(|_ctx| {
        #[cfg(ossl111)]
        _ctx.set_num_tickets(0).unwrap();
    });
    let way = Way {
        policy: AsyncPolicy::Handshake,
        accepts: true,
    };
    let mut duo = way.duo(&client_context(|_| {}), &server);
    duo.handshake();
    duo
}

#[test]
fn a_flush_that_is_held_up_is_waited_for() {
    let mut duo = duo();
    duo.ours.get_mut().set_script(|call| match call {
        Call::Flush => Act::Fail(ErrorKind::WouldBlock),
        _ => Act::All,
    });
    assert_eq!(duo.ours.write(b"hello").unwrap(), 5);
    assert!(would_block(duo.ours.flush().map(|()| 0)));
    assert!(duo.ours.interest().writable);
    duo.ours.get_mut().set_script(|_| Act::All);
    duo.ours.flush().unwrap();
    assert!(!duo.ours.interest().writable);
}

/// With whatever order of writes, reads and peeks before.
#[test]
fn what_is_called_as_long_as_there_is_interest_sends_all() {
    for seed in 0..300 {
        let mut duo = duo();
        let mut numbers = Numbers::new(seed);
        let mut acts = Numbers::new(seed ^ 1);
        duo.ours.get_mut().set_script(move |_| match acts.below(3) {
            0 => Act::Fail(ErrorKind::WouldBlock),
            1 => Act::AtMost(1 + acts.below(3000)),
            _ => Act::AtMost(1 + acts.below(40_000)),
        });
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for _ in 0..30 {
            match numbers.below(6) {
                0..=3 => {
                    let most = [10, 1000, 16_384, 16_385, 70_000][numbers.below(5)];
                    let len = 1 + numbers.below(most);
                    let bytes = numbers.bytes(len);
                    if let Ok(len) = duo.ours.write(&bytes) {
                        sent.extend_from_slice(&bytes[..len]);
                    }
                }
                4 => drop(duo.ours.read(&mut [0])),
                _ => drop(duo.ours.ssl_peek(&mut [0])),
            }
        }
        while duo.ours.interest().writable {
            match seed % 3 {
                0 => drop(duo.ours.flush()),
                1 => drop(duo.ours.read(&mut [0])),
                _ => drop(duo.ours.write(&[])),
            }
            let mut buffer = [0; 20_000];
            while let Ok(len @ 1..) = duo.peer.read(&mut buffer) {
                got.extend_from_slice(&buffer[..len]);
            }
        }
        let mut buffer = [0; 20_000];
        while let Ok(len @ 1..) = duo.peer.read(&mut buffer) {
            got.extend_from_slice(&buffer[..len]);
        }
        assert!(got == sent, "seed {seed}: {} of {}", got.len(), sent.len());
    }
}

/// Each call may take as long as the socket's time-out.
#[test]
fn a_write_asks_a_blocking_transport_that_is_stuck_no_more_than_twice() {
    let (here, there) = crate::common::script::link();
    let calls = Rc::new(RefCell::new(Vec::new()));
    let ssl = Ssl::new(&client_context(|_| {})).unwrap();
    let mut stream = SslStream::over(ssl, here, true).unwrap();
    let mut ssl = Ssl::new(&server_context(|_| {})).unwrap();
    ssl.set_accept_state();
    let mut peer = ssl::SslStream::new(ssl, there).unwrap();
    for _ in 0..5 {
        let _ = stream.connect();
        let _ = peer.do_handshake();
    }
    let log = Rc::clone(&calls);
    stream.get_mut().set_script(move |call| {
        log.borrow_mut().push(call);
        match call {
            Call::Write => Act::Fail(ErrorKind::WouldBlock),
            _ => Act::All,
        }
    });
    for len in [10, 10, 20_000] {
        calls.borrow_mut().clear();
        assert!(stream.write(&vec![0; len]).is_ok());
        let calls = calls.borrow();
        let writes = calls.iter().filter(|call| **call == Call::Write);
        assert!(writes.count() <= 2, "{len}: {calls:?}");
    }
}
