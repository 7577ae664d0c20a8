//! Two connections that exchange ciphertext in memory, on one thread.

use openssl::ssl::Ssl;
use openssl_async_jobs::{Connection, Role};

/// A client and a server.
pub struct Pair {
    /// The client.
    pub client: Connection,
    /// The server.
    pub server: Connection,
}

impl Pair {
    /// Both before their handshake, under the default policy.
    pub fn of(client: Ssl, server: Ssl) -> Pair {
        Pair {
            client: Connection::new(client, Role::Client).expect("a connection"),
            server: Connection::new(server, Role::Server).expect("a connection"),
        }
    }
}

/// All that one has to send, to the other: how much that was.
pub fn carry(from: &mut Connection, to: &mut Connection) -> usize {
    let mut bytes = Vec::new();
    while from.unsent() > 0 {
        from.send_to(&mut bytes).expect("memory takes it");
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        to.receive_from(&mut rest).expect("memory gives it");
    }
    bytes.len()
}
