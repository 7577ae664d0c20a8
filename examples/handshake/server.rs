//! The server: one thread, one poll(2) for the listener, the sockets and the wait fds. It serves
//! connections of either kind.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use openssl::ssl::{SniError, SslAcceptor, SslAlert, SslContextRef, SslMethod};

use crate::lookup::Lookups;
use crate::timeline::Timeline;
use crate::Result;

/// Generous: what takes so long is stuck.
const PATIENCE_MS: i32 = 120_000;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    Readable,
    Writable,
    Either,
    /// For one of its wait fds, or for nothing if it has none.
    Async,
    /// For another connection's job to end.
    Job,
    /// For nothing more.
    Closed,
}

/// A connection of the server.
pub trait Serve: Sized {
    fn new(number: usize, ctx: &SslContextRef, socket: TcpStream) -> Result<Self>;
    fn socket(&self) -> RawFd;
    fn waits(&self) -> Waits;
    fn wait_fds(&self) -> &[RawFd];
    /// Goes on until it has to wait.
    fn go_on(&mut self, timeline: &mut Timeline) -> Result<()>;
    /// poll(2), as connections of this kind come by it.
    fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<usize>;
}

/// Serves that many connections, and says how long it took from the first to the last.
pub fn run<C: Serve>(
    listener: &TcpListener,
    lookups: &Lookups,
    expected: usize,
    timeline: &mut Timeline,
) -> Result<Duration> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    let callback = lookups.clone();
    acceptor.set_servername_callback(move |ssl, alert| {
        callback.servername(ssl).map_err(|_| {
            *alert = SslAlert::INTERNAL_ERROR;
            SniError::ALERT_FATAL
        })
    });
    let acceptor = acceptor.build();

    listener.set_nonblocking(true)?;
    let mut connections: Vec<C> = Vec::new();
    let (mut accepted, mut start) = (0, None);
    while accepted < expected || !connections.is_empty() {
        let listening = (accepted < expected).then(|| listener.as_raw_fd());
        let ready = poll(listening, &connections)?;

        if ready.listener {
            match listener.accept() {
                Ok((socket, _)) => {
                    start.get_or_insert_with(Instant::now);
                    let connection = C::new(accepted, acceptor.context(), socket)?;
                    connections.push(connection);
                    accepted += 1;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
        for index in ready.connections {
            connections[index]
                .go_on(timeline)
                .map_err(|e| match lookups.failure() {
                    Some(failure) => format!("{e} ({failure})").into(),
                    None => e,
                })?;
        }
        connections.retain(|connection| connection.waits() != Waits::Closed);
    }
    Ok(start.map_or(Duration::ZERO, |start| start.elapsed()))
}

struct Ready {
    listener: bool,
    /// Indices.
    connections: Vec<usize>,
}

/// Waits until something can go on. A paused job goes on when one of its wait fds is readable:
/// they are looked at, never read.
fn poll<C: Serve>(listener: Option<RawFd>, connections: &[C]) -> Result<Ready> {
    let mut fds = Vec::new();
    // Whose each of the fds is.
    let mut owners = Vec::new();
    let mut at_once = Vec::new();
    let mut watch = |fd, events, owner| {
        fds.push(libc::pollfd {
            fd,
            events,
            revents: 0,
        });
        owners.push(owner);
    };
    if let Some(fd) = listener {
        watch(fd, libc::POLLIN, None);
    }
    for (index, connection) in connections.iter().enumerate() {
        match connection.waits() {
            Waits::Readable => watch(connection.socket(), libc::POLLIN, Some(index)),
            Waits::Writable => watch(connection.socket(), libc::POLLOUT, Some(index)),
            Waits::Either => {
                watch(
                    connection.socket(),
                    libc::POLLIN | libc::POLLOUT,
                    Some(index),
                );
            }
            Waits::Async if connection.wait_fds().is_empty() => at_once.push(index),
            Waits::Async => {
                for fd in connection.wait_fds() {
                    watch(*fd, libc::POLLIN, Some(index));
                }
            }
            // After whatever else goes on: a job may have ended then.
            Waits::Job | Waits::Closed => {}
        }
    }
    let timeout = if at_once.is_empty() { PATIENCE_MS } else { 0 };
    match C::poll(&mut fds, timeout) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => {
            return Err(format!("poll: {e}").into());
        }
        Ok(0) if at_once.is_empty() => {
            return Err(format!("nothing happened for {PATIENCE_MS} ms").into());
        }
        _ => {}
    }
    let mut ready = Ready {
        listener: false,
        connections: at_once,
    };
    for (_, owner) in fds.iter().zip(owners).filter(|(fd, _)| fd.revents != 0) {
        match owner {
            Some(index) => ready.connections.push(index),
            None => ready.listener = true,
        }
    }
    let waiting_for_a_job = |index: &usize| connections[*index].waits() == Waits::Job;
    ready
        .connections
        .extend((0..connections.len()).filter(waiting_for_a_job));
    ready.connections.dedup();
    Ok(ready)
}
