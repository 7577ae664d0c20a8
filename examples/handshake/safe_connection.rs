//! One connection of the server over `openssl_async_jobs::SslStream`: there is no contract to keep.
//! It may be moved, dropped, and called with another buffer or operation at any time.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use openssl::ssl::{ShutdownResult, Ssl, SslContextRef};
use openssl_async_jobs::{AsyncPolicy, Error, SslStream};

use crate::client::MESSAGE_LEN;
use crate::safe_poll;
use crate::server::{Serve, Waits};
use crate::timeline::{Fds, Timeline};
use crate::Result;

pub struct SafeConnection {
    number: usize,
    stream: SslStream<TcpStream>,
    next: Next,
    waits: Waits,
    /// Those of the last pause.
    wait_fds: Vec<RawFd>,
}

/// What is next, with what it needs.
enum Next {
    Accept,
    /// So much has come.
    Read(Vec<u8>),
    /// So much of it has been written.
    Write(Vec<u8>, usize),
    Flush,
    Shutdown,
    None,
}

impl Serve for SafeConnection {
    fn new(number: usize, ctx: &SslContextRef, socket: TcpStream) -> Result<SafeConnection> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let mut stream = SslStream::new(Ssl::new(ctx)?, socket)?;
        // As with SSL_MODE_ASYNC: an engine may pause reads and writes, too.
        stream.set_policy(AsyncPolicy::Always);
        Ok(SafeConnection {
            number,
            stream,
            next: Next::Accept,
            waits: Waits::Readable,
            wait_fds: Vec::new(),
        })
    }

    fn socket(&self) -> RawFd {
        self.stream.get_ref().as_raw_fd()
    }

    fn waits(&self) -> Waits {
        self.waits
    }

    fn wait_fds(&self) -> &[RawFd] {
        &self.wait_fds
    }

    fn go_on(&mut self, timeline: &mut Timeline) -> Result<()> {
        while !matches!(self.next, Next::None) {
            let call = match self.next {
                Next::Accept => "accept",
                Next::Read(_) => "read",
                Next::Write(..) => "write",
                Next::Flush => "flush",
                Next::Shutdown => "shutdown",
                Next::None => break,
            };
            match self.call() {
                Ok(()) => self.report(timeline, call, "done", Vec::new()),
                Err(e) if e.is_would_block() => {
                    let interest = self.stream.interest();
                    self.waits = match (interest.readable, interest.writable) {
                        _ if !interest.fds.is_empty() => Waits::Async,
                        (true, true) => Waits::Either,
                        (false, true) => Waits::Writable,
                        _ => Waits::Readable,
                    };
                    if self.waits == Waits::Async {
                        self.report(timeline, call, "WouldBlock", interest.fds);
                    }
                    return Ok(());
                }
                Err(e) => return Err(format!("connection {}: {e}", self.number).into()),
            }
        }
        self.waits = Waits::Closed;
        Ok(())
    }

    fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<usize> {
        safe_poll::poll(fds, timeout_ms)
    }
}

impl SafeConnection {
    /// One call; when it is done, `next` is what follows.
    fn call(&mut self) -> std::result::Result<(), Error> {
        match &mut self.next {
            Next::Accept => {
                self.stream.accept()?;
                self.next = Next::Read(Vec::new());
            }
            Next::Read(message) => {
                // A buffer for one call, be it paused or not.
                let mut piece = vec![0; MESSAGE_LEN - message.len()];
                let len = self.stream.ssl_read(&mut piece)?;
                message.extend_from_slice(&piece[..len]);
                if message.len() == MESSAGE_LEN {
                    self.next = Next::Write(std::mem::take(message), 0);
                }
            }
            Next::Write(message, done) => {
                *done += self.stream.ssl_write(&message[*done..])?;
                if *done == message.len() {
                    self.next = Next::Flush;
                }
            }
            Next::Flush => {
                self.stream.flush()?;
                self.next = Next::Shutdown;
            }
            Next::Shutdown => {
                // The second call waits for the client's.
                if self.stream.shutdown()? == ShutdownResult::Received {
                    self.next = Next::None;
                }
            }
            Next::None => return Err(Error::Io(ErrorKind::NotConnected.into())),
        }
        Ok(())
    }

    fn report(&mut self, timeline: &mut Timeline, call: &str, result: &str, all: Vec<RawFd>) {
        let not_in = |fds: &[RawFd], others: &[RawFd]| {
            let fds = fds.iter().filter(|fd| !others.contains(fd));
            fds.copied().collect::<Vec<RawFd>>()
        };
        let fds = Fds {
            waiting: !all.is_empty(),
            added: Some(not_in(&all, &self.wait_fds)),
            deleted: Some(not_in(&self.wait_fds, &all)),
            all: Some(all.clone()),
        };
        timeline.line(self.number, call, result, &fds);
        self.wait_fds = all;
    }
}
