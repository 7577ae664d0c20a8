//! The loop: one `mio::Poll` for the listener, the signals, the sockets and what connections wait for
//! besides.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use openssl::ssl::{SniError, Ssl, SslAcceptor, SslAlert, SslMethod};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::certificates::UnknownName;
use crate::connection::{Connection, Shared, Turn};
use crate::log::Log;
use crate::lookup::Lookups;
use crate::Result;

const LISTENER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// The number of the first connection, which is its token.
const FIRST: usize = 2;

/// More wait to be accepted: a connection takes three file descriptors at most, its socket, its
/// waker's and one of its lookup, of the 1024 that a process usually has.
const MOST_CONNECTIONS: usize = 300;
/// How long a client may do nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// When `accept` fails for want of something, it is tried again after this.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    /// Readable when a signal has come.
    signals: UnixStream,
    acceptor: SslAcceptor,
    connections: HashMap<usize, Entry>,
    next: usize,
    /// Those that can go on.
    ready: BTreeSet<usize>,
    /// From when on the listener may have somebody; `None` if it has nobody.
    accepts: Option<Instant>,
    shared: Shared,
}

struct Entry {
    connection: Connection,
    /// Registered while it waits.
    wait_fds: Vec<RawFd>,
    /// Unless it is the server that the client waits for.
    deadline: Option<Instant>,
}

/// What the server has done.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub connections: usize,
    pub handshakes: usize,
    pub answers: usize,
}

impl Server {
    pub fn bind(port: u16, lookups: Lookups, log: Log) -> Result<Server> {
        let poll = Poll::new()?;
        let (mut signals, writer) = UnixStream::pair()?;
        let writer = OwnedFd::from(writer);
        signal_hook::low_level::pipe::register(SIGINT, writer.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGTERM, writer)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut listener =
            TcpListener::bind(address).map_err(|e| format!("cannot listen on {address}: {e}"))?;
        let registry = poll.registry();
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            listener,
            signals,
            acceptor: acceptor(&lookups)?,
            connections: HashMap::new(),
            next: FIRST,
            ready: BTreeSet::new(),
            accepts: None,
            shared: Shared {
                lookups,
                counts: Counts::default(),
                log,
            },
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a signal comes. What is in flight then is dropped.
    pub fn run(mut self) -> Result<Counts> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                polled => polled.map_err(|e| format!("cannot poll: {e}"))?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accepts = Some(Instant::now()),
                    SIGNALS if self.signals.read(&mut [0]).is_ok() => {
                        return Ok(self.shared.counts);
                    }
                    SIGNALS => {}
                    Token(number) => drop(self.ready.insert(number)),
                }
            }
            self.accept()?;
            for number in std::mem::take(&mut self.ready) {
                self.go_on(number);
            }
            self.drop_idle();
        }
    }

    /// Until something is due that no file descriptor tells.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let accepts = self.accepts.filter(|_| self.has_room());
        let deadlines = self.connections.values().filter_map(|entry| entry.deadline);
        let due = deadlines.chain(accepts).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn has_room(&self) -> bool {
        self.connections.len() < MOST_CONNECTIONS
    }

    /// Accepts whom there is room for. mio tells of the listener once, so it goes on until there is
    /// nobody, or remembers that there may be.
    fn accept(&mut self) -> Result<()> {
        while self.has_room() && self.accepts.is_some_and(|at| at <= Instant::now()) {
            match self.listener.accept() {
                Ok((socket, _)) => self.welcome(socket)?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.accepts = None,
                // A client that has given up is its own affair.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.accepts = Some(Instant::now() + PAUSE);
                    eprintln!("mio_server: cannot accept: {e}");
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self, mut socket: TcpStream) -> Result<()> {
        let number = self.next;
        self.next += 1;
        self.shared.counts.connections += 1;
        // Once and for both: a connection reads and writes until it cannot.
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(&mut socket, Token(number), both);
        let ssl = Ssl::new(self.acceptor.context())?;
        match registered
            .map_err(Into::into)
            .and_then(|()| Connection::new(number, ssl, socket))
        {
            Ok(connection) => {
                let entry = Entry {
                    connection,
                    wait_fds: Vec::new(),
                    deadline: None,
                };
                self.connections.insert(number, entry);
                self.ready.insert(number);
            }
            Err(e) => self.shared.log.line(number, e),
        }
        Ok(())
    }

    fn go_on(&mut self, number: usize) {
        // One that is closed may have had an event more.
        let Some(entry) = self.connections.get_mut(&number) else {
            return;
        };
        let registry = self.poll.registry();
        let was_suspended = !entry.wait_fds.is_empty();
        entry.unwatch(registry);
        let closed = match entry.connection.go_on(&mut self.shared) {
            Turn::Waits => match entry.watch(registry, Token(number)) {
                Ok(()) => {
                    if !was_suspended && !entry.wait_fds.is_empty() {
                        self.shared.log.line(number, "suspended");
                    }
                    false
                }
                Err(e) => {
                    entry.unwatch(registry);
                    self.shared.log.line(number, e);
                    true
                }
            },
            Turn::Again => {
                self.ready.insert(number);
                false
            }
            Turn::Closed => true,
        };
        if closed {
            self.connections.remove(&number);
        }
    }

    fn drop_idle(&mut self) {
        let now = Instant::now();
        let log = self.shared.log;
        self.connections.retain(|number, entry| {
            let idle = entry.deadline.is_some_and(|deadline| deadline <= now);
            if idle {
                log.line(*number, "its client has done nothing for too long");
            }
            !idle
        });
    }
}

impl Entry {
    /// mio tells of a file descriptor when it becomes readable, and at once if it is when it is
    /// registered. So nothing is missed by registering these for one wait only; and in the next
    /// call of the connection, whoever owns them may close them and use the numbers again.
    fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        for fd in self.connection.wait_fds() {
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            self.wait_fds.push(fd);
        }
        // A lookup takes as long as it takes.
        self.deadline = match self.wait_fds.is_empty() {
            true => Some(Instant::now() + PATIENCE),
            false => None,
        };
        Ok(())
    }

    fn unwatch(&mut self, registry: &Registry) {
        self.deadline = None;
        for fd in self.wait_fds.drain(..) {
            // One that is closed already is not registered any more.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
    }
}

fn acceptor(lookups: &Lookups) -> Result<SslAcceptor> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    let lookups = lookups.clone();
    acceptor.set_servername_callback(move |ssl, alert| {
        lookups.servername(ssl).map_err(|e| {
            *alert = match e.is::<UnknownName>() {
                true => SslAlert::UNRECOGNIZED_NAME,
                false => SslAlert::INTERNAL_ERROR,
            };
            SniError::ALERT_FATAL
        })
    });
    Ok(acceptor.build())
}
