//! Two connections whose every operation may pause, in random steps: reads, peeks, writes and flushes
//! with ever other buffers, other policies, other keys, ciphertext that arrives in random pieces,
//! completions at random. Both byte streams come out as they went in (H2). A seed makes the same
//! steps again.

use std::collections::VecDeque;
#[cfg(ossl111)]
use std::ffi::c_int;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::Context;

#[cfg(ossl111)]
use foreign_types::ForeignTypeRef;
#[cfg(ossl111)]
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, ShutdownResult, Ssl, SslMode, SslVersion};
use openssl_async_jobs::{AsyncPolicy, Connection, JobPool, Progress, Role};
use testing::pausing::{for_each_way, Pausing};
use testing::random::{Bytes, Random};
use testing::tls::{self, KeyType, VERSIONS};
use testing::woken::Woken;

const SEEDS: u64 = 3;
const STEPS: usize = 4000;

/// A transport that gives and takes a random piece of what it could.
struct Piece<'a> {
    bytes: &'a mut VecDeque<u8>,
    most: usize,
}

impl Read for Piece<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = self.most.min(to.len());
        self.bytes.read(&mut to[..len])
    }
}

impl Write for Piece<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let len = self.most.min(from.len());
        self.bytes.write(&from[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(ossl111)]
extern "C" {
    fn SSL_key_update(ssl: *mut openssl_sys::SSL, update_type: c_int) -> c_int;
}

struct End {
    connection: Connection,
    woken: Arc<Woken>,
    /// Ciphertext on its way to the other.
    wire: VecDeque<u8>,
    /// What it writes, and how much of it is written.
    writes: (Bytes, usize),
    /// What it reads.
    reads: (Bytes, usize),
}

impl End {
    fn new(ssl: Ssl, role: Role, writes: Bytes, reads: Bytes) -> End {
        let mut connection = Connection::new(ssl, role).unwrap();
        connection.set_policy(AsyncPolicy::Always);
        End {
            connection,
            woken: Woken::new(),
            wire: VecDeque::new(),
            writes: (writes, 0),
            reads: (reads, 0),
        }
    }

    fn poll<T>(&mut self, poll: impl FnOnce(&mut Connection, &mut Context<'_>) -> T) -> T {
        self.woken.take();
        let waker = self.woken.waker();
        poll(&mut self.connection, &mut Context::from_waker(&waker))
    }

    fn write(&mut self, len: usize) {
        let (stream, written) = self.writes;
        let bytes = stream.from(written, len);
        if let Progress::Done(len) = self.poll(|it, cx| it.poll_write(cx, &bytes)).unwrap() {
            assert!((1..=bytes.len()).contains(&len));
            self.writes.1 += len;
        }
    }

    fn read(&mut self, len: usize, peek: bool) {
        let mut buffer = vec![0; len];
        let progress = self.poll(|it, cx| match peek {
            true => it.poll_peek(cx, &mut buffer),
            false => it.poll_read(cx, &mut buffer),
        });
        if let Progress::Done(len) = progress.unwrap() {
            assert!((1..=buffer.len()).contains(&len));
            let (stream, place) = self.reads;
            assert!(buffer[..len] == stream.from(place, len), "at {place}");
            assert!(buffer[len..].iter().all(|byte| *byte == 0), "beyond {len}");
            if !peek {
                self.reads.1 += len;
            }
        }
    }

    fn flush(&mut self) {
        if let Progress::Done(()) = self.poll(Connection::poll_flush).unwrap() {
            assert_eq!(self.connection.unsent(), 0);
        }
    }

    /// Another policy, or (TLS 1.3) other keys, which the next write or handshake tells the peer of.
    fn change(&mut self, random: &mut Random) {
        self.connection.set_policy(match random.below(6) {
            0 => AsyncPolicy::Never,
            1 => AsyncPolicy::Handshake,
            _ => AsyncPolicy::Always,
        });
        #[cfg(ossl111)]
        if let Some(ssl) = self.connection.ssl_mut() {
            if ssl.is_init_finished() && ssl.version2() == Some(SslVersion::TLS1_3) {
                // SAFETY: a live SSL, of which nothing is in flight. It fails while another update
                // is on its way, and then that is enough.
                unsafe { SSL_key_update(ssl.as_ptr(), random.below(2) as c_int) };
                drop(ErrorStack::get());
            }
        }
    }

    fn send(&mut self, most: usize) {
        let bytes = &mut self.wire;
        self.connection.send_to(&mut Piece { bytes, most }).unwrap();
    }

    fn receive_from(&mut self, other: &mut End, most: usize) {
        let bytes = &mut other.wire;
        if !bytes.is_empty() {
            let mut piece = Piece { bytes, most };
            self.connection.receive_from(&mut piece).unwrap();
        }
    }
}

/// Says how to see it again.
struct OnFailure(u64, SslVersion);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {} and {:?}", self.0, self.1);
        }
    }
}

fn step(random: &mut Random, pausing: Pausing, it: &mut End, other: &mut End) {
    match random.below(11) {
        0 | 1 => it.read(random.length(40_000), false),
        2 => it.read(random.length(40_000), true),
        3 | 4 => it.write(random.length(80_000)),
        5 => it.flush(),
        6 => it.send(random.length(100_000)),
        7 => it.receive_from(other, random.length(100_000)),
        8 => it.change(random),
        _ => complete(pausing, it, other),
    }
}

fn complete(pausing: Pausing, it: &mut End, other: &mut End) {
    pausing.complete(&mut [
        (&mut it.connection, &it.woken),
        (&mut other.connection, &other.woken),
    ]);
}

/// Whether its handshake is done. Not known while an operation is in flight.
fn is_open(end: &End) -> bool {
    let ssl = end.connection.try_ssl();
    ssl.is_some_and(|ssl| ssl.is_init_finished())
}

/// Until everything has arrived.
fn settle(pausing: Pausing, ends: &mut [End; 2]) {
    let [a, b] = ends;
    let mut rounds = 0;
    while a.reads.1 < b.writes.1 || b.reads.1 < a.writes.1 || !is_open(a) || !is_open(b) {
        for _ in 0..2 {
            a.flush();
            a.send(usize::MAX);
            b.receive_from(a, usize::MAX);
            b.read(50_000, false);
            std::mem::swap(a, b);
        }
        complete(pausing, a, b);
        rounds += 1;
        assert!(rounds < 100_000, "stuck");
    }
}

/// Both close, are told, and read the end.
fn close(pausing: Pausing, ends: &mut [End; 2]) {
    let [a, b] = ends;
    let (mut closed, mut rounds) = ([false; 2], 0);
    while closed != [true; 2] {
        if !closed[0] {
            let result = a.poll(Connection::poll_shutdown).unwrap();
            closed[0] = result == Progress::Done(ShutdownResult::Received);
        }
        a.send(usize::MAX);
        b.receive_from(a, usize::MAX);
        complete(pausing, a, b);
        std::mem::swap(a, b);
        closed.swap(0, 1);
        rounds += 1;
        assert!(rounds < 100_000, "stuck");
    }
    for _ in 0..2 {
        let end = loop {
            match a.poll(|it, cx| it.poll_read(cx, &mut [0])) {
                Ok(Progress::Pending) => complete(pausing, a, b),
                other => break other.unwrap_err(),
            }
        };
        assert_eq!(end.code(), ErrorCode::ZERO_RETURN);
        std::mem::swap(a, b);
    }
}

#[test]
fn both_streams_come_out_as_they_went_in() {
    for_each_way(|pausing| {
        let identity = tls::certificate(KeyType::Ecdsa, &["server.test"]);
        for (seed, version) in (0..SEEDS).flat_map(|seed| VERSIONS.iter().map(move |v| (seed, *v)))
        {
            let _on_failure = OnFailure(seed, version);
            let mut server = tls::server_context(version, &[&identity]);
            // A record a call, as with the contexts of rust-openssl's acceptor.
            server.set_mode(SslMode::ENABLE_PARTIAL_WRITE);
            let server = server.build();
            let client = tls::client_context(version, &[&identity.certificate]).build();
            let (there, back) = (Bytes(2 * seed), Bytes(2 * seed + 1));
            let end = |context, role, writes, reads| {
                let mut ssl = Ssl::new(context).unwrap();
                pausing.prepare(&mut ssl);
                End::new(ssl, role, writes, reads)
            };
            let mut ends = [
                end(&client, Role::Client, there, back),
                end(&server, Role::Server, back, there),
            ];
            pausing.hold(true);
            let mut random = Random::new(seed);
            let before = JobPool::stats();
            for _ in 0..STEPS {
                let [a, b] = &mut ends;
                match random.below(2) {
                    0 => step(&mut random, pausing, a, b),
                    _ => step(&mut random, pausing, b, a),
                }
            }
            settle(pausing, &mut ends);
            let after = JobPool::stats();
            println!(
                "{pausing:?} {seed} {version:?}: {} and {} bytes, {} pauses in {} jobs",
                ends[0].reads.1,
                ends[1].reads.1,
                after.paused - before.paused,
                after.started - before.started
            );
            close(pausing, &mut ends);
            drop(ends);
            assert_eq!(JobPool::stats().in_flight, 0);
        }
    });
}
