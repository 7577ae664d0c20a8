//! Writes that a full transport holds up, over std's streams.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;

use crate::common::memory::{client_context, server_context};
use crate::common::polled::{set_send_buffer, sockets, would_block};
use openssl::ssl::{self, Ssl};
use openssl_async_jobs::SslStream;

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
