//! Connections that are held without a runtime: rust-openssl's own stream, and a job paused by C
//! calls alone.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use openssl::ssl::{Ssl, SslStream};
use openssl_async_jobs::{ffi, ErrorCodeExt, SslAsyncExt};

use crate::identity::Key;
use crate::peers::openssl_server;

/// Holds all connections that come, after their handshake, or with it paused.
pub fn hold(listening: impl FnOnce(SocketAddr), paused: bool) -> io::Result<()> {
    let context = openssl_server(Key::EcdsaP256, |ctx| {
        if paused {
            ctx.set_servername_callback(|_, _| {
                // SAFETY: it may be called anywhere; in a job it returns when that is resumed.
                unsafe { ffi::ASYNC_pause_job() };
                Ok(())
            });
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listening(listener.local_addr()?);
    let mut held: Vec<SslStream<TcpStream>> = Vec::new();
    loop {
        let (socket, _) = listener.accept()?;
        let ssl = Ssl::new(&context)?;
        // SAFETY: it stays on this thread, nothing is called once it has paused, and it is not
        // freed: the process ends first (H1 to H3).
        unsafe { ssl.set_async_mode(paused) };
        let mut stream = SslStream::new(ssl, socket)?;
        match stream.accept() {
            Err(e) if !e.code().is_want_async() => return Err(io::Error::other(e)),
            _ => held.push(stream),
        }
    }
}
