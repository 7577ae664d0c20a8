//! What `interest()` and `wait()` of an `SslStream` say after each operation, step by step: nobody
//! who believes them waits for ever, or in vain (H6, H12).

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::common::executor::Gate;
use crate::common::handshake::{client_context, server_context};
use crate::common::polled::{set_send_buffer, sockets, would_block};
use crate::common::records::on_each_record;
use crate::common::thread::{on_a_new_thread, PATIENCE};
use openssl::ssl::{self, Ssl};
use openssl_async_jobs::{suspend, AsyncPolicy, SslStream};

const NOT_AT_ALL: Option<Duration> = Some(Duration::ZERO);

thread_local! {
    /// Where the next record pauses.
    static PAUSE: RefCell<Vec<Gate>> = const { RefCell::new(Vec::new()) };
}

/// Has the record after so many others wait.
fn pause_after(records: usize) -> Gate {
    let (open, gate) = (Gate::new(), Gate::new());
    open.open();
    PAUSE.with_borrow_mut(|gates| {
        gates.push(gate.clone());
        gates.extend(std::iter::repeat_n(open, records));
    });
    gate
}

struct Pair {
    ours: SslStream<UnixStream>,
    peer: ssl::SslStream<UnixStream>,
}

/// A server of ours whose name callback waits at the gate, and a client of rust-openssl's.
fn before_the_handshake(gate: &Gate) -> Pair {
    struct Here(Gate);
    // SAFETY: the callback is called on this thread, where the gate is.
    unsafe impl Send for Here {}
    // SAFETY: likewise.
    unsafe impl Sync for Here {}
    impl Here {
        fn wait(&self) {
            let _ = suspend(self.0.wait());
        }
    }
    let here = Here(gate.clone());
    let server = server_context(move |ctx| {
        ctx.set_servername_callback(move |_, _| {
            here.wait();
            Ok(())
        });
    });
    let (a, b) = sockets();
    let mut client = Ssl::new(&client_context(|_| ())).unwrap();
    client.set_hostname("name.example").unwrap();
    let mut server = Ssl::new(&server).unwrap();
    on_each_record(&mut server, || {
        if let Some(gate) = PAUSE.with_borrow_mut(Vec::pop) {
            let _ = suspend(gate.wait());
        }
    });
    Pair {
        ours: SslStream::new(server, a).unwrap(),
        peer: ssl::SslStream::new(client, b).unwrap(),
    }
}

/// After the handshake, with each operation a job.
fn open() -> Pair {
    let gate = Gate::new();
    gate.open();
    let mut pair = before_the_handshake(&gate);
    let (mut ours, mut peer) = (false, false);
    while !ours || !peer {
        peer |= pair.peer.connect().is_ok();
        ours |= pair.ours.accept().is_ok();
    }
    assert!(would_block(pair.peer.read(&mut [0])));
    assert!(would_block(pair.ours.read(&mut [0])));
    pair.ours.set_policy(AsyncPolicy::Always);
    pair
}

impl Pair {
    #[track_caller]
    fn waits(&self) {
        assert!(!self.ours.wait(NOT_AT_ALL).unwrap(), "nothing to wait for");
    }

    #[track_caller]
    fn is_woken(&self) {
        let woken = self.ours.wait(Some(Duration::from_secs(20))).unwrap();
        assert!(woken, "the wake-up is lost: {:?}", self.ours.interest());
    }

    /// All that the peer can read.
    fn peer_reads(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = self.peer.read(&mut buffer) {
            got.extend_from_slice(&buffer[..len]);
        }
        got
    }
}

#[test]
fn a_paused_handshake_waits_until_its_future_is_ready() {
    on_a_new_thread(|| {
        let gate = Gate::new();
        let mut pair = before_the_handshake(&gate);
        pair.peer.connect().unwrap_err();
        for _ in 0..3 {
            assert!(pair.ours.accept().unwrap_err().is_would_block());
            let interest = pair.ours.interest();
            assert!(!interest.readable && !interest.writable, "{interest:?}");
            assert_eq!(interest.fds.len(), 1);
            pair.waits();
            let a_little = Some(Duration::from_millis(1));
            assert!(!pair.ours.wait(a_little).unwrap());
        }
        gate.open();
        pair.is_woken();
        assert!(pair.ours.accept().unwrap_err().is_would_block());
        // The client's turn.
        assert!(pair.ours.interest().readable);
        assert!(pair.ours.interest().fds.is_empty());
        pair.waits();
        let _ = pair.peer.connect();
        pair.is_woken();
        pair.ours.accept().unwrap();
        pair.peer.connect().unwrap();
    });
}

#[test]
fn a_read_waits_for_data_and_no_longer() {
    on_a_new_thread(|| {
        let mut pair = open();
        assert!(would_block(pair.ours.read(&mut [0])));
        assert!(pair.ours.interest().readable);
        pair.waits();
        pair.peer.write_all(b"a").unwrap();
        pair.is_woken();
        assert_eq!(pair.ours.read(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn operations_of_no_bytes_leave_the_wake_up_of_a_pause() {
    on_a_new_thread(|| {
        type Operation = fn(&mut SslStream<UnixStream>) -> usize;
        let of_no_bytes: [Operation; 3] = [
            |stream| stream.write(&[]).unwrap(),
            |stream| stream.read(&mut []).unwrap(),
            |stream| stream.ssl_peek(&mut []).unwrap(),
        ];
        for operation in of_no_bytes {
            let gate = Gate::new();
            let mut pair = before_the_handshake(&gate);
            pair.peer.connect().unwrap_err();
            assert!(pair.ours.accept().unwrap_err().is_would_block());
            gate.open();
            assert_eq!(operation(&mut pair.ours), 0);
            pair.is_woken();
        }
    });
}

#[test]
fn a_read_of_what_is_kept_leaves_the_wake_up_of_a_write() {
    on_a_new_thread(|| {
        let mut pair = open();
        let gate = pause_after(0);
        pair.peer.write_all(b"ab").unwrap();
        assert!(would_block(pair.ours.read(&mut [0; 2])));
        gate.open();
        // It finishes the read, which nobody asks for here; and pauses itself.
        let gate = pause_after(0);
        assert_eq!(pair.ours.write(b"c").unwrap(), 1);
        assert!(would_block(pair.ours.flush().map(|()| 0)));
        pair.waits();
        gate.open();
        let mut byte = [0];
        assert_eq!(pair.ours.read(&mut byte).unwrap(), 1);
        assert_eq!(&byte, b"a");
        pair.is_woken();
        pair.ours.flush().unwrap();
        assert_eq!(pair.peer_reads(), b"c");
        assert_eq!(pair.ours.read(&mut byte).unwrap(), 1);
        assert_eq!(&byte, b"b");
    });
}

/// `interest()` is documented to be that of the last operation that answered `WouldBlock`.
#[test]
fn a_write_that_is_done_leaves_what_a_read_waits_for() {
    on_a_new_thread(|| {
        for policy in [AsyncPolicy::Handshake, AsyncPolicy::Always] {
            let mut pair = open();
            pair.ours.set_policy(policy);
            assert!(would_block(pair.ours.read(&mut [0])));
            pair.ours.write_all(b"question").unwrap();
            assert!(pair.ours.interest().readable, "{policy:?}");
            pair.waits();
            pair.peer.write_all(b"a").unwrap();
            pair.is_woken();
            assert_eq!(pair.ours.read(&mut [0]).unwrap(), 1);
        }
    });
}

/// A write under `Always` is done when it has its copy; whoever waits next must be woken for it.
#[test]
fn a_write_that_is_taken_and_paused_is_waited_for() {
    on_a_new_thread(|| {
        let mut pair = open();
        let gate = pause_after(0);
        assert_eq!(pair.ours.write(b"question").unwrap(), 8);
        let interest = pair.ours.interest();
        assert_eq!(interest.fds.len(), 1, "{interest:?}");
        pair.waits();
        gate.open();
        pair.is_woken();
        pair.ours.flush().unwrap();
        assert_eq!(pair.peer_reads(), b"question");
    });
}

#[test]
fn what_there_is_to_send_is_sent_while_the_rest_is_paused() {
    on_a_new_thread(|| {
        let mut pair = open();
        // The first record is there, the second one waits.
        let gate = pause_after(1);
        let data = [b'd'; 30_000];
        assert_eq!(pair.ours.write(&data).unwrap(), data.len());
        assert!(would_block(pair.ours.flush().map(|()| 0)));
        // The socket takes that, and then says nothing more.
        pair.waits();
        assert!(!pair.ours.interest().writable);
        let first = pair.peer_reads();
        assert!(!first.is_empty(), "nothing was sent");
        gate.open();
        pair.is_woken();
        pair.ours.flush().unwrap();
        let got = [first, pair.peer_reads()].concat();
        assert!(got == data);
    });
}

#[test]
fn a_full_socket_is_waited_for_until_it_is_read() {
    on_a_new_thread(|| {
        for policy in [AsyncPolicy::Handshake, AsyncPolicy::Always] {
            let mut pair = open();
            pair.ours.set_policy(policy);
            set_send_buffer(pair.ours.get_ref(), 2048);
            let mut sent = 0_usize;
            while let Ok(len) = pair.ours.write(&[b'd'; 5000]) {
                sent += len;
            }
            assert!(pair.ours.interest().writable);
            pair.waits();
            let mut got = pair.peer_reads();
            pair.is_woken();
            while would_block(pair.ours.flush().map(|()| 0)) {
                assert!(pair.ours.interest().writable);
                got.extend(pair.peer_reads());
                pair.is_woken();
            }
            got.extend(pair.peer_reads());
            assert!(!pair.ours.interest().writable);
            assert!(got == vec![b'd'; sent], "{policy:?}");
        }
    });
}

#[test]
fn the_socket_may_become_a_blocking_one_and_back() {
    on_a_new_thread(|| {
        let mut pair = open();
        let gate = pause_after(0);
        pair.peer.write_all(b"ab").unwrap();
        assert!(would_block(pair.ours.read(&mut [0])));
        pair.ours.get_ref().set_nonblocking(false).unwrap();
        gate.open();
        let mut byte = [0];
        pair.ours.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        pair.ours.write_all(b"question").unwrap();
        assert_eq!(pair.peer_reads(), b"question");
        pair.ours.get_ref().set_nonblocking(true).unwrap();
        assert_eq!(pair.ours.read(&mut byte).unwrap(), 1);
        assert_eq!(&byte, b"b");
        let gate = pause_after(0);
        pair.peer.write_all(b"c").unwrap();
        assert!(would_block(pair.ours.read(&mut byte)));
        pair.waits();
        gate.open();
        assert!(pair.ours.wait(PATIENCE).unwrap());
        assert_eq!(pair.ours.read(&mut byte).unwrap(), 1);
        assert_eq!(&byte, b"c");
    });
}
