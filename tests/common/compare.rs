//! The same conversation with either stream at one end, and rust-openssl's at the other, which must
//! both be told the same.

use std::fmt::Debug;

use openssl::ssl::{self, Ssl, SslContext};
use openssl_async_jobs::{AsyncPolicy, SslStream};

use super::both::{Both, Told};
use super::script::{link, Scripted};

pub type Peer = ssl::SslStream<Scripted>;
pub type Log = Vec<(&'static str, Told)>;

pub const POLICIES: [AsyncPolicy; 3] = [
    AsyncPolicy::Handshake,
    AsyncPolicy::Always,
    AsyncPolicy::Never,
];

/// A client's and a server's context.
pub struct Contexts {
    pub client: SslContext,
    pub server: SslContext,
}

/// The end under test, its peer, and what each was told.
pub struct Talk<T> {
    pub end: T,
    pub peer: Peer,
    pub log: Log,
    failed: bool,
}

impl<T: Both<Scripted>> Talk<T> {
    pub fn new(contexts: &Contexts, accepts: bool, policy: AsyncPolicy) -> Talk<T> {
        let mut client = Ssl::new(&contexts.client).unwrap();
        client.set_connect_state();
        let mut server = Ssl::new(&contexts.server).unwrap();
        server.set_accept_state();
        let (here, there) = link();
        let (end, peer) = if accepts {
            (server, client)
        } else {
            (client, server)
        };
        Talk {
            end: T::over(end, here, policy),
            peer: Both::over(peer, there, AsyncPolicy::Never),
            log: Log::new(),
            failed: false,
        }
    }

    pub fn note(&mut self, what: &'static str, told: Told) {
        self.log.push((what, told));
    }

    /// An operation of the end under test, up to its first failure: what libssl says after one is
    /// another thing in each of its versions.
    pub fn end(&mut self, what: &'static str, operation: impl FnOnce(&mut T) -> Told) {
        if !self.failed {
            let told = operation(&mut self.end);
            self.failed = told.is_failure();
            self.note(what, told);
        }
    }

    pub fn peer(&mut self, what: &'static str, operation: impl FnOnce(&mut Peer) -> Told) {
        let told = operation(&mut self.peer);
        self.note(what, told);
    }

    /// Handshakes until both ends know, or nothing more comes of it; `between` may tamper.
    pub fn handshake(&mut self, mut between: impl FnMut(usize, &mut T, &mut Peer)) -> bool {
        let blocked = Told::Io(std::io::ErrorKind::WouldBlock);
        let (mut end, mut peer) = (blocked.clone(), blocked);
        for round in 0..10 {
            if peer.would_block() {
                peer = self.peer.handshake();
            }
            between(round, &mut self.end, &mut self.peer);
            if end.would_block() {
                end = self.end.handshake();
            }
        }
        let done = (&end, &peer) == (&Told::Done(0), &Told::Done(0));
        // Here an end is a failure, too.
        self.failed = !matches!(end, Told::Done(_)) && !end.would_block();
        self.note("handshake", end);
        self.note("the peer's handshake", peer);
        done
    }

    /// A message each way, then both close; whatever comes of it.
    pub fn chat(&mut self) {
        let buffer = &mut [0; 100];
        self.end("write", |end| end.writes(b"hello"));
        self.peer("the peer's read", |peer| peer.reads(buffer));
        self.peer("the peer's write", |peer| peer.writes(b"world!"));
        self.end("read", |end| end.reads(buffer));
        self.end("read again", |end| end.reads(buffer));
        self.end("Read::read", |end| end.reads_io(buffer));
        self.end("Write::write", |end| end.writes_io(b"again"));
        self.peer("the peer's second read", |peer| peer.reads(buffer));
        for _ in 0..2 {
            self.end("shutdown", |end| end.closes());
            self.peer("the peer's shutdown", |peer| peer.closes());
        }
        self.end("Read::read at last", |end| end.reads_io(buffer));
        self.end("Write::write at last", |end| end.writes_io(b"late"));
    }
}

/// A conversation, for either stream.
pub trait Conversation {
    type Answer: PartialEq + Debug;
    fn hold<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> Self::Answer;
}

/// Holds it with both streams, at each end and under each policy.
#[track_caller]
pub fn assert_same(what: &str, conversation: &impl Conversation) {
    for accepts in [true, false] {
        let theirs = conversation.hold::<Peer>(accepts, AsyncPolicy::Never);
        for policy in POLICIES {
            let ours = conversation.hold::<SslStream<Scripted>>(accepts, policy);
            assert_eq!(
                ours, theirs,
                "{what}, {policy:?}, accepts: {accepts}: ours left, rust-openssl's right"
            );
        }
    }
}
