//! rust-openssl's stream and this crate's behind one trait, and what they answer in one form.

use std::io::{self, ErrorKind, Read, Write};

use openssl::ssl::{self, ErrorCode, ShutdownResult, Ssl, SslRef};
use openssl_async_jobs::{AsyncPolicy, Error, SslStream};

/// What an operation answered, in the same words for both streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Done(usize),
    Shutdown(&'static str),
    /// Of the transport. The direction of a `WouldBlock` is not part of it: only rust-openssl has
    /// it in the error.
    Io(ErrorKind),
    /// The code, and the reasons of the error stack.
    Tls(i32, Vec<String>),
    /// An `io::Error` that is made of one of TLS.
    Wrapped(ErrorKind, Box<Told>),
}

impl Told {
    pub fn would_block(&self) -> bool {
        *self == Told::Io(ErrorKind::WouldBlock)
    }

    /// Neither done, nor at an end, nor waiting.
    pub fn is_failure(&self) -> bool {
        match self {
            Told::Done(_) | Told::Shutdown(_) => false,
            Told::Io(kind) => *kind != ErrorKind::WouldBlock,
            Told::Tls(code, _) => *code != ErrorCode::ZERO_RETURN.as_raw(),
            Told::Wrapped(..) => true,
        }
    }

    fn of(result: Result<usize, ssl::Error>) -> Told {
        let e = match result {
            Ok(len) => return Told::Done(len),
            Err(e) => e,
        };
        match e.io_error() {
            Some(io) => Told::Io(io.kind()),
            None => Told::Tls(e.code().as_raw(), reasons(&e)),
        }
    }

    fn of_ours(result: Result<usize, Error>) -> Told {
        match result {
            Ok(len) => Told::Done(len),
            Err(Error::Io(e)) => Told::Io(e.kind()),
            Err(Error::Ssl(e)) => Told::of(Err(e)),
            Err(e) => panic!("rust-openssl has no such error: {e:?}"),
        }
    }

    fn of_io(result: io::Result<usize>) -> Told {
        let e = match result {
            Ok(len) => return Told::Done(len),
            Err(e) => e,
        };
        let kind = e.kind();
        match e.downcast::<ssl::Error>() {
            Ok(e) => Told::Wrapped(kind, Box::new(Told::of(Err(e)))),
            Err(_) => Told::Io(kind),
        }
    }

    fn of_shutdown(result: ShutdownResult) -> Told {
        Told::Shutdown(match result {
            ShutdownResult::Sent => "sent",
            ShutdownResult::Received => "received",
        })
    }
}

fn reasons(e: &ssl::Error) -> Vec<String> {
    let stack = e.ssl_error().into_iter().flat_map(|stack| stack.errors());
    stack
        .map(|e| format!("{:?} {:?}", e.library(), e.reason()))
        .collect()
}

pub trait Both<S: Read + Write>: Read + Write {
    fn over(ssl: Ssl, transport: S, policy: AsyncPolicy) -> Self;
    fn ssl_ref(&self) -> &SslRef;
    fn transport(&mut self) -> &mut S;
    /// As what the `Ssl` was set to be.
    fn handshake(&mut self) -> Told;
    fn reads(&mut self, to: &mut [u8]) -> Told;
    fn writes(&mut self, from: &[u8]) -> Told;
    fn closes(&mut self) -> Told;

    fn reads_io(&mut self, to: &mut [u8]) -> Told {
        Told::of_io(self.read(to))
    }

    fn writes_io(&mut self, from: &[u8]) -> Told {
        Told::of_io(self.write(from))
    }
}

impl<S: Read + Write> Both<S> for ssl::SslStream<S> {
    fn over(ssl: Ssl, transport: S, _: AsyncPolicy) -> Self {
        ssl::SslStream::new(ssl, transport).unwrap()
    }

    fn ssl_ref(&self) -> &SslRef {
        self.ssl()
    }

    fn transport(&mut self) -> &mut S {
        self.get_mut()
    }

    fn handshake(&mut self) -> Told {
        Told::of(self.do_handshake().map(|()| 0))
    }

    fn reads(&mut self, to: &mut [u8]) -> Told {
        loop {
            match self.ssl_read(to) {
                // "The operation should be retried", which this crate does.
                Err(e) if e.code() == ErrorCode::WANT_READ && e.io_error().is_none() => {}
                other => return Told::of(other),
            }
        }
    }

    fn writes(&mut self, from: &[u8]) -> Told {
        Told::of(self.ssl_write(from))
    }

    fn closes(&mut self) -> Told {
        match self.shutdown() {
            Ok(result) => Told::of_shutdown(result),
            Err(e) => Told::of(Err(e)),
        }
    }
}

impl<S: Read + Write> Both<S> for SslStream<S> {
    fn over(ssl: Ssl, transport: S, policy: AsyncPolicy) -> Self {
        let mut stream = SslStream::over(ssl, transport, false).unwrap();
        stream.set_policy(policy);
        stream
    }

    fn ssl_ref(&self) -> &SslRef {
        self.ssl()
    }

    fn transport(&mut self) -> &mut S {
        self.get_mut()
    }

    fn handshake(&mut self) -> Told {
        Told::of_ours(self.do_handshake().map(|()| 0))
    }

    fn reads(&mut self, to: &mut [u8]) -> Told {
        Told::of_ours(self.ssl_read(to))
    }

    fn writes(&mut self, from: &[u8]) -> Told {
        Told::of_ours(self.ssl_write(from))
    }

    fn closes(&mut self) -> Told {
        match self.shutdown() {
            Ok(result) => Told::of_shutdown(result),
            Err(e) => Told::of_ours(Err(e)),
        }
    }
}
