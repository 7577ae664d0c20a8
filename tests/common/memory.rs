//! Two connections that exchange ciphertext in memory, on one thread.

use std::task::{Context, Poll};

use openssl::ssl::{self, Ssl, SslContext, SslContextBuilder, SslMethod};
use openssl_async_jobs::{Connection, Progress, Role};

use super::tls::identity;

/// A server's context with the tests' certificate.
pub fn server_context(configure: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let (cert, key) = identity();
    let mut ctx = SslContext::builder(SslMethod::tls_server()).unwrap();
    ctx.set_certificate(cert).unwrap();
    ctx.set_private_key(key).unwrap();
    configure(&mut ctx);
    ctx.build()
}

pub fn client_context(configure: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let mut ctx = SslContext::builder(SslMethod::tls_client()).unwrap();
    configure(&mut ctx);
    ctx.build()
}

pub struct Pair {
    pub client: Connection,
    pub server: Connection,
}

impl Pair {
    pub fn new(client: &SslContext, server: &SslContext) -> Pair {
        let mut ssl = Ssl::new(client).unwrap();
        ssl.set_hostname("name.example").unwrap();
        Pair {
            client: Connection::new(ssl, Role::Client).unwrap(),
            server: Connection::new(Ssl::new(server).unwrap(), Role::Server).unwrap(),
        }
    }

    /// Moves all ciphertext there is, both ways.
    pub fn exchange(&mut self) {
        carry(&mut self.client, &mut self.server);
        carry(&mut self.server, &mut self.client);
    }

    /// Goes on with both handshakes as far as that goes; whether both are done.
    pub fn handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ssl::Error>> {
        loop {
            let client = self.client.poll_handshake(cx)?;
            let server = self.server.poll_handshake(cx)?;
            let moved = self.client.unsent() + self.server.unsent();
            self.exchange();
            match (client, server) {
                (Progress::Done(()), Progress::Done(())) => return Poll::Ready(Ok(())),
                _ if moved == 0 => return Poll::Pending,
                _ => {}
            }
        }
    }
}

/// All that one has to send, to the other.
pub fn carry(from: &mut Connection, to: &mut Connection) {
    let mut bytes = Vec::new();
    while from.unsent() > 0 {
        from.send_to(&mut bytes).unwrap();
    }
    let mut bytes = &bytes[..];
    while !bytes.is_empty() {
        to.receive_from(&mut bytes).unwrap();
    }
}
