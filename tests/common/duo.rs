//! A stream of ours and one of rust-openssl's over memory, for what TLS can do.

use std::io::{ErrorKind, Read, Write};

use openssl::ssl::{Ssl, SslContext, SslVersion};
use openssl_async_jobs::{AsyncPolicy, SslStream};

use super::both::{Both, Told};
use super::compare::{Peer, POLICIES};
use super::script::{link, Scripted};

pub struct Duo {
    pub ours: SslStream<Scripted>,
    pub peer: Peer,
}

/// How a test runs: with which policy, and at which end.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub policy: AsyncPolicy,
    /// Whether ours is the server.
    pub accepts: bool,
}

pub fn each_way(mut test: impl FnMut(Way)) {
    for policy in POLICIES {
        for accepts in [true, false] {
            test(Way { policy, accepts });
        }
    }
}

/// TLS 1.2, and the newest there is.
pub const VERSIONS: [Option<SslVersion>; 2] = [Some(SslVersion::TLS1_2), None];

/// Rounds without an end: stuck.
const PATIENCE: usize = 1000;

impl Way {
    pub fn duo(self, client: &SslContext, server: &SslContext) -> Duo {
        self.duo_of(Ssl::new(client).unwrap(), Ssl::new(server).unwrap())
    }

    pub fn duo_of(self, mut client: Ssl, mut server: Ssl) -> Duo {
        client.set_connect_state();
        server.set_accept_state();
        let (here, there) = link();
        let (ours, peer) = match self.accepts {
            true => (server, client),
            false => (client, server),
        };
        Duo {
            ours: Both::over(ours, here, self.policy),
            peer: Both::over(peer, there, self.policy),
        }
    }
}

impl Duo {
    /// What both were told in the end.
    pub fn try_handshake(&mut self) -> (Told, Told) {
        let blocked = Told::Io(ErrorKind::WouldBlock);
        let (mut ours, mut peer) = (blocked.clone(), blocked);
        for _ in 0..PATIENCE {
            if ours.would_block() {
                ours = self.ours.handshake();
            }
            if peer.would_block() {
                peer = self.peer.handshake();
            }
        }
        (ours, peer)
    }

    #[track_caller]
    pub fn handshake(&mut self) {
        let told = self.try_handshake();
        assert_eq!(told, (Told::Done(0), Told::Done(0)));
    }

    /// Messages both ways, whatever either has to do besides.
    #[track_caller]
    pub fn talk(&mut self, message: &[u8]) {
        let (mut sent, mut got) = ([0; 2], [Vec::new(), Vec::new()]);
        let mut buffer = vec![0; 50_000];
        for _ in 0..PATIENCE.max(message.len() / 100) {
            let ours: &mut dyn ReadWrite = &mut self.ours;
            let ends = [ours, &mut self.peer];
            for (n, end) in ends.into_iter().enumerate() {
                if sent[n] < message.len() {
                    sent[n] += or_block(end.write(&message[sent[n]..])).unwrap_or(0);
                } else {
                    or_block(end.flush().map(|()| 0));
                }
                if let Some(len) = or_block(end.read(&mut buffer)) {
                    got[n].extend_from_slice(&buffer[..len]);
                }
            }
            if got.iter().all(|got| got.len() >= message.len()) {
                break;
            }
        }
        assert!(got[0] == message, "ours got {} bytes", got[0].len());
        assert!(got[1] == message, "the peer got {} bytes", got[1].len());
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[track_caller]
fn or_block(result: std::io::Result<usize>) -> Option<usize> {
    match result {
        Ok(len) => Some(len),
        Err(e) if e.kind() == ErrorKind::WouldBlock => None,
        Err(e) => panic!("{e}"),
    }
}
