//! A TLS connection without a transport (sans-IO), whose operations run as jobs.

use std::fmt;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::task::{Context, Poll};

use openssl::ssl::{self, ErrorCode, ShutdownResult, Ssl, SslRef, SslStream};

use crate::error::Error;
use crate::job::Watcher;
use crate::tls::buffer::PIECE;
use crate::tls::kept::Kept;
use crate::tls::operation::{to_the_last_message, InFlight, Operation, Outcome, Plaintext};
use crate::tls::session::Session;
use crate::tls::wire::WireEnd;
use crate::tls::{AsyncPolicy, Progress, Role};

/// With so much ciphertext unsent, in bytes, nothing more is encrypted.
const UNSENT_LIMIT: usize = PIECE;
/// What the transport is offered to read into, in bytes, if there is a rest of the last read: a
/// record with its header and what a cipher adds.
const RECEIVE_ROOM: usize = 17 * 1024;
/// What a read that may pause asks for at most, in bytes: a record.
const READ_LIMIT: usize = 16 * 1024;

/// A TLS connection without a transport: ciphertext goes in and out of memory, and its operations
/// run as asynchronous jobs as its [`AsyncPolicy`] says.
///
/// Each `poll_` method goes on with one operation, and [`Progress`] says what it needs. At any time
/// one operation is in flight at most: whichever the caller asks for next, it is finished first.
/// An operation that may pause owns its buffers. So reading and writing may take turns in any order
/// and with any buffers, across any number of pauses: what a read brings after its caller has gone
/// is kept for the next reader, and a write that has paused has taken its bytes.
///
/// Errors are those of rust-openssl's [`SslStream`](openssl::ssl::SslStream) in the same place. After
/// one there may be ciphertext to send: the alert that tells the peer.
///
/// See [`SSL_read(3)`](https://docs.openssl.org/master/man3/SSL_read/) and
/// [`ASYNC_start_job(3)`](https://docs.openssl.org/master/man3/ASYNC_start_job/). OpenSSL 1.1.0 and
/// later.
///
/// # Send
///
/// It is neither `Send` nor `Sync`: it may have a job in flight (H1).
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<openssl_async_jobs::Connection>();
/// ```
///
/// # Dropping it
///
/// As for a [`Job`](crate::Job): what it has suspended on is cancelled, and what an engine has
/// paused is kept until the engine is done. No `close_notify` is sent.
///
/// # Example
///
/// A handshake over anything that reads and writes, on a thread that has nothing else to do.
///
/// ```
/// use openssl_async_jobs::{block_on, Connection, Progress};
/// use std::future::poll_fn;
/// use std::io::{Read, Write};
/// use std::task::Poll;
///
/// fn handshake<S: Read + Write>(
///     connection: &mut Connection,
///     transport: &mut S,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     loop {
///         // Pending until it needs something else than its own job.
///         let step = poll_fn(|cx| match connection.poll_handshake(cx) {
///             Ok(Progress::Pending) => Poll::Pending,
///             other => Poll::Ready(other),
///         });
///         let step = block_on(step, None).ok().expect("no time-out");
///         while connection.unsent() > 0 {
///             connection.send_to(transport)?;
///         }
///         match step? {
///             Progress::Done(()) => return Ok(()),
///             Progress::WantsCiphertext => connection.receive_from(transport).map(|_| ())?,
///             Progress::HasCiphertext | Progress::Pending => {}
///         }
///     }
/// }
/// ```
pub struct Connection {
    /// Before the session: a job in flight goes first.
    in_flight: InFlight,
    session: Rc<Session>,
    policy: AsyncPolicy,
    /// Whether it is told which side it is, or has begun, and must know.
    has_role: bool,
    /// Whether the first handshake is over, done or failed. Later ones are not the policy's
    /// `Handshake`.
    open: bool,
    /// A write that its caller was told is done, and that wants ciphertext.
    accepted: Option<Operation>,
    /// What has come of operations that nobody asks for at the moment.
    kept: Kept,
    /// What an operation that ran as a job wants ciphertext for, and none has come since: to run it
    /// again is to wait for a free job for nothing, and to take it from others.
    starved: Option<Kind>,
    /// Who watches the wait fds of what is in flight.
    watcher: Watcher,
    /// Neither `Send` nor `Sync` (H1).
    _thread: PhantomData<*mut ()>,
}

impl Connection {
    /// A connection of this `Ssl`, before its handshake.
    ///
    /// If the `Ssl` has the asynchronous mode of libssl (`SSL_MODE_ASYNC`), it is cleared: jobs are
    /// this crate's.
    ///
    /// # Errors
    ///
    /// [`Error::NotTls`] for DTLS and QUIC; [`Error::OpenSsl`] without memory.
    ///
    /// ```
    /// use openssl::ssl::{Ssl, SslContext, SslMethod};
    /// use openssl_async_jobs::{Connection, Error, Role};
    ///
    /// let context = SslContext::builder(SslMethod::tls())?.build();
    /// let client = Connection::new(Ssl::new(&context)?, Role::Client)?;
    /// assert_eq!(client.unsent(), 0);
    ///
    /// let context = SslContext::builder(SslMethod::dtls())?.build();
    /// let refused = Connection::new(Ssl::new(&context)?, Role::Client);
    /// assert!(matches!(refused, Err(Error::NotTls { protocol: "DTLS" })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn new(ssl: Ssl, role: Role) -> Result<Connection, Error> {
        let mut connection = Connection::without_role(ssl)?;
        connection.set_role(role);
        Ok(connection)
    }

    /// For streams, which are told later.
    pub(crate) fn without_role(ssl: Ssl) -> Result<Connection, Error> {
        Ok(Connection {
            in_flight: InFlight::Idle,
            session: Session::new(ssl)?,
            policy: AsyncPolicy::default(),
            has_role: false,
            open: false,
            accepted: None,
            kept: Kept::default(),
            starved: None,
            watcher: Watcher::Owner,
            _thread: PhantomData,
        })
    }

    /// Unless it has one: to set it is to begin anew.
    pub(crate) fn set_role(&mut self, role: Role) {
        if self.has_role || self.is_in_flight() {
            return;
        }
        self.has_role = true;
        // SAFETY: nothing is in flight.
        let ssl = unsafe { self.session.ssl_mut() };
        match role {
            Role::Client => ssl.set_connect_state(),
            Role::Server => ssl.set_accept_state(),
        }
    }

    pub(crate) fn set_watcher(&mut self, watcher: Watcher) {
        self.watcher = watcher;
    }

    /// Which operations run as jobs from now on: [`AsyncPolicy::Handshake`] unless this says
    /// otherwise.
    ///
    /// ```
    /// # use openssl_async_jobs::{AsyncPolicy, Connection};
    /// fn offload_records(connection: &mut Connection) {
    ///     connection.set_policy(AsyncPolicy::Always);
    /// }
    /// ```
    pub fn set_policy(&mut self, policy: AsyncPolicy) {
        self.policy = policy;
    }

    /// The `Ssl`, to look at.
    ///
    /// # Panics
    ///
    /// While an operation is [in flight](Self::is_in_flight): a callback that has paused may hold a
    /// `&mut` to what the `Ssl` keeps for it ([`ex_data_mut`](SslRef::ex_data_mut)).
    /// [`try_ssl`](Self::try_ssl) does not panic.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn version(connection: &Connection) -> &'static str {
    ///     connection.ssl().version_str()
    /// }
    /// ```
    #[track_caller]
    pub fn ssl(&self) -> &SslRef {
        self.try_ssl()
            .expect("an operation of this connection is in flight, and may have its Ssl: `try_ssl`")
    }

    /// The `Ssl`, to look at; `None` while an operation is in flight.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// # use openssl::ssl::NameType;
    /// fn server_name(connection: &Connection) -> Option<&str> {
    ///     connection.try_ssl()?.servername(NameType::HOST_NAME)
    /// }
    /// ```
    pub fn try_ssl(&self) -> Option<&SslRef> {
        match self.in_flight.is_idle() {
            true => Some(self.session.ssl()),
            false => None,
        }
    }

    /// The `Ssl`, to change; `None` while an operation is in flight, as a callback that has paused
    /// may hold it.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn ask_for(connection: &mut Connection, name: &str) -> Result<(), openssl::error::ErrorStack> {
    ///     match connection.ssl_mut() {
    ///         Some(ssl) => ssl.set_hostname(name),
    ///         None => Ok(()), // too late
    ///     }
    /// }
    /// ```
    pub fn ssl_mut(&mut self) -> Option<&mut SslRef> {
        self.starved = None;
        match self.in_flight.is_idle() {
            // SAFETY: nothing is in flight, and `self` is borrowed as long as it is used.
            true => Some(unsafe { self.session.ssl_mut() }),
            false => None,
        }
    }

    /// Whether an operation is in flight: paused, or waiting for a free job.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn may_configure(connection: &Connection) -> bool {
    ///     !connection.is_in_flight()
    /// }
    /// ```
    pub fn is_in_flight(&self) -> bool {
        !self.in_flight.is_idle()
    }

    /// Appends the file descriptors one of which becomes readable when the operation in flight can
    /// go on: besides the waker, which is called for callbacks, futures and free jobs. There are
    /// none unless an engine or provider has paused it and has no callback. They may be others
    /// after each call, belong to the engine, and are only to be polled (H9).
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn wait_fds(connection: &Connection) -> Vec<std::os::fd::RawFd> {
    ///     let mut fds = Vec::new();
    ///     connection.wait_fds(&mut fds);
    ///     fds
    /// }
    /// ```
    pub fn wait_fds(&self, fds: &mut Vec<RawFd>) {
        self.in_flight.extend_with_wait_fds(fds);
    }

    /// Reads ciphertext from the transport: once, as much as it gives at once. 0 is its end.
    ///
    /// # Errors
    ///
    /// Those of the transport; and [`InvalidData`](io::ErrorKind::InvalidData) if it says that it
    /// has read more than it was given room for.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn receive(connection: &mut Connection, mut bytes: &[u8]) -> std::io::Result<()> {
    ///     while !bytes.is_empty() {
    ///         connection.receive_from(&mut bytes)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn receive_from<R: Read + ?Sized>(&mut self, transport: &mut R) -> io::Result<usize> {
        self.starved = None;
        let mut incoming = self.session.wire.incoming();
        let room = incoming.room(RECEIVE_ROOM);
        let read = transport.read(room).and_then(|len| match len {
            len if len > room.len() => Err(claims_too_much()),
            len => Ok(len),
        });
        incoming.add(*read.as_ref().unwrap_or(&0));
        drop(incoming);
        if let Ok(0) = read {
            self.session.wire.end_incoming();
        }
        read
    }

    /// How many bytes of ciphertext there are to send.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn wants_to_send(connection: &Connection) -> bool {
    ///     connection.unsent() > 0
    /// }
    /// ```
    pub fn unsent(&self) -> usize {
        self.session.wire.outgoing().len()
    }

    /// Writes ciphertext to the transport: once, as much as it takes. What it does not take is
    /// kept. 0 if there is none.
    ///
    /// # Errors
    ///
    /// Those of the transport; [`WriteZero`](io::ErrorKind::WriteZero) if it takes nothing, and
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it says that it has written more than there
    /// was.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn send(connection: &mut Connection) -> std::io::Result<Vec<u8>> {
    ///     let mut sent = Vec::new();
    ///     while connection.unsent() > 0 {
    ///         connection.send_to(&mut sent)?;
    ///     }
    ///     Ok(sent)
    /// }
    /// ```
    pub fn send_to<W: Write + ?Sized>(&mut self, transport: &mut W) -> io::Result<usize> {
        let mut outgoing = self.session.wire.outgoing_mut();
        if outgoing.is_empty() {
            return Ok(0);
        }
        match transport.write(outgoing.bytes())? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            len if len > outgoing.len() => Err(claims_too_much()),
            len => {
                outgoing.consume(len);
                Ok(len)
            }
        }
    }

    /// Goes on with the handshake (`SSL_do_handshake`).
    ///
    /// # Errors
    ///
    /// Those of the handshake, be it that it was another method that went on with it.
    ///
    /// # Panics
    ///
    /// Like every `poll_` method: with what a future panicked that a callback had suspended on.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn is_done(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_handshake(cx), Ok(Progress::Done(())))
    /// }
    /// ```
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        match self.open && self.session.ssl().is_init_finished() {
            true => Ok(Progress::Done(())),
            false => self.handshake(cx),
        }
    }

    /// Reads plaintext (`SSL_read`): as much as there is, 1 byte at least.
    ///
    /// # Errors
    ///
    /// [`ZERO_RETURN`](ErrorCode::ZERO_RETURN) when the peer has closed the connection, and others
    /// as for rust-openssl's [`ssl_read`](openssl::ssl::SslStream::ssl_read).
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn read(
    ///     connection: &mut Connection,
    ///     cx: &mut Context<'_>,
    /// ) -> Result<Progress<usize>, openssl::ssl::Error> {
    ///     let mut buffer = [0; 4096];
    ///     connection.poll_read(cx, &mut buffer)
    /// }
    /// ```
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        match self.fill(cx, to.len())? {
            Progress::Done(()) => {}
            other => return Ok(other.without_value()),
        }
        if let Some(kept) = self.kept.take_plaintext(to) {
            return kept.map(Progress::Done);
        }
        let mut len = 0;
        // What is there already costs no call of the transport.
        while len < to.len() && (len == 0 || self.session.wire.incoming_len() > 0) {
            match self.inline(|stream| stream.ssl_read(&mut to[len..])) {
                Ok(Progress::Done(read)) => len += read,
                Ok(wants) if len == 0 => return Ok(wants),
                Ok(_) => break,
                Err(e) if len == 0 => return Err(e),
                Err(e) => {
                    self.kept.read_error = Some(e);
                    break;
                }
            }
        }
        Ok(Progress::Done(len))
    }

    /// Reads plaintext and leaves it for the next read (`SSL_peek`).
    ///
    /// # Errors
    ///
    /// As for [`poll_read`](Self::poll_read).
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn first_byte(connection: &mut Connection, cx: &mut Context<'_>) -> Option<u8> {
    ///     let mut byte = [0];
    ///     match connection.poll_peek(cx, &mut byte) {
    ///         Ok(Progress::Done(1)) => Some(byte[0]),
    ///         _ => None,
    ///     }
    /// }
    /// ```
    pub fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        match self.fill(cx, to.len())? {
            Progress::Done(()) => {}
            other => return Ok(other.without_value()),
        }
        match self.kept.peek_plaintext(to) {
            Some(kept) => kept.map(Progress::Done),
            None if to.is_empty() => Ok(Progress::Done(0)),
            None => self.inline(|stream| stream.ssl_peek(to)),
        }
    }

    /// Gets plaintext into `kept`, if that takes a job; else there is nothing kept and nothing in
    /// flight, the connection is open, and an inline call may be made.
    fn fill(&mut self, cx: &mut Context<'_>, len: usize) -> Result<Progress<()>, ssl::Error> {
        if len == 0 || self.kept.has_plaintext() {
            return Ok(Progress::Done(()));
        }
        match self.ready(cx)? {
            Progress::Done(()) => {}
            other => return Ok(other),
        }
        if self.kept.has_plaintext() || !self.runs_jobs() {
            return Ok(Progress::Done(()));
        }
        if self.starved == Some(Kind::Read) {
            return Ok(self.wants());
        }
        self.run(cx, Operation::Read(len.min(READ_LIMIT)))
    }

    /// Writes plaintext (`SSL_write`), as many records as there is room for unsent ciphertext.
    ///
    /// A write that may pause takes a copy, and is done with that: how it ends, the next write,
    /// flush or shutdown says.
    ///
    /// # Errors
    ///
    /// As for rust-openssl's [`ssl_write`](openssl::ssl::SslStream::ssl_write), for this write or
    /// for what was written before.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn write(
    ///     connection: &mut Connection,
    ///     cx: &mut Context<'_>,
    /// ) -> Result<Progress<usize>, openssl::ssl::Error> {
    ///     connection.poll_write(cx, b"hello")
    /// }
    /// ```
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Result<Progress<usize>, ssl::Error> {
        if from.is_empty() {
            return Ok(Progress::Done(0));
        }
        match self.written(cx)? {
            Progress::Done(()) => {}
            other => return Ok(other.without_value()),
        }
        match self.ready(cx)? {
            Progress::Done(()) => {}
            other => return Ok(other.without_value()),
        }
        if self.unsent() >= UNSENT_LIMIT {
            return Ok(Progress::HasCiphertext);
        }
        if self.runs_jobs() {
            let len = from.len().min(UNSENT_LIMIT);
            return self.accept(cx, len, Operation::Write(Plaintext::new(&from[..len])));
        }
        let mut len = 0;
        while len < from.len() && self.unsent() < UNSENT_LIMIT {
            // Without SSL_MODE_ENABLE_PARTIAL_WRITE it takes all that it is given.
            let piece = &from[len..from.len().min(len + UNSENT_LIMIT)];
            match self.inline(|stream| stream.ssl_write(piece)) {
                Ok(Progress::Done(written)) => len += written,
                Ok(wants) if len == 0 => return Ok(wants),
                Ok(_) => break,
                Err(e) if len == 0 => return Err(e),
                Err(e) => {
                    self.kept.write_error = Some(e);
                    break;
                }
            }
        }
        Ok(Progress::Done(len))
    }

    /// Begins a write that owns its plaintext: with that the caller's is written.
    pub(crate) fn accept(
        &mut self,
        cx: &mut Context<'_>,
        len: usize,
        write: Operation,
    ) -> Result<Progress<usize>, ssl::Error> {
        // Paused, or stuck for want of ciphertext, it goes on later.
        let _ = self.run(cx, write)?;
        match self.kept.write_error.take() {
            Some(e) => Err(e),
            None => Ok(Progress::Done(len)),
        }
    }

    /// Whether all that was written has been encrypted and taken by
    /// [`send_to`](Self::send_to).
    ///
    /// # Errors
    ///
    /// Those of the writes before it.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn is_flushed(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_flush(cx), Ok(Progress::Done(())))
    /// }
    /// ```
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        match self.written(cx)? {
            Progress::Done(()) if self.unsent() > 0 => Ok(Progress::HasCiphertext),
            other => Ok(other),
        }
    }

    /// Closes the connection (`SSL_shutdown`), after what was written before: first with
    /// [`Sent`](ShutdownResult::Sent), when our `close_notify` is there to be sent; then with
    /// [`Received`](ShutdownResult::Received), when the peer's has come.
    ///
    /// # Errors
    ///
    /// As for rust-openssl's [`shutdown`](openssl::ssl::SslStream::shutdown), and those of the
    /// writes before it.
    ///
    /// ```
    /// # use openssl_async_jobs::{Connection, Progress};
    /// # use std::task::Context;
    /// fn close(connection: &mut Connection, cx: &mut Context<'_>) -> bool {
    ///     matches!(connection.poll_shutdown(cx), Ok(Progress::Done(_)))
    /// }
    /// ```
    pub fn poll_shutdown(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<Progress<ShutdownResult>, ssl::Error> {
        match self.written(cx)? {
            Progress::Done(()) => {}
            other => return Ok(other.without_value()),
        }
        if self.kept.shutdown.is_none() && !self.runs_jobs() {
            return self.inline(|stream| stream.shutdown());
        }
        if self.kept.shutdown.is_none() && self.starved == Some(Kind::Shutdown) {
            return Ok(self.wants());
        }
        if self.kept.shutdown.is_none() {
            match self.run(cx, Operation::Shutdown)? {
                Progress::Done(()) => {}
                other => return Ok(other.without_value()),
            }
        }
        match self.kept.shutdown.take() {
            Some(result) => result.map(Progress::Done),
            None => Ok(Progress::Pending),
        }
    }

    /// For the next write, flush or shutdown.
    pub(crate) fn keep_write_error(&mut self, error: ssl::Error) {
        self.kept.write_error = Some(error);
    }

    /// Whether libssl wants what was written to be flushed, since this was asked last.
    pub(crate) fn take_flush(&mut self) -> bool {
        self.session.wire.take_flush()
    }

    /// For the next [`poll_shutdown`](Self::poll_shutdown).
    pub(crate) fn keep_shutdown(&mut self, result: ShutdownResult) {
        self.kept.shutdown = Some(Ok(result));
    }

    /// Finishes what is in flight, and has libssl take what it was not able to take before. It may
    /// still not be: then `accepted` is there.
    pub(crate) fn settle(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ssl::Error> {
        if self.advance(cx)?.is_pending() {
            return Ok(Poll::Pending);
        }
        if self.starved == Some(Kind::Write) {
            return Ok(Poll::Ready(()));
        }
        let Some(write) = self.accepted.take() else {
            return Ok(Poll::Ready(()));
        };
        if self.runs_jobs() {
            return Ok(match self.run(cx, write)? {
                Progress::Pending => Poll::Pending,
                _ => Poll::Ready(()),
            });
        }
        let wire = Rc::clone(&self.session.wire);
        let outcome = write.run(&wire, self.stream());
        self.absorb(outcome)?;
        Ok(Poll::Ready(()))
    }

    /// [`settle`](Self::settle), until all that was written is encrypted.
    pub(crate) fn written(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        match self.kept.write_error.take() {
            Some(e) => Err(e),
            None if self.accepted.is_some() => Ok(self.wants()),
            None => Ok(Progress::Done(())),
        }
    }

    /// Settles, and has the first handshake done.
    fn ready(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.settle(cx)?.is_pending() {
            return Ok(Progress::Pending);
        }
        match self.open {
            true => Ok(Progress::Done(())),
            false => self.handshake(cx),
        }
    }

    /// With nothing in flight.
    fn handshake(&mut self, cx: &mut Context<'_>) -> Result<Progress<()>, ssl::Error> {
        if self.runs_jobs() {
            if self.starved == Some(Kind::Handshake) {
                return Ok(self.wants());
            }
            return self.run(cx, Operation::Handshake);
        }
        let progress = self.inline(|stream| stream.do_handshake());
        self.open |= match &progress {
            Ok(progress) => *progress == Progress::Done(()),
            Err(e) => is_fatal(e),
        };
        progress
    }

    /// Whether a write may be done while its job is in flight.
    pub(crate) fn may_leave_jobs(&self) -> bool {
        self.policy == AsyncPolicy::Always
    }

    pub(crate) fn runs_jobs(&self) -> bool {
        match self.policy {
            AsyncPolicy::Handshake => !self.open,
            AsyncPolicy::Always => true,
            AsyncPolicy::Never => false,
        }
    }

    /// Runs an operation as a job: done when its outcome is in `kept`.
    pub(crate) fn run(
        &mut self,
        cx: &mut Context<'_>,
        operation: Operation,
    ) -> Result<Progress<()>, ssl::Error> {
        self.has_role = true;
        self.starved = None;
        self.in_flight.begin(&self.session, operation);
        Ok(match self.advance(cx)? {
            Poll::Ready(Wants::Ciphertext) => self.wants(),
            Poll::Ready(Wants::Nothing) => Progress::Done(()),
            Poll::Pending => Progress::Pending,
        })
    }

    /// Goes on with what is in flight.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<Poll<Wants>, ssl::Error> {
        let Poll::Ready((outcome, panic)) = self.in_flight.poll(self.watcher, cx) else {
            return Ok(Poll::Pending);
        };
        let wants = match outcome {
            Some(outcome) => self.absorb(outcome),
            None => Ok(Wants::Nothing),
        };
        match panic {
            Some(payload) => resume_unwind(payload),
            None => wants.map(Poll::Ready),
        }
    }

    /// Keeps what has come of an operation, for whoever asks. A failed handshake is everybody's.
    fn absorb(&mut self, outcome: Outcome) -> Result<Wants, ssl::Error> {
        match outcome {
            Outcome::Handshake(Ok(())) => self.open = true,
            Outcome::Handshake(Err(e)) if wants_ciphertext(&e) => {
                self.starved = Some(Kind::Handshake);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Handshake(Err(e)) => {
                self.open |= is_fatal(&e);
                return Err(e);
            }

            Outcome::Read(Err(e)) if wants_ciphertext(&e) => {
                self.starved = Some(Kind::Read);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Read(result) => self.kept.keep_read(result),

            Outcome::Write(plaintext, Err(e)) if wants_ciphertext(&e) => {
                self.accepted = Some(Operation::Write(plaintext));
                self.starved = Some(Kind::Write);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Write(_, result) => self.kept.write_error = result.err(),

            Outcome::Shutdown(Err(e)) if wants_ciphertext(&e) => {
                self.starved = Some(Kind::Shutdown);
                return Ok(Wants::Ciphertext);
            }
            Outcome::Shutdown(result) => self.kept.shutdown = Some(result),

            #[cfg(ossl111)]
            Outcome::ReadEarly(Err(e)) if wants_ciphertext(&e) => return Ok(Wants::Ciphertext),
            #[cfg(ossl111)]
            Outcome::ReadEarly(result) => self.kept.early = Some(result),

            #[cfg(ossl111)]
            Outcome::WriteEarly(plaintext, Err(e)) if wants_ciphertext(&e) => {
                self.accepted = Some(Operation::WriteEarly(plaintext));
                self.starved = Some(Kind::Write);
                return Ok(Wants::Ciphertext);
            }
            #[cfg(ossl111)]
            Outcome::WriteEarly(_, result) => self.kept.write_error = result.err(),
        }
        Ok(Wants::Nothing)
    }

    /// Calls libssl here and now, with nothing in flight.
    pub(crate) fn inline<T>(
        &mut self,
        mut call: impl FnMut(&mut SslStream<WireEnd>) -> Result<T, ssl::Error>,
    ) -> Result<Progress<T>, ssl::Error> {
        self.has_role = true;
        self.starved = None;
        let wire = Rc::clone(&self.session.wire);
        let stream = self.stream();
        match to_the_last_message(&wire, || call(stream)) {
            Ok(value) => Ok(Progress::Done(value)),
            Err(e) if wants_ciphertext(&e) => Ok(self.wants()),
            Err(e) => Err(e),
        }
    }

    fn stream(&mut self) -> &mut SslStream<WireEnd> {
        assert!(self.in_flight.is_idle(), "an operation is in flight");
        // SAFETY: nothing is in flight (H2), and `self` is borrowed as long as it is used.
        unsafe { self.session.stream() }
    }

    /// What libssl cannot go on without the peer needs: first that it gets what it waits for.
    pub(crate) fn wants<T>(&self) -> Progress<T> {
        match self.unsent() {
            0 => Progress::WantsCiphertext,
            _ => Progress::HasCiphertext,
        }
    }

    #[cfg(ossl111)]
    pub(crate) fn kept(&mut self) -> &mut Kept {
        &mut self.kept
    }
}

/// An operation that its caller asks for again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Handshake,
    Read,
    Write,
    Shutdown,
}

/// Whether an outcome was that there is not enough ciphertext.
enum Wants {
    Nothing,
    Ciphertext,
}

/// Memory takes all that is written, so it is never the other way.
pub(crate) fn wants_ciphertext(e: &ssl::Error) -> bool {
    e.code() == ErrorCode::WANT_READ
}

/// Whether the connection is no more. Others may be called again, as that of a callback that wants
/// to be asked later.
fn is_fatal(e: &ssl::Error) -> bool {
    matches!(e.code(), ErrorCode::SSL | ErrorCode::SYSCALL)
}

fn claims_too_much() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the transport claims more bytes than it was given",
    )
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("ssl", &self.try_ssl())
            .field("policy", &self.policy)
            .field("in_flight", &self.is_in_flight())
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}
