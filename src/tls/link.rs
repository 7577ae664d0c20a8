//! How a stream goes on between its connection and its transport: the same for std and for a
//! runtime, which differ in how they wait.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::task::Context;

use openssl::ssl::{self, ErrorCode, ShutdownResult, Ssl, SslRef};

use crate::error::Error;
use crate::tls::buffer::Plain;
use crate::tls::drive::is_fatal;
use crate::tls::polls::as_uninit;
use crate::tls::wakers::Caller;
use crate::tls::{Connection, Progress, Role};

/// What an operation is about: what it does about the transport while that does not take what there
/// is to send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Receives: the peer may have to send before it reads.
    Both,
    /// Likewise, and even if nothing can be sent any more.
    Read,
    /// Nothing: more and more would be received that nobody reads.
    Write,
}

/// A transport, for one call of the stream. It answers `WouldBlock` when the caller has to wait.
pub(crate) trait Transport: Read + Write {
    /// Calls an operation. If it pauses, this waits for it, or sees to it that the caller is told
    /// when to go on.
    fn call<T>(
        &mut self,
        link: &mut Link,
        operation: &mut impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<Progress<T>, Error>;

    /// Whether its calls wait.
    fn blocks(&self) -> bool;

    /// Whether its calls never do, whatever somebody has said.
    fn never_blocks(&self) -> bool;
}

/// A connection, and what is known of the transport it goes over.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// What the last operation is about.
    pub(super) last: Direction,
    /// What the last one was about that answered `WouldBlock`.
    pub(crate) waits: Direction,
    /// Whether a reader, or who does a handshake, waits for the transport to be readable.
    pub(crate) reader_wants_read: bool,
    /// Whether a writer does.
    pub(crate) writer_wants_read: bool,
    /// Why the transport takes nothing any more, once a read has gone on without.
    pub(super) broken: Option<ErrorKind>,
    /// Whether what was sent is to be flushed.
    pub(crate) flushes: bool,
    /// How many unsent bytes, of all there are, nobody waits for.
    pub(super) deferred: usize,
    /// Whether there was early data to send, which its peer waits for.
    pub(super) has_written_early: bool,
    /// Whether small writes wait for others, to be records together.
    pub(super) coalesces: bool,
    /// Plaintext of theirs.
    pub(super) coalesced: Plain,
    /// Plaintext of writes that the transport holds up, as long as nothing else is called.
    pub(super) held: Plain,
}

impl Link {
    pub(crate) fn new(ssl: Ssl) -> Result<Link, Error> {
        Ok(Link {
            connection: Connection::without_role(ssl)?,
            last: Direction::Both,
            waits: Direction::Both,
            reader_wants_read: false,
            writer_wants_read: false,
            broken: None,
            flushes: false,
            deferred: 0,
            has_written_early: false,
            coalesces: false,
            coalesced: Plain::default(),
            held: Plain::default(),
        })
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn set_coalescing(&mut self, on: bool) {
        self.coalesces = on;
    }

    pub(crate) fn ssl_mut(&mut self) -> Option<&mut SslRef> {
        // If that fails, what is called next is told.
        let _ = self.encrypt_held();
        self.connection.ssl_mut()
    }

    pub(crate) fn connect(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        self.connection.set_role(Role::Client);
        self.handshake(transport)
    }

    pub(crate) fn accept(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        self.connection.set_role(Role::Server);
        self.handshake(transport)
    }

    pub(crate) fn handshake(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        let mut is_first = false;
        self.drive(transport, Direction::Both, |connection, cx| {
            is_first = !connection.is_open();
            connection.poll_handshake(cx)
        })?;
        if is_first && !transport.blocks() && self.has_only_tickets() {
            self.defer();
            return Ok(());
        }
        match self.send(transport) {
            // It has sent its request and is gone; libssl, too, sends tickets to those.
            Err(e) if self.connection.is_server() && is_gone(&e) => Ok(()),
            sent => Ok(sent?),
        }
    }

    pub(crate) fn read(
        &mut self,
        transport: &mut impl Transport,
        to: &mut [u8],
    ) -> Result<usize, Error> {
        self.read_uninit(transport, as_uninit(to))
    }

    /// Fills `to` from its start, and says how much of it.
    pub(crate) fn read_uninit(
        &mut self,
        transport: &mut impl Transport,
        to: &mut [MaybeUninit<u8>],
    ) -> Result<usize, Error> {
        let has_plaintext = !self.coalesced.is_empty() || !self.held.is_empty();
        if self.connection.reads_nothing_yet() && !has_plaintext && !to.is_empty() {
            // libssl need not be asked what it wants.
            self.last = Direction::Read;
            self.reader_wants_read = false;
            if let Err(e) = self.receive(transport) {
                self.note_wait(Direction::Read, &e);
                return Err(e);
            }
        }
        let read = self.drive(transport, Direction::Read, |connection, cx| {
            connection.poll_read_uninit(cx, to)
        });
        match read {
            Ok(len) => {
                self.send_after_reading(transport, &to[..len]);
                Ok(len)
            }
            Err(e) => Err(self.write_before_waiting(transport, e)),
        }
    }

    pub(crate) fn peek(
        &mut self,
        transport: &mut impl Transport,
        to: &mut [u8],
    ) -> Result<usize, Error> {
        let peeked = self.drive(transport, Direction::Read, |connection, cx| {
            connection.poll_peek(cx, to)
        });
        match peeked {
            Ok(len) => {
                if !self.owes_nothing() {
                    let _ = self.send(transport);
                }
                Ok(len)
            }
            Err(e) => Err(self.write_before_waiting(transport, e)),
        }
    }

    #[cfg(ossl111)]
    pub(crate) fn read_early_data(
        &mut self,
        transport: &mut impl Transport,
        to: &mut [u8],
    ) -> Result<usize, Error> {
        self.drive(transport, Direction::Both, |connection, cx| {
            connection.poll_read_early_data(cx, to)
        })
    }

    #[cfg(ossl111)]
    pub(crate) fn write_early_data(
        &mut self,
        transport: &mut impl Transport,
        from: &[u8],
    ) -> Result<usize, Error> {
        self.has_written_early = true;
        let written = self.drive(transport, Direction::Both, |connection, cx| {
            connection.poll_write_early_data(cx, from)
        })?;
        // As for `write`.
        let _ = self.send(transport);
        Ok(written)
    }

    pub(crate) fn shutdown(
        &mut self,
        transport: &mut impl Transport,
    ) -> Result<ShutdownResult, Error> {
        self.write_kept(transport)?;
        let result = self.drive(transport, Direction::Both, Connection::poll_shutdown)?;
        if let Err(e) = self.send(transport) {
            // It is not closed before the peer can know: said when it is called again.
            self.connection.keep_shutdown(result);
            return Err(e.into());
        }
        Ok(result)
    }

    /// Calls an operation until it is done.
    pub(super) fn drive<T>(
        &mut self,
        transport: &mut impl Transport,
        direction: Direction,
        operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<T, Error> {
        self.write_held(transport)?;
        let done = self.go_on(transport, direction, operation);
        if let Err(e) = &done {
            self.note_wait(direction, e);
        }
        done
    }

    pub(super) fn note_wait(&mut self, direction: Direction, e: &Error) {
        if e.is_would_block() {
            self.waits = direction;
        }
    }

    fn go_on<T>(
        &mut self,
        transport: &mut impl Transport,
        direction: Direction,
        mut operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<T, Error> {
        self.last = direction;
        // A reader that waits does so whatever is written meanwhile.
        *self.wants_read() = false;
        loop {
            let progress = transport.call(self, &mut operation);
            match self.alerted(transport, progress)? {
                Progress::Done(value) => return Ok(value),
                Progress::WantsCiphertext => self.receive(transport)?,
                Progress::HasCiphertext
                    if direction == Direction::Read
                        && transport.never_blocks()
                        && self.owes_nothing() =>
                {
                    self.receive_before_sending(transport)?
                }
                Progress::HasCiphertext => {
                    if let Err(unsent) = self.send(transport) {
                        self.receive_instead(transport, direction, unsent)?;
                    }
                }
                Progress::Pending => {
                    // What it has brought so far; if that fails, it is said when it goes on.
                    let _ = self.send(transport);
                    return Err(Error::Io(ErrorKind::WouldBlock.into()));
                }
            }
        }
    }

    /// Of an error the peer shall have the alert; what is said is that error.
    pub(super) fn alerted<T>(
        &mut self,
        transport: &mut impl Transport,
        result: Result<T, impl Into<Error>>,
    ) -> Result<T, Error> {
        result.map_err(|e| {
            let _ = self.send(transport);
            e.into()
        })
    }

    /// When the transport has not taken all there is to send.
    fn receive_instead(
        &mut self,
        transport: &mut impl Transport,
        direction: Direction,
        unsent: io::Error,
    ) -> Result<(), Error> {
        let blocked = unsent.kind() == ErrorKind::WouldBlock;
        let flooded = self.connection.is_flooded();
        match direction {
            // A peer that asks and does not read is not asked for more.
            Direction::Both | Direction::Read if blocked && !flooded => self.receive(transport),
            Direction::Read if !blocked => {
                if flooded {
                    // Nobody gets it any more. Who writes next is told.
                    self.broken = Some(unsent.kind());
                    self.connection.discard_unsent();
                }
                match self.receive(transport) {
                    Err(e) if e.is_would_block() => Err(unsent.into()),
                    received => received,
                }
            }
            Direction::Both | Direction::Read | Direction::Write => Err(unsent.into()),
        }
    }

    fn wants_read(&mut self) -> &mut bool {
        match self.last {
            Direction::Write => &mut self.writer_wants_read,
            Direction::Both | Direction::Read => &mut self.reader_wants_read,
        }
    }

    /// Receives something, or the end.
    pub(super) fn receive(&mut self, transport: &mut impl Transport) -> Result<(), Error> {
        loop {
            match self.connection.receive_from(transport) {
                Ok(_) => {
                    // It may be what the other one waits for.
                    self.reader_wants_read = false;
                    self.writer_wants_read = false;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    *self.wants_read() |= e.kind() == ErrorKind::WouldBlock;
                    return Err(e.into());
                }
            }
        }
    }

    /// The peer may wait for what was coalesced, when a read waits for it.
    fn write_before_waiting(&mut self, transport: &mut impl Transport, waits: Error) -> Error {
        if self.coalesced.is_empty()
            || !waits.is_would_block()
            || !self.connection.is_between_handshakes()
        {
            return waits;
        }
        let direction = self.waits;
        let written = self.write_coalesced(transport, Caller::Reader);
        // The reader goes on waiting as it does.
        (self.last, self.waits) = (Direction::Read, direction);
        match written {
            Err(Error::Ssl(e)) if is_fatal(&e) => Error::Ssl(e),
            Err(Error::Ssl(e)) => {
                self.connection.keep_write_error(e);
                waits
            }
            _ => waits,
        }
    }
}

/// Of an error in reading: whether it is the end of the stream, as rust-openssl's has it.
pub(crate) fn is_end(e: &ssl::Error) -> bool {
    e.code() == ErrorCode::ZERO_RETURN || (e.code() == ErrorCode::SYSCALL && e.io_error().is_none())
}

fn is_gone(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
