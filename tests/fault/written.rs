//! What was told to be written, and libssl cannot encrypt for want of memory: both ends of the stream are
//! told, and nobody of an end that is none.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;

use openssl::ssl::Ssl;
use openssl_async_jobs::{AsyncPolicy, SslStream};

use crate::common::both::Both;
use crate::common::child::in_a_process_of_its_own;
use crate::common::compare::Peer;
use crate::common::failing_malloc::{install, with_failures};
use crate::common::handshake::{client_context, server_context};
use crate::common::script::{link, Act, Call, Scripted};

/// A client whose transport is full if it is told to be.
fn opened() -> (SslStream<Scripted>, Peer, Rc<Cell<bool>>) {
    let mut client = Ssl::new(&client_context(|_| {})).unwrap();
    client.set_connect_state();
    let server = server_context(|_ctx| {
        #[cfg(ossl111)]
        _ctx.set_num_tickets(0).unwrap();
    });
    let mut server = Ssl::new(&server).unwrap();
    server.set_accept_state();
    let is_full = Rc::new(Cell::new(false));
    let (here, there) = link();
    let is = Rc::clone(&is_full);
    let here = here.with(move |call| match call {
        Call::Write if is.get() => Act::Fail(ErrorKind::WouldBlock),
        _ => Act::All,
    });
    let mut ours: SslStream<Scripted> = Both::over(client, here, AsyncPolicy::Handshake);
    let mut peer: Peer = Both::over(server, there, AsyncPolicy::Never);
    for _ in 0..10 {
        let _ = Both::handshake(&mut ours);
        let _ = Both::handshake(&mut peer);
    }
    (ours, peer, is_full)
}

#[test]
fn a_held_write_that_fails_is_told_to_the_reader_and_the_writer() {
    let test = "written::a_held_write_that_fails_is_told_to_the_reader_and_the_writer";
    in_a_process_of_its_own(test, || {
        install();
        // A reader that libssl has told to wait, and one that it has not.
        for peeks in [false, true] {
            let (mut ours, _peer, is_full) = opened();
            let waits = ours.read(&mut [0]).unwrap_err();
            assert_eq!(waits.kind(), ErrorKind::WouldBlock);
            is_full.set(true);
            assert_eq!(ours.write(b"first ").unwrap(), 6);
            if peeks {
                ours.ssl_peek(&mut [0]).unwrap_err();
            }
            assert_eq!(ours.write(b"second").unwrap(), 6);
            is_full.set(false);
            let (read, failed) = with_failures(0, 1, || ours.read(&mut [0]));
            assert!(failed, "nothing was allocated");
            let told = read.expect_err("it is no end");
            assert_ne!(told.kind(), ErrorKind::WouldBlock, "peeks: {peeks}");
            ours.flush().expect_err("it was not written");
        }
    });
}

/// A reader that waits writes what was coalesced before.
#[cfg(feature = "tokio")]
fn no_flush_is_told_of_what_is_lost(policy: AsyncPolicy) {
    use openssl_async_jobs::tokio::LocalSslStream;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

    use crate::common::executor::quiet_waker;

    fn read(stream: &mut LocalSslStream<DuplexStream>) -> Option<Result<Vec<u8>, String>> {
        let mut bytes = [0; 10];
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(&mut Context::from_waker(&quiet_waker()), &mut buf) {
            Poll::Pending => None,
            Poll::Ready(read) => Some(match read {
                Ok(()) => Ok(buf.filled().to_vec()),
                Err(e) => Err(e.to_string()),
            }),
        }
    }

    install();
    let (client, server) = (
        client_context(|_| {}),
        server_context(|_ctx| {
            #[cfg(ossl111)]
            _ctx.set_num_tickets(0).unwrap();
        }),
    );
    let waker = quiet_waker();
    let mut cx = Context::from_waker(&waker);
    for failures in [1, 3, i64::MAX] {
        for n in 0.. {
            let (here, there) = tokio::io::duplex(1 << 20);
            let mut ours = LocalSslStream::new(Ssl::new(&client).unwrap(), here).unwrap();
            let mut peer = LocalSslStream::new(Ssl::new(&server).unwrap(), there).unwrap();
            let (mut connected, mut accepted) = (false, false);
            while !connected || !accepted {
                connected = connected || Pin::new(&mut ours).poll_connect(&mut cx).is_ready();
                accepted = accepted || Pin::new(&mut peer).poll_accept(&mut cx).is_ready();
            }
            ours.set_policy(policy);
            ours.set_write_coalescing(true);
            let written = Pin::new(&mut ours).poll_write(&mut cx, b"kept");
            assert!(matches!(written, Poll::Ready(Ok(4))));
            let (told, failed) = with_failures(n, failures, || read(&mut ours));
            let flushed = Pin::new(&mut ours).poll_flush(&mut cx);
            if !failed {
                break;
            }
            let has_come = read(&mut peer) == Some(Ok(b"kept".to_vec()));
            let is_flushed = matches!(flushed, Poll::Ready(Ok(())));
            assert!(has_come || !is_flushed, "{n}, {failures}: {flushed:?}");
            assert_ne!(told, Some(Ok(Vec::new())), "{n}, {failures}: it is no end");
        }
    }
}

#[cfg(feature = "tokio")]
#[test]
fn a_flush_says_so_if_a_reader_could_not_write_inline() {
    let test = "written::a_flush_says_so_if_a_reader_could_not_write_inline";
    in_a_process_of_its_own(test, || {
        no_flush_is_told_of_what_is_lost(AsyncPolicy::Handshake)
    });
}

#[cfg(feature = "tokio")]
#[test]
fn a_flush_says_so_if_a_reader_could_not_write_in_a_job() {
    let test = "written::a_flush_says_so_if_a_reader_could_not_write_in_a_job";
    in_a_process_of_its_own(test, || {
        no_flush_is_told_of_what_is_lost(AsyncPolicy::Always)
    });
}
