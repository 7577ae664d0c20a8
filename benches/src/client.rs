//! The client, the same for all: blocking, rust-openssl over a buffered socket, so that its own
//! system calls are few and weigh the same on each peer.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openssl::ssl::{
    Ssl, SslContext, SslMethod, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};

use crate::identity::NAME;
use crate::peers::SUITE;

/// What it buffers each way, in bytes, if it moves much.
pub const MUCH: usize = 512 * 1024;
/// For clients of which there are many.
pub const LITTLE: usize = 4096;

pub enum Client {
    Plain(Socket),
    Tls(SslStream<Socket>),
}

impl Client {
    /// Connected, and its handshake done.
    pub fn connect(address: SocketAddr, tls: bool, buffer: usize) -> io::Result<Client> {
        Client::over(TcpStream::connect(address)?, tls, buffer, None)
    }

    /// Likewise, over a socket that is connected. It waits so long before all that it sends, so that
    /// the server has come to wait.
    pub fn over(
        socket: TcpStream,
        tls: bool,
        buffer: usize,
        pace: Option<Duration>,
    ) -> io::Result<Client> {
        socket.set_nodelay(true)?;
        let socket = Socket::new(socket, buffer, pace);
        if !tls {
            return Ok(Client::Plain(socket));
        }
        let mut ssl = Ssl::new(context())?;
        ssl.set_hostname(NAME)?;
        let mut stream = SslStream::new(ssl, socket)?;
        stream.connect().map_err(io::Error::other)?;
        stream.get_mut().flush()?;
        Ok(Client::Tls(stream))
    }

    /// Only the start of a handshake, over a socket that is connected.
    pub fn hello(socket: TcpStream) -> io::Result<Hello> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut ssl = Ssl::new(context())?;
        ssl.set_hostname(NAME)?;
        let mut stream = SslStream::new(ssl, Socket::new(socket, LITTLE, None))?;
        // It sends its ClientHello, and would block then.
        let _ = stream.connect();
        Ok(Hello(stream))
    }

    /// One message there, and as many bytes back.
    pub fn round_trip(&mut self, message: &[u8], answer: &mut [u8]) -> io::Result<()> {
        self.write_all(message)?;
        self.flush()?;
        self.read_exact(answer)
    }

    /// Reads until the server has closed.
    pub fn read_to_close(&mut self) -> io::Result<()> {
        let mut buffer = [0; 256];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }
}

/// A client that has sent its ClientHello.
pub struct Hello(SslStream<Socket>);

impl Hello {
    /// The rest of the handshake; as for [`Client::over`].
    pub fn finish(self, pace: Option<Duration>) -> io::Result<Client> {
        let Hello(mut stream) = self;
        let socket = stream.get_mut();
        socket.reader.get_ref().0.set_nonblocking(false)?;
        socket.pace = pace;
        stream.connect().map_err(io::Error::other)?;
        stream.get_mut().flush()?;
        Ok(Client::Tls(stream))
    }
}

impl Read for Client {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Client::Plain(socket) => socket.read(to),
            Client::Tls(stream) => stream.read(to),
        }
    }
}

impl Write for Client {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Client::Plain(socket) => socket.write(from),
            Client::Tls(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Client::Plain(socket) => socket.flush(),
            Client::Tls(stream) => stream.get_mut().flush(),
        }
    }
}

/// A buffered socket that sends when it is flushed, full, or about to read.
pub struct Socket {
    reader: BufReader<Half>,
    writer: BufWriter<Half>,
    pace: Option<Duration>,
}

impl Socket {
    fn new(socket: TcpStream, buffer: usize, pace: Option<Duration>) -> Socket {
        let half = Half(Arc::new(socket));
        Socket {
            reader: BufReader::with_capacity(buffer, half.clone()),
            writer: BufWriter::with_capacity(buffer, half),
            pace,
        }
    }
}

/// One file descriptor for both directions.
#[derive(Clone)]
struct Half(Arc<TcpStream>);

impl Read for Half {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(to)
    }
}

impl Write for Half {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        (&*self.0).write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.reader.buffer().is_empty() {
            self.flush()?;
        }
        self.reader.read(to)
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.writer.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        if let (Some(pace), false) = (self.pace, self.writer.buffer().is_empty()) {
            std::thread::sleep(pace);
        }
        self.writer.flush()
    }
}

pub fn context() -> &'static SslContext {
    static CONTEXT: OnceLock<SslContext> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let build = || {
            let mut ctx = SslContext::builder(SslMethod::tls_client())?;
            ctx.set_min_proto_version(Some(SslVersion::TLS1_3))?;
            ctx.set_ciphersuites(SUITE)?;
            ctx.set_groups_list("X25519")?;
            ctx.set_verify(SslVerifyMode::NONE);
            ctx.set_session_cache_mode(SslSessionCacheMode::OFF);
            Ok::<_, openssl::error::ErrorStack>(ctx.build())
        };
        build().expect("a client's context")
    })
}
