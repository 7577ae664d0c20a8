//! One connection: what it does next, as far as it gets without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::RawFd;

use mio::net::TcpStream;
use openssl::ssl::{NameType, ShutdownResult, Ssl};
use openssl_async_jobs::SslStream;

use crate::http::{self, Method, Refusal, Request};
use crate::log::Log;
use crate::lookup::Lookups;
use crate::server::Counts;
use crate::Result;

/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;
/// How much of a refused client's rest is read, in bytes: with unread bytes the socket would be
/// reset, and the answer be lost.
const MOST_REST: usize = 4 * 1024 * 1024;

pub struct Connection {
    number: usize,
    stream: SslStream<TcpStream>,
    state: State,
    /// Plaintext that is not used yet.
    incoming: Vec<u8>,
}

enum State {
    Handshake,
    /// The head of a request, or the client's end, is next.
    Head,
    Body(Request),
    Answer(Answer),
    /// Our `close_notify` is next.
    Close,
    /// The client is told, and may have more to say than is read.
    Rest(usize),
}

struct Answer {
    bytes: Vec<u8>,
    written: usize,
    then: Box<State>,
}

impl State {
    fn answer(bytes: Vec<u8>, then: State) -> State {
        State::Answer(Answer {
            bytes,
            written: 0,
            then: Box::new(then),
        })
    }
}

/// Why a connection does not go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It waits.
    Waits,
    /// It has answered, and others have their turn.
    Again,
    Closed,
}

/// What all connections share.
pub struct Shared {
    pub lookups: Lookups,
    pub counts: Counts,
    pub log: Log,
}

impl Connection {
    pub fn new(number: usize, ssl: Ssl, socket: TcpStream) -> Result<Connection> {
        socket.set_nodelay(true)?;
        Ok(Connection {
            number,
            stream: SslStream::new(ssl, socket)?,
            state: State::Handshake,
            incoming: Vec::new(),
        })
    }

    /// What it waits for besides its socket: that one of these is readable.
    pub fn wait_fds(&self) -> Vec<RawFd> {
        self.stream.interest().fds
    }

    /// Goes on until it has to wait. It may be called at any time, and needs no reason: a lookup
    /// that is not done stays suspended.
    pub fn go_on(&mut self, shared: &mut Shared) -> Turn {
        loop {
            let error = match self.step(shared) {
                Ok(None) => continue,
                Ok(Some(turn)) => return turn,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Turn::Waits,
                Err(e) => e,
            };
            match self.state {
                State::Handshake => {
                    let why = shared.lookups.take_failure().unwrap_or(error.to_string());
                    self.report(shared, format_args!("no handshake: {why}"));
                    // It has been sent an alert.
                    self.state = self.close_socket();
                }
                State::Rest(_) => return Turn::Closed,
                _ => {
                    self.report(shared, error);
                    return Turn::Closed;
                }
            }
        }
    }

    fn step(&mut self, shared: &mut Shared) -> io::Result<Option<Turn>> {
        match &mut self.state {
            State::Handshake => {
                self.stream.accept()?;
                shared.counts.handshakes += 1;
                self.state = State::Head;
            }
            State::Head => match Request::parse(&self.incoming) {
                Ok(Some((request, len))) => {
                    self.incoming.drain(..len);
                    let waits = request.expects_continue && self.incoming.len() < request.body;
                    self.state = match waits {
                        true => State::answer(http::CONTINUE.to_owned(), State::Body(request)),
                        false => State::Body(request),
                    };
                }
                Ok(None) => self.receive()?,
                Err(refusal) => self.refuse(&refusal, shared),
            },
            State::Body(request) if self.incoming.len() < request.body => self.receive()?,
            State::Body(_) => self.answer(shared),
            State::Answer(answer) => {
                while answer.written < answer.bytes.len() {
                    answer.written += self.stream.write(&answer.bytes[answer.written..])?;
                }
                self.stream.flush()?;
                self.state = std::mem::replace(&mut *answer.then, State::Close);
                return Ok(Some(Turn::Again));
            }
            State::Close => match self.stream.shutdown().map_err(io::Error::from)? {
                ShutdownResult::Received => return Ok(Some(Turn::Closed)),
                ShutdownResult::Sent => self.state = self.close_socket(),
            },
            State::Rest(left) => match self.stream.get_mut().read(&mut [0; PIECE])? {
                0 => return Ok(Some(Turn::Closed)),
                len if len > *left => return Ok(Some(Turn::Closed)),
                len => *left -= len,
            },
        }
        Ok(None)
    }

    /// Reads what there is of a request, or that there will be no more.
    fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece)? {
            0 => self.state = State::Close,
            len => self.incoming.extend_from_slice(&piece[..len]),
        }
        Ok(())
    }

    /// The request and its body are there.
    fn answer(&mut self, shared: &mut Shared) {
        let State::Body(request) = std::mem::replace(&mut self.state, State::Close) else {
            return;
        };
        let body: Vec<u8> = self.incoming.drain(..request.body).collect();
        let bytes = match request.method {
            Method::Post => http::answer(&request, "application/octet-stream", &body),
            Method::Get | Method::Head => {
                let text = self.describe(&request, shared.lookups.in_flight());
                http::answer(&request, http::TEXT, text.as_bytes())
            }
        };
        shared.counts.answers += 1;
        self.report(
            shared,
            format_args!("{:?} {}: 200", request.method, request.path.escape_debug()),
        );
        self.state = State::answer(
            bytes,
            match request.keep_alive {
                true => State::Head,
                false => State::Close,
            },
        );
    }

    fn describe(&self, request: &Request, lookups: usize) -> String {
        let ssl = self.stream.ssl();
        format!(
            "path: {}\nserver name: {}\nversion: {}\ncipher: {}\nlookups in flight: {lookups}\n",
            request.path,
            ssl.servername(NameType::HOST_NAME).unwrap_or("none"),
            ssl.version_str(),
            ssl.current_cipher().map_or("none", |cipher| cipher.name()),
        )
    }

    fn refuse(&mut self, refusal: &Refusal, shared: &mut Shared) {
        shared.counts.answers += 1;
        self.report(shared, format_args!("{}: {}", refusal.status, refusal.why));
        self.state = State::answer(refusal.answer(), State::Close);
    }

    /// Tells the client that there is no more to come.
    fn close_socket(&mut self) -> State {
        // If it is closed already, so be it: the next read says so.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
        State::Rest(MOST_REST)
    }

    fn report(&self, shared: &Shared, text: impl std::fmt::Display) {
        shared.log.line(self.number, text);
    }
}
