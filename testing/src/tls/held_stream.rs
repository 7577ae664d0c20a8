//! A stream on a non-blocking socket whose operations stay paused until the test has them complete.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use openssl::ssl::{ErrorCode, Ssl, SslStream as Ordinary, SslVersion};
use openssl_async_jobs::{AsyncPolicy, Error, SslStream};

use super::{certificate, client_context, pair, server_context, KeyType};
use crate::pausing::Pausing;
use crate::random::Bytes;

const PATIENCE: Duration = Duration::from_secs(60);
/// What the peer writes.
pub const QUESTION: Bytes = Bytes(6);
/// What the subject writes.
pub const ANSWER: Bytes = Bytes(7);
/// How much of it: a record, and less than what a socket takes at once.
pub const LEN: usize = 10_000;

/// A server's stream, its peer, and what pauses.
pub struct HeldStream {
    /// The way to pause.
    pub pausing: Pausing,
    /// Whose operations all run as jobs.
    pub subject: SslStream<UnixStream>,
    /// rust-openssl's stream.
    pub peer: Ordinary<UnixStream>,
}

impl HeldStream {
    /// After the handshake, which did not pause; now everything does.
    pub fn connected(pausing: Pausing, version: SslVersion) -> HeldStream {
        let identity = certificate(KeyType::Ecdsa, &["server.test"]);
        let server = server_context(version, &[&identity]).build();
        let client = client_context(version, &[&identity.certificate]).build();
        let mut ssl = Ssl::new(&server).unwrap();
        ssl.set_accept_state();
        pausing.prepare(&mut ssl);
        let (near, far) = pair();
        let mut subject = SslStream::new(ssl, near).unwrap();
        subject.set_policy(AsyncPolicy::Never);
        let mut peer = Ordinary::new(Ssl::new(&client).unwrap(), far).unwrap();
        let (mut here, mut there) = (false, false);
        while !here || !there {
            there |= peer.connect().is_ok();
            here |= subject.do_handshake().is_ok();
        }
        subject.set_policy(AsyncPolicy::Always);
        pausing.hold(true);
        HeldStream {
            pausing,
            subject,
            peer,
        }
    }

    /// What is paused completes, and the stream says so to who waits.
    pub fn complete(&mut self) {
        self.pausing.hold(false);
        assert!(self.subject.wait(Some(PATIENCE)).unwrap(), "stuck");
        self.pausing.hold(true);
    }

    /// Calls an operation until it does not block, through all pauses.
    pub fn finish<T>(
        &mut self,
        mut operation: impl FnMut(&mut SslStream<UnixStream>) -> Result<T, Error>,
    ) -> T {
        loop {
            match operation(&mut self.subject) {
                Ok(value) => return value,
                Err(e) => assert_would_block(e),
            }
            self.complete();
        }
    }

    /// Reads so many bytes, through every pause.
    pub fn reads(&mut self, len: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < len {
            let mut buffer = vec![0; 300];
            let read = self.finish(|stream| Ok(stream.read(&mut buffer)?));
            got.extend_from_slice(&buffer[..read]);
        }
        got
    }

    /// What the peer wrote comes out.
    pub fn assert_question_is_read_once(&mut self) {
        assert!(self.reads(LEN) == QUESTION.from(0, LEN));
    }

    /// What was written arrives, and nothing else.
    pub fn assert_answer_is_written_once(&mut self) {
        self.finish(|stream| Ok(stream.flush()?));
        let mut got = vec![0; LEN + 1];
        let mut read = 0;
        loop {
            match self.peer.ssl_read(&mut got[read..]) {
                Ok(len) => read += len,
                // Tickets, or the end of what is there.
                Err(e) if e.code() == ErrorCode::WANT_READ => break,
                Err(e) => panic!("{e}"),
            }
        }
        assert!(got[..read] == ANSWER.from(0, LEN), "{read} bytes");
    }

    /// There is a question to read, and the read has paused.
    pub fn pause_a_read(&mut self) {
        self.peer.write_all(&QUESTION.from(0, LEN)).unwrap();
        let mut buffer = vec![0xaa; 1000];
        let e = self.subject.read(&mut buffer).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        assert!(buffer.iter().all(|byte| *byte == 0xaa));
        self.assert_is_held();
    }

    /// A write has paused that its caller was told is done.
    pub fn pause_a_write(&mut self) {
        let mut bytes = ANSWER.from(0, LEN);
        assert_eq!(self.subject.write(&bytes).unwrap(), LEN);
        bytes.fill(0xaa);
        let e = self.subject.flush().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        self.assert_is_held();
    }

    /// It waits for its job and for nothing else: a poller does not spin.
    pub fn assert_is_held(&mut self) {
        let interest = self.subject.interest();
        assert!(!interest.readable && !interest.writable, "{interest:?}");
        assert!(!interest.fds.is_empty());
        assert!(self.subject.ssl_mut().is_none());
        // One that waits for its turn goes on, up to the next pause.
        while self.subject.wait(Some(Duration::ZERO)).unwrap() {
            assert_would_block(Error::from(self.subject.flush().unwrap_err()));
        }
    }
}

#[track_caller]
fn assert_would_block(e: Error) {
    assert!(e.is_would_block(), "{e}");
}
