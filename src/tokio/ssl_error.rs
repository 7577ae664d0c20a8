//! Errors of the transport as rust-openssl's, which only that can make.

use std::io::{self, Read, Write};
use std::sync::OnceLock;

use openssl::error::ErrorStack;
use openssl::ssl::{self, HandshakeError, Ssl, SslContext, SslMethod};

use crate::error::Error;

/// Fails once, with the error that it has.
#[derive(Debug)]
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::Other.into()))
    }
}

impl Write for Failing {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error that tokio-openssl has in the same place.
pub(crate) fn ssl_error(e: Error) -> ssl::Error {
    let e = match e {
        Error::Ssl(e) => return e,
        Error::Io(e) => e,
        other => io::Error::other(other),
    };
    read_with(e).unwrap_or_else(ssl::Error::from)
}

fn context() -> Result<&'static SslContext, ErrorStack> {
    static CONTEXT: OnceLock<SslContext> = OnceLock::new();
    match CONTEXT.get() {
        Some(context) => Ok(context),
        None => {
            let context = SslContext::builder(SslMethod::tls())?.build();
            Ok(CONTEXT.get_or_init(|| context))
        }
    }
}

/// Has libssl read from a transport that fails so, on a connection of its own.
fn read_with(e: io::Error) -> Result<ssl::Error, ErrorStack> {
    match Ssl::new(context()?)?.accept(Failing(Some(e))) {
        Err(HandshakeError::Failure(failed) | HandshakeError::WouldBlock(failed)) => {
            Ok(failed.into_error())
        }
        Err(HandshakeError::SetupFailure(e)) => Err(e),
        Ok(_) => unreachable!("it has read nothing"),
    }
}
