//! One connection of the server, by hand: which call of libssl is next, and what it waits for.

use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use openssl::ssl::{Error, ErrorCode, ShutdownResult, Ssl, SslContextRef, SslStream};
use openssl_async_jobs::{ErrorCodeExt, SslAsyncExt};

use crate::client::MESSAGE_LEN;
use crate::server::{Serve, Waits};
use crate::timeline::{Fds, Timeline};
use crate::Result;

/// The one operation that may be called: if it is paused it must be called again (H2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Accept,
    Read,
    Write,
    Shutdown,
    None,
}

pub struct Connection {
    number: usize,
    /// Not dropped while a job is paused (H3).
    stream: ManuallyDrop<SslStream<TcpStream>>,
    operation: Operation,
    waits: Waits,
    /// Stays where it is, as a paused call goes on with it (H2).
    buffer: Box<[u8; MESSAGE_LEN]>,
    /// How much of the buffer has been read, or written.
    done: usize,
    /// Kept by what the changed lists say, as a poller would; compared with all.
    wait_fds: Vec<RawFd>,
}

impl Serve for Connection {
    fn new(number: usize, ctx: &SslContextRef, socket: TcpStream) -> Result<Connection> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let ssl = Ssl::new(ctx)?;
        // SAFETY: all the connections stay on this thread until they are closed (H1); each calls
        // its one `operation`, with `buffer`, which nothing else touches, until it is not paused
        // (H2); `drop` keeps a paused one (H3); the servername callback is small (H4), and it is
        // the only user of the SSL's mutable state; `server::run` resumes on evidence (H6).
        unsafe { ssl.set_async_mode(true) };
        Ok(Connection {
            number,
            stream: ManuallyDrop::new(SslStream::new(ssl, socket)?),
            operation: Operation::Accept,
            waits: Waits::Readable,
            buffer: Box::new([0; MESSAGE_LEN]),
            done: 0,
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

    /// Calls libssl until it has to wait.
    fn go_on(&mut self, timeline: &mut Timeline) -> Result<()> {
        loop {
            let operation = self.operation;
            let result = self.call();
            let waits = match &result {
                Ok(()) => None,
                Err(e) if e.code().is_want_async() => Some(Waits::Async),
                Err(e) if e.code().is_want_async_job() => Some(Waits::Job),
                Err(e) if e.code() == ErrorCode::WANT_READ => Some(Waits::Readable),
                Err(e) if e.code() == ErrorCode::WANT_WRITE => Some(Waits::Writable),
                Err(e) => return Err(format!("connection {}: {e}", self.number).into()),
            };
            if waits != Some(Waits::Readable) && waits != Some(Waits::Writable) {
                self.follow_wait_fds()?;
                self.report(timeline, operation, waits);
            }
            if let Some(waits) = waits {
                self.waits = waits;
                return Ok(());
            }
            if self.operation == Operation::None {
                self.waits = Waits::Closed;
                return Ok(());
            }
        }
    }

    fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<usize> {
        // SAFETY: an array of that length.
        match unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) } {
            -1 => Err(io::Error::last_os_error()),
            n => Ok(n as usize),
        }
    }
}

impl Connection {
    /// One call; when it is done, `operation` is the next one.
    fn call(&mut self) -> std::result::Result<(), Error> {
        match self.operation {
            Operation::Accept => {
                self.stream.accept()?;
                self.operation = Operation::Read;
            }
            Operation::Read => {
                self.done += self.stream.ssl_read(&mut self.buffer[self.done..])?;
                if self.done == MESSAGE_LEN {
                    (self.operation, self.done) = (Operation::Write, 0);
                }
            }
            Operation::Write => {
                self.done += self.stream.ssl_write(&self.buffer[self.done..])?;
                if self.done == MESSAGE_LEN {
                    (self.operation, self.done) = (Operation::Shutdown, 0);
                }
            }
            Operation::Shutdown => {
                // The second call waits for the client's.
                if self.stream.shutdown()? == ShutdownResult::Received {
                    self.operation = Operation::None;
                }
            }
            Operation::None => {}
        }
        Ok(())
    }

    /// Takes the wait fds over as a poller does, and compares them with what OpenSSL says of all.
    fn follow_wait_fds(&mut self) -> Result<()> {
        let ssl = self.stream.ssl();
        if !ssl.waiting_for_async() {
            // They stay registered, and have nothing to say until the next pause.
            return Ok(());
        }
        let (added, deleted) = ssl.changed_async_fds()?;
        self.wait_fds.retain(|fd| !deleted.contains(fd));
        for fd in added {
            // A connection's first pause after another job finished says them again.
            if !self.wait_fds.contains(&fd) {
                self.wait_fds.push(fd);
            }
        }
        let mut all = ssl.all_async_fds()?;
        all.sort_unstable();
        self.wait_fds.sort_unstable();
        if self.wait_fds != all {
            return Err(format!(
                "connection {}: {:?} are left of the changes, and OpenSSL says {all:?}",
                self.number, self.wait_fds
            )
            .into());
        }
        Ok(())
    }

    fn report(&self, timeline: &mut Timeline, operation: Operation, waits: Option<Waits>) {
        let call = match operation {
            Operation::Accept => "SSL_accept",
            Operation::Read => "SSL_read",
            Operation::Write => "SSL_write",
            Operation::Shutdown => "SSL_shutdown",
            Operation::None => return,
        };
        let result = match waits {
            None => "done",
            Some(Waits::Async) => "WANT_ASYNC",
            Some(Waits::Job) => "WANT_ASYNC_JOB",
            Some(_) => return,
        };
        timeline.line(self.number, call, result, &Fds::of(self.stream.ssl()));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.stream.ssl().waiting_for_async() {
            // After an error only, when the program ends: to free it would pull the memory away
            // under its job (H3).
            return;
        }
        // SAFETY: not used after this.
        unsafe { ManuallyDrop::drop(&mut self.stream) };
    }
}
