//! A long conversation of two streams, each on a thread of its own: which bytes arrive, and how
//! often an end's jobs pause.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use openssl::ssl::{self, ShutdownResult, Ssl};
use openssl_async_jobs::{AsyncPolicy, Error, JobPool, JobStats, SslStream};

use crate::random::Random;

/// Bytes each way, for many transfers, and for one that is long.
pub const SHORT: usize = 4 << 20;
/// See [`SHORT`].
pub const LONG: usize = 16 << 20;
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

/// How an end runs its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// rust-openssl's stream.
    Ordinary,
    /// Ours, on a socket that blocks.
    Blocking(AsyncPolicy),
    /// Ours, on one that does not.
    NonBlocking(AsyncPolicy),
}

/// An end's jobs.
#[derive(Clone, Copy, Debug)]
pub struct Jobs {
    /// When its handshake was done.
    pub in_handshake: JobStats,
    /// At the end.
    pub in_all: JobStats,
}

/// A handshake, so many random bytes from the client and as many back, and shutdown. The client's jobs
/// and the server's.
pub fn transfer(len: usize, client: (Ssl, Kind), server: (Ssl, Kind)) -> (Jobs, Jobs) {
    let (near, far) = UnixStream::pair().expect("a socket pair");
    let (mut there, mut back) = (vec![0; len], vec![0; len]);
    openssl::rand::rand_bytes(&mut there).expect("random");
    openssl::rand::rand_bytes(&mut back).expect("random");
    let (mut client, mut server) = (client, server);
    client.0.set_connect_state();
    server.0.set_accept_state();
    thread::scope(|scope| {
        let (question, answer) = (&there, &back);
        let client = scope.spawn(move || {
            run(client, near, |stream| {
                write(stream, question);
                assert_is_read(stream, answer);
            })
        });
        let server = scope.spawn(move || {
            run(server, far, |stream| {
                assert_is_read(stream, question);
                write(stream, answer);
            })
        });
        let [client, server] = [client.join(), server.join()]
            .map(|end| end.unwrap_or_else(|payload| resume_unwind(payload)));
        (client, server)
    })
}

fn run((ssl, kind): (Ssl, Kind), socket: UnixStream, talk: impl FnOnce(&mut dyn Stream)) -> Jobs {
    // One that hangs fails.
    socket.set_read_timeout(PATIENCE).expect("set");
    let mut ordinary;
    let mut ours;
    let stream: &mut dyn Stream = match kind {
        Kind::Ordinary => {
            ordinary = ssl::SslStream::new(ssl, socket).expect("a stream");
            &mut ordinary
        }
        Kind::Blocking(policy) | Kind::NonBlocking(policy) => {
            let blocks = matches!(kind, Kind::Blocking(_));
            socket.set_nonblocking(!blocks).expect("set");
            ours = SslStream::new(ssl, socket).expect("a stream");
            ours.set_policy(policy);
            &mut ours
        }
    };
    stream.handshake();
    let in_handshake = JobPool::stats();
    talk(stream);
    stream.close();
    let in_all = JobPool::stats();
    assert_eq!((in_all.in_flight, in_all.waiting), (0, 0));
    Jobs {
        in_handshake,
        in_all,
    }
}

/// In pieces of any length. A piece that is refused is tried again longer or shorter.
fn write(stream: &mut dyn Stream, mut bytes: &[u8]) {
    let mut random = Random::new(bytes.len() as u64);
    while !bytes.is_empty() {
        let piece = random.length(200_000).min(bytes.len());
        if let Some(len) = stream.try_write(&bytes[..piece]) {
            bytes = &bytes[len..];
        }
    }
    stream.flush_all();
}

fn assert_is_read(stream: &mut dyn Stream, expected: &[u8]) {
    let mut left = expected;
    let mut random = Random::new(7);
    while !left.is_empty() {
        // Each time another buffer.
        let mut buffer = vec![0; random.length(100_000)];
        if let Some(len) = stream.try_read(&mut buffer) {
            assert!(len > 0, "the end before the last {} bytes", left.len());
            assert!(len <= left.len(), "more bytes arrive");
            let (next, others) = left.split_at(len);
            assert!(buffer[..len] == *next, "other bytes arrive");
            left = others;
        }
    }
}

/// What both streams can. Those that try answer `None` where it has to be tried again.
trait Stream {
    fn handshake(&mut self);
    fn try_read(&mut self, to: &mut [u8]) -> Option<usize>;
    fn try_write(&mut self, from: &[u8]) -> Option<usize>;
    fn flush_all(&mut self);
    fn close(&mut self);
}

impl Stream for ssl::SslStream<UnixStream> {
    fn handshake(&mut self) {
        self.do_handshake().expect("a handshake");
    }

    fn try_read(&mut self, to: &mut [u8]) -> Option<usize> {
        Some(self.read(to).expect("bytes"))
    }

    fn try_write(&mut self, from: &[u8]) -> Option<usize> {
        Some(self.write(from).expect("written"))
    }

    fn flush_all(&mut self) {}

    fn close(&mut self) {
        while self.shutdown().expect("closed") != ShutdownResult::Received {}
    }
}

impl Stream for SslStream<UnixStream> {
    fn handshake(&mut self) {
        while or_wait(self, SslStream::do_handshake).is_none() {}
    }

    fn try_read(&mut self, to: &mut [u8]) -> Option<usize> {
        or_wait(self, |stream| Ok(stream.read(to)?))
    }

    fn try_write(&mut self, from: &[u8]) -> Option<usize> {
        or_wait(self, |stream| Ok(stream.write(from)?))
    }

    fn flush_all(&mut self) {
        while or_wait(self, |stream| Ok(stream.flush()?)).is_none() {}
    }

    fn close(&mut self) {
        while or_wait(self, SslStream::shutdown) != Some(ShutdownResult::Received) {}
        self.flush_all();
    }
}

/// Waits for what the stream says it waits for, if it would block.
fn or_wait<T>(
    stream: &mut SslStream<UnixStream>,
    operation: impl FnOnce(&mut SslStream<UnixStream>) -> Result<T, Error>,
) -> Option<T> {
    match operation(stream) {
        Ok(value) => Some(value),
        Err(e) if e.is_would_block() => {
            let blocks = stream.interest();
            assert!(blocks.readable || blocks.writable || !blocks.fds.is_empty());
            assert!(stream.wait(PATIENCE).expect("poll"), "stuck: {blocks:?}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}
