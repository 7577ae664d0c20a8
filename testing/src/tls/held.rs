//! A connection whose operations stay paused until the test has them complete.

use std::sync::Arc;
use std::task::{Context, Poll};

use openssl::ssl::{self, Ssl, SslMode, SslVersion};
use openssl_async_jobs::{AsyncPolicy, Connection, Progress, Role};

use super::memory::{carry, Pair};
use super::{certificate, client_context, server_context, KeyType};
use crate::pausing::Pausing;
use crate::woken::Woken;

/// A connection that pauses, its peer, which does not, and nothing in between but memory.
pub struct Held {
    /// Whose operations all run as jobs.
    pub subject: Connection,
    /// Whose operations never do.
    pub peer: Connection,
    /// What the subject is polled with.
    pub woken: Arc<Woken>,
    pausing: Pausing,
}

impl Held {
    /// Before the handshake, with everything held.
    pub fn new(pausing: Pausing, version: SslVersion, role: Role) -> Held {
        let identity = certificate(KeyType::Ecdsa, &["server.test"]);
        let client = client_context(version, &[&identity.certificate]).build();
        // One end takes a record a call, as the contexts of rust-openssl's acceptor and connector do.
        let mut server = server_context(version, &[&identity]);
        server.set_mode(SslMode::ENABLE_PARTIAL_WRITE);
        let server = server.build();
        let mut client = Ssl::new(&client).expect("an SSL");
        let mut server = Ssl::new(&server).expect("an SSL");
        pausing.prepare(match role {
            Role::Client => &mut client,
            Role::Server => &mut server,
        });
        Held::of(pausing, client, server, role)
    }

    /// Of these; the subject is prepared to pause.
    pub fn of(pausing: Pausing, client: Ssl, server: Ssl, role: Role) -> Held {
        let Pair { client, server } = Pair::of(client, server);
        let (mut subject, mut peer) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        subject.set_policy(AsyncPolicy::Always);
        peer.set_policy(AsyncPolicy::Never);
        pausing.hold(true);
        Held {
            subject,
            peer,
            woken: Woken::new(),
            pausing,
        }
    }

    /// After the handshake.
    pub fn connected(pausing: Pausing, version: SslVersion, role: Role) -> Held {
        let mut held = Held::new(pausing, version, role);
        held.finish(Connection::poll_handshake).expect("done");
        held.exchange();
        assert!(held.peer.ssl().is_init_finished());
        held
    }

    /// Polls an operation of the subject.
    pub fn poll<T>(
        &mut self,
        operation: impl FnOnce(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<Progress<T>, ssl::Error> {
        self.woken.take();
        let waker = self.woken.waker();
        operation(&mut self.subject, &mut Context::from_waker(&waker))
    }

    /// Has what is paused complete. It is not gone on with.
    pub fn complete(&mut self) {
        let subject = (&mut self.subject, &self.woken);
        self.pausing.complete(&mut [subject]);
    }

    /// From now on everything completes.
    pub fn release(&self) {
        self.pausing.hold(false);
    }

    /// Polls an operation until it pauses, if it does.
    pub fn until_paused<T>(
        &mut self,
        mut operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<Poll<T>, ssl::Error> {
        loop {
            match self.poll(&mut operation)? {
                Progress::Done(value) => return Ok(Poll::Ready(value)),
                Progress::Pending => return Ok(Poll::Pending),
                Progress::WantsCiphertext | Progress::HasCiphertext => {
                    assert!(self.exchange() > 0, "stuck");
                }
            }
        }
    }

    /// Polls an operation until it is done, pause after pause.
    pub fn finish<T>(
        &mut self,
        mut operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<T, ssl::Error> {
        loop {
            match self.until_paused(&mut operation)? {
                Poll::Ready(value) => return Ok(value),
                Poll::Pending => self.complete(),
            }
        }
    }

    /// Polls an operation, pause after pause, until it is done, or stuck for want of ciphertext.
    pub fn finish_or_wants<T>(
        &mut self,
        mut operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Progress<T> {
        loop {
            match self.poll(&mut operation).expect("no error") {
                Progress::Pending => self.complete(),
                Progress::Done(value) => return Progress::Done(value),
                wants if self.exchange() == 0 => return wants,
                _ => {}
            }
        }
    }

    /// Moves all ciphertext there is, both ways, and has the peer go on with its handshake: how
    /// much that was.
    pub fn exchange(&mut self) -> usize {
        let mut moved = carry(&mut self.subject, &mut self.peer);
        if !self.peer.ssl().is_init_finished() {
            let progress = of_peer(|cx| self.peer.poll_handshake(cx));
            assert!(progress != Progress::Pending, "the peer does not pause");
        }
        moved += carry(&mut self.peer, &mut self.subject);
        moved
    }

    /// The peer writes this, and it is there to be read.
    pub fn peer_writes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match of_peer(|cx| self.peer.poll_write(cx, bytes)) {
                Progress::Done(len) => bytes = &bytes[len..],
                Progress::HasCiphertext => {}
                other => panic!("{other:?}"),
            }
            carry(&mut self.peer, &mut self.subject);
        }
    }

    /// What the subject has sent so far, as the peer reads it.
    pub fn peer_reads(&mut self) -> Vec<u8> {
        carry(&mut self.subject, &mut self.peer);
        let (mut got, mut buffer) = (Vec::new(), vec![0; 10_000]);
        loop {
            match of_peer(|cx| self.peer.poll_read(cx, &mut buffer)) {
                Progress::Done(len) => got.extend_from_slice(&buffer[..len]),
                Progress::WantsCiphertext => return got,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Reads so many bytes, at most `at_once` at a time, through every pause.
    pub fn reads(&mut self, len: usize, at_once: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < len {
            let mut buffer = vec![0; at_once.min(len - got.len())];
            let read = self.finish(|subject, cx| subject.poll_read(cx, &mut buffer));
            let read = read.expect("bytes");
            assert!(read > 0, "SSL_read never answers 0 bytes");
            got.extend_from_slice(&buffer[..read]);
        }
        got
    }
}

pub(super) fn of_peer<T>(
    operation: impl FnOnce(&mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
) -> Progress<T> {
    let woken = Woken::new();
    let progress = operation(&mut Context::from_waker(&woken.waker()));
    progress.expect("the peer has no part in the test")
}
