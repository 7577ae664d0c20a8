//! `SslStream`s over non-blocking sockets, driven by poll(2) on nothing but their `interest()`.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use openssl::ssl::{ShutdownResult, Ssl};
use openssl_async_jobs::{Error, Interest, SslStream};

/// One end of a connection that sends and receives, and then closes.
pub struct Polled {
    pub stream: SslStream<UnixStream>,
    accepts: bool,
    stage: Stage,
    to_send: Vec<u8>,
    sent: usize,
    pub got: Vec<u8>,
    expects: usize,
    /// What it waits for.
    interest: Interest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Handshake,
    Data,
    Flush,
    Close,
    Done,
}

/// Two sockets that do not block.
pub fn sockets() -> (UnixStream, UnixStream) {
    let pair = UnixStream::pair().unwrap();
    pair.0.set_nonblocking(true).unwrap();
    pair.1.set_nonblocking(true).unwrap();
    pair
}

/// How much a socket takes before it is read.
pub fn set_send_buffer(socket: &UnixStream, bytes: libc::c_int) {
    // SAFETY: a socket that is open, and an option of that type.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            std::ptr::from_ref(&bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
}

impl Polled {
    pub fn new(ssl: Ssl, socket: UnixStream, accepts: bool, to_send: Vec<u8>) -> Polled {
        Polled {
            stream: SslStream::new(ssl, socket).unwrap(),
            accepts,
            stage: Stage::Handshake,
            expects: to_send.len(),
            to_send,
            sent: 0,
            got: Vec::new(),
            interest: Interest::default(),
        }
    }

    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Goes on as far as it can, and notes what it waits for.
    fn step(&mut self) {
        self.interest = Interest::default();
        while !self.is_done() && self.advance() {}
    }

    /// Whether there is more to do at once.
    fn advance(&mut self) -> bool {
        let next = match self.stage {
            Stage::Handshake => {
                let done = match self.accepts {
                    true => self.stream.accept(),
                    false => self.stream.connect(),
                };
                self.note(done).map(|()| Stage::Data)
            }
            Stage::Data => return self.advance_data(),
            Stage::Flush => {
                let done = self.stream.flush().map_err(Error::from);
                self.note(done).map(|()| Stage::Close)
            }
            Stage::Close => {
                let done = self.stream.shutdown();
                self.note(done).map(|result| match result {
                    ShutdownResult::Sent => Stage::Close,
                    ShutdownResult::Received => Stage::Done,
                })
            }
            Stage::Done => None,
        };
        self.stage = next.unwrap_or(self.stage);
        next.is_some()
    }

    /// Reads and writes take turns, and each may be what the other waits for.
    fn advance_data(&mut self) -> bool {
        let mut moved = false;
        if self.sent < self.to_send.len() {
            let written = self.stream.write(&self.to_send[self.sent..]);
            let written = self.note(written.map_err(Error::from));
            self.sent += written.unwrap_or(0);
            moved |= written.is_some();
        }
        if self.got.len() < self.expects {
            let mut buffer = [0; 3000];
            let read = self.stream.read(&mut buffer);
            if let Some(len) = self.note(read.map_err(Error::from)) {
                assert_ne!(len, 0, "an early end");
                self.got.extend_from_slice(&buffer[..len]);
                moved = true;
            }
        }
        if self.sent == self.to_send.len() && self.got.len() >= self.expects {
            self.stage = Stage::Flush;
            moved = true;
        }
        moved
    }

    fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        let interest = self.stream.interest();
        // What is not sent yet goes out even if nobody waits for it.
        self.interest.writable |= interest.writable;
        match result {
            Ok(value) => Some(value),
            Err(e) if e.is_would_block() => {
                assert!(
                    interest.readable || interest.writable || !interest.fds.is_empty(),
                    "it would block, and waits for nothing"
                );
                self.interest.readable |= interest.readable;
                self.interest.fds = interest.fds;
                None
            }
            Err(e) => panic!("{:?}, accepts: {}: {e}", self.stage, self.accepts),
        }
    }
}

/// Drives them to their ends; how often it was woken.
pub fn drive(ends: &mut [Polled], at_most: usize) -> usize {
    for woken in 0..=at_most {
        if !drive_once(ends, woken == 0) {
            return woken;
        }
    }
    let stages: Vec<_> = ends.iter().map(|end| (end.stage, &end.interest)).collect();
    panic!("woken {at_most} times, and not done: {stages:?}");
}

/// Waits once, and steps who is ready; all of them at first. Whether there is one that is not done.
pub fn drive_once(ends: &mut [Polled], first: bool) -> bool {
    if first {
        ends.iter_mut().for_each(Polled::step);
    }
    let mut polls = Vec::new();
    let mut owners = Vec::new();
    for (n, end) in ends.iter().enumerate().filter(|(_, end)| !end.is_done()) {
        let Interest {
            readable,
            writable,
            fds,
            ..
        } = &end.interest;
        let events =
            if *readable { libc::POLLIN } else { 0 } | if *writable { libc::POLLOUT } else { 0 };
        let socket = (events != 0).then(|| (end.stream.get_ref().as_raw_fd(), events));
        for (fd, events) in socket
            .into_iter()
            .chain(fds.iter().map(|fd| (*fd, libc::POLLIN)))
        {
            polls.push(libc::pollfd {
                fd,
                events,
                revents: 0,
            });
            owners.push(n);
        }
    }
    if polls.is_empty() {
        assert!(
            ends.iter().all(Polled::is_done),
            "nobody waits for anything"
        );
        return false;
    }
    // SAFETY: an array of that length.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 60_000) };
    assert!(ready > 0, "hangs: nothing of what they wait for has come");
    let mut woken: Vec<usize> = polls
        .iter()
        .zip(&owners)
        .filter(|(poll, _)| poll.revents != 0)
        .map(|(_, owner)| *owner)
        .collect();
    woken.dedup();
    for n in woken {
        ends[n].step();
    }
    true
}

/// Whether a read would block.
pub fn would_block<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    matches!(result, Err(e) if e.kind() == ErrorKind::WouldBlock)
}
