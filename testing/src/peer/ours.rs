//! Our end of a connection: an `SslStream`, on a socket that blocks or one that does not.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode, ShutdownResult, Ssl, SslContextRef, SslRef};
use openssl_async_jobs::{AsyncPolicy, Error, SslStream};

use super::{pauses_of, Peer, PATIENCE};
use crate::tls::{interest, wait};

/// How a stream is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whether its socket blocks.
    pub blocking: bool,
    /// What runs as jobs.
    pub policy: AsyncPolicy,
}

/// All that matter.
pub const WAYS: [Way; 4] = [
    Way::new(true, AsyncPolicy::Handshake),
    Way::new(true, AsyncPolicy::Always),
    Way::new(false, AsyncPolicy::Handshake),
    Way::new(false, AsyncPolicy::Always),
];

impl Way {
    const fn new(blocking: bool, policy: AsyncPolicy) -> Way {
        Way { blocking, policy }
    }
}

/// A stream, and what waits for it where it does not block.
pub struct Ours {
    stream: SslStream<TcpStream>,
    blocking: bool,
}

/// Where peers connect to.
pub struct Listener(TcpListener);

impl Listener {
    /// On a port of its own.
    #[allow(clippy::new_without_default)] // It takes a port.
    pub fn new() -> Listener {
        Listener(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("it has one").port()
    }

    /// The next to connect; the handshake is yet to come.
    pub fn next(&self, context: &SslContextRef, way: Way) -> Ours {
        Ours::new(Ssl::new(context).expect("an SSL"), self.next_socket(), way)
    }

    /// The socket of the next to connect. It blocks.
    pub fn next_socket(&self) -> TcpStream {
        wait(&mut [interest(self.0.as_raw_fd(), libc::POLLIN)]);
        let (socket, _) = self.0.accept().expect("somebody connects");
        set_up(&socket);
        socket
    }
}

/// Connects; the handshake is yet to come. The name is the server's.
pub fn connect(context: &SslContextRef, port: u16, name: &str, way: Way) -> Ours {
    let socket = socket_to(port);
    let mut ssl = Ssl::new(context).expect("an SSL");
    ssl.set_hostname(name).expect("a name");
    ssl.param_mut().set_host(name).expect("a name");
    Ours::new(ssl, socket, way)
}

/// A socket that blocks, to this port.
pub fn socket_to(port: u16) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the peer listens");
    set_up(&socket);
    socket
}

/// What takes longer is stuck, and fails with `WouldBlock`. What is written is sent at once: a peer may
/// take its time to acknowledge what came before.
fn set_up(socket: &TcpStream) {
    socket.set_nodelay(true).expect("set");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket.set_write_timeout(Some(PATIENCE)).expect("set");
}

/// All that an error says, to compare ours with rust-openssl's.
pub fn describe(error: &ssl::Error) -> String {
    let stack = error.ssl_error().map_or(&[][..], ErrorStack::errors);
    let reasons: Vec<_> = stack.iter().map(|e| (e.library(), e.reason())).collect();
    let io = error.io_error().map(std::io::Error::kind);
    format!("{:?} {reasons:?} {io:?}", error.code())
}

impl Ours {
    fn new(ssl: Ssl, socket: TcpStream, way: Way) -> Ours {
        socket.set_nonblocking(!way.blocking).expect("set");
        let mut stream = SslStream::new(ssl, socket).expect("a stream");
        stream.set_policy(way.policy);
        Ours {
            stream,
            blocking: way.blocking,
        }
    }

    /// Calls an operation until it is done, and waits in between for what it says.
    pub fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut SslStream<TcpStream>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            match operation(&mut self.stream) {
                Err(e) if e.is_would_block() && !self.blocking => {
                    let ready = self.stream.wait(Some(PATIENCE)).expect("poll");
                    assert!(ready, "stuck: {:?}", self.stream);
                }
                done => return done,
            }
        }
    }

    /// The handshake as a server.
    pub fn accept(&mut self) -> Result<(), Error> {
        self.run(SslStream::accept)
    }

    /// The handshake as a client.
    pub fn connect(&mut self) -> Result<(), Error> {
        self.run(SslStream::connect)
    }

    /// Reads what there is.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        self.run(|stream| stream.ssl_read(to))
    }

    /// Reads so many bytes.
    pub fn read_exact(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; len];
        let mut start = 0;
        while start < len {
            start += self.read(&mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Reads until these bytes have come, and nothing after them.
    pub fn read_until(&mut self, end: &[u8]) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.read_exact(1)?);
        }
        Ok(bytes)
    }

    /// Reads early data in pieces of this size at most, to its end, as a server.
    #[cfg(ossl111)]
    pub fn read_early_data(&mut self, piece: usize) -> Result<Vec<u8>, Error> {
        self.ssl_mut().set_accept_state();
        let (mut read, mut buffer) = (Vec::new(), vec![0; piece]);
        loop {
            match self.run(|stream| stream.read_early_data(&mut buffer))? {
                0 => return Ok(read),
                len => read.extend_from_slice(&buffer[..len]),
            }
        }
    }

    /// Reads until the peer has closed the connection, with its `close_notify`.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.read(&mut buffer) {
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(Error::Ssl(e)) if e.code() == ErrorCode::ZERO_RETURN => return Ok(bytes),
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes all, and has the socket take it.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let len = self.run(|stream| stream.ssl_write(bytes))?;
            bytes = &bytes[len..];
        }
        self.run(|stream| Ok(stream.flush()?))
    }

    /// Writes all while it reads so many bytes: a socket that does not block, in both directions at
    /// once; one that does, first in and then out.
    pub fn exchange(&mut self, mut out: &[u8], len: usize) -> Result<Vec<u8>, Error> {
        if self.blocking {
            let bytes = self.read_exact(len)?;
            self.write_all(out)?;
            return Ok(bytes);
        }
        let (mut bytes, mut start) = (vec![0; len], 0);
        while start < len || !out.is_empty() {
            let mut stuck = true;
            if !out.is_empty() {
                if let Some(written) = unless_it_would_block(self.stream.ssl_write(out))? {
                    out = &out[written..];
                    stuck = false;
                }
            }
            if start < len {
                let read = self.stream.ssl_read(&mut bytes[start..]);
                if let Some(read) = unless_it_would_block(read)? {
                    start += read;
                    stuck = false;
                }
            }
            if stuck {
                let ready = self.stream.wait(Some(PATIENCE)).expect("poll");
                assert!(ready, "stuck: {:?}", self.stream);
            }
        }
        self.write_all(&[])?;
        Ok(bytes)
    }

    /// Says that nothing more is written.
    pub fn close(&mut self) -> Result<ShutdownResult, Error> {
        self.run(SslStream::shutdown)
    }

    /// Says so, and waits until the peer does.
    pub fn close_both(&mut self) -> Result<(), Error> {
        while self.close()? != ShutdownResult::Received {}
        Ok(())
    }

    /// The connection.
    pub fn ssl(&self) -> &SslRef {
        self.stream.ssl()
    }

    /// The connection, to set up.
    pub fn ssl_mut(&mut self) -> &mut SslRef {
        self.stream.ssl_mut().expect("nothing is in flight")
    }
}

fn unless_it_would_block<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.is_would_block() => Ok(None),
        Err(e) => Err(e),
    }
}

/// A handshake as a server that pauses once, in the servername callback.
pub fn accept_paused(ours: &mut Ours) {
    let (accepted, pauses) = pauses_of(|| ours.accept());
    accepted.expect("a handshake");
    assert_eq!(pauses, 1);
}

/// A line from the program, which sends what it is given, and one to it.
pub fn chat(ours: &mut Ours, peer: &mut Peer) {
    chat_again(ours, peer, 1);
}

/// Likewise, for the so manieth time.
pub fn chat_again(ours: &mut Ours, peer: &mut Peer, time: usize) {
    peer.write(b"from the peer\n");
    let line = ours.read_until(b"\n").expect("a line");
    assert_eq!(line, b"from the peer\n");
    ours.write_all(b"from this end\n").expect("written");
    peer.wait_for_nth("from this end\n", time);
}
