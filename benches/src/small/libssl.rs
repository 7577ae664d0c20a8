//! libssl alone: a connection in memory, with nothing below and nobody who waits.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use openssl::ssl::{HandshakeError, Ssl, SslStream};

use crate::client;
use crate::cpu;
use crate::identity::{Key, NAME};
use crate::peers::openssl_server;

/// Both ends of it.
pub struct InMemory {
    server: SslStream<End>,
    client: SslStream<End>,
}

/// What has been written for the other end.
type Way = Rc<RefCell<VecDeque<u8>>>;

#[derive(Debug)]
struct End {
    from: Way,
    to: Way,
}

impl Read for End {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.from.borrow_mut().read(to)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for End {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.to.borrow_mut().write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Default for InMemory {
    fn default() -> InMemory {
        let (there, back) = (Way::default(), Way::default());
        let end = |from: &Way, to: &Way| End {
            from: Rc::clone(from),
            to: Rc::clone(to),
        };
        let mut ssl = Ssl::new(client::context()).expect("an Ssl");
        ssl.set_hostname(NAME).expect("a name");
        let started = match ssl.connect(end(&back, &there)) {
            Err(HandshakeError::WouldBlock(started)) => started,
            _ => panic!("a client waits for its server"),
        };
        let context = openssl_server(Key::EcdsaP256, |_| ());
        let ssl = Ssl::new(&context).expect("an Ssl");
        let accepting = match ssl.accept(end(&there, &back)) {
            Err(HandshakeError::WouldBlock(accepting)) => accepting,
            _ => panic!("a server waits for its client"),
        };
        let client = started.handshake().expect("a handshake");
        let server = accepting.handshake().expect("a handshake");
        InMemory { server, client }
    }
}

impl InMemory {
    /// The CPU time for a message of this size, in seconds: to write it at one end and to read it at
    /// the other.
    pub fn message(&mut self, size: usize, times: usize) -> f64 {
        let (message, mut got) = (vec![1; size], vec![0; size]);
        cpu::of_one(times, || {
            self.server.write_all(&message).expect("memory");
            self.client.read_exact(&mut got).expect("a message");
        })
    }
}
