//! A TLS connection without a transport (sans-IO), whose operations run as jobs.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::rc::Rc;

#[cfg(ossl111)]
use openssl::ssl::SslVersion;
use openssl::ssl::{self, ShutdownResult, Ssl, SslRef};

use crate::error::Error;
use crate::job::Watcher;
use crate::tls::drive::Kind;
use crate::tls::kept::Kept;
use crate::tls::operation::{InFlight, Operation};
use crate::tls::session::Session;
use crate::tls::wakers::{Caller, Wakers};
use crate::tls::{AsyncPolicy, Role};
use crate::trace::HandshakeSpan;

/// A TLS connection without a transport: ciphertext goes in and out of memory, and its operations
/// run as asynchronous jobs as its [`AsyncPolicy`] says.
///
/// Each `poll_` method goes on with one operation, and [`Progress`](crate::Progress) says what it needs. At any time
/// one operation is in flight at most: whichever the caller asks for next, it is finished first.
/// A reader and a writer may be tasks of their own. An operation that may pause owns its buffers. So reading and writing may take turns in any order
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
    pub(super) in_flight: InFlight,
    pub(super) session: Rc<Session>,
    pub(super) policy: AsyncPolicy,
    /// Whether it is told which side it is, or has begun, and must know.
    pub(super) has_role: bool,
    /// Whether the first handshake is over, done or failed. Later ones are not the policy's
    /// `Handshake`.
    pub(super) open: bool,
    /// A write that its caller was told is done, and that wants ciphertext.
    pub(super) accepted: Option<Operation>,
    /// What has come of operations that nobody asks for at the moment.
    pub(super) kept: Kept,
    /// What an operation that ran as a job wants ciphertext for, and none has come since: to run it
    /// again is to wait for a free job for nothing, and to take it from others.
    pub(super) starved: Option<Kind>,
    /// Who watches the wait fds of what is in flight.
    pub(super) watcher: Watcher,
    /// Whose call this is.
    pub(super) caller: Caller,
    /// Until the first handshake is over.
    pub(super) span: HandshakeSpan,
    /// Who else waits for what is in flight.
    pub(super) wakers: Wakers,
    /// Whether libssl has refused a write for good: some versions would take the next one all the same,
    /// and the peer could not decrypt it.
    pub(super) write_failed: bool,
    /// How many bytes of plaintext have been taken, by libssl or for it.
    pub(super) plaintext_taken: u64,
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
            watcher: Watcher::Crate,
            caller: Caller::Handshake,
            span: HandshakeSpan::default(),
            wakers: Wakers::default(),
            write_failed: false,
            plaintext_taken: 0,
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

    /// Whether this crate watches the [wait fds](Self::wait_fds), so that the waker is all that a
    /// caller needs: it does unless this says otherwise. For callers with a poller of their own,
    /// who spare it a thread that polls for them.
    ///
    /// ```
    /// # use openssl_async_jobs::Connection;
    /// fn for_an_event_loop(connection: &mut Connection) {
    ///     connection.set_watch_wait_fds(false);
    /// }
    /// ```
    pub fn set_watch_wait_fds(&mut self, on: bool) {
        self.set_watcher(match on {
            true => Watcher::Crate,
            false => Watcher::Owner,
        });
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
    /// go on, for callers who [watch them](Self::set_watch_wait_fds) themselves. The waker is called
    /// for everything else: callbacks, futures and free jobs. There are none unless an engine or
    /// provider has paused it and has no callback. They may be others after each call, belong to
    /// the engine, and are only to be polled (H9).
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

    /// Runs every operation where it is called from here on.
    #[cfg(feature = "tokio")]
    pub(crate) fn never_run_jobs(&mut self) {
        self.policy = AsyncPolicy::Never;
    }

    /// Has nothing of this thread from here on, and runs no jobs (H1): between two operations, after
    /// the handshake. False if it is not there.
    #[cfg(feature = "tokio")]
    pub(crate) fn leave_thread(&mut self) -> bool {
        let ready = !self.is_in_flight() && self.is_between_handshakes();
        if !ready || !Session::leave_thread(&mut self.session) {
            return false;
        }
        self.wakers = Wakers::default();
        self.never_run_jobs();
        true
    }

    pub(crate) fn is_server(&self) -> bool {
        self.session.ssl().is_server()
    }

    /// Whether no handshake is going on, be it a later one. Not after a fatal error, either, with OpenSSL
    /// 1.1.1 and later.
    pub(crate) fn is_between_handshakes(&self) -> bool {
        self.open && self.session.ssl().is_init_finished()
    }

    /// Whether the first handshake is over, done or failed.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a first handshake that is done leaves nothing to send but session tickets, which its client
    /// can wait for.
    pub(crate) fn ends_with_tickets(&self) -> bool {
        #[cfg(ossl111)]
        return self.is_server() && self.session.ssl().version2() == Some(SslVersion::TLS1_3);
        #[cfg(not(ossl111))]
        false
    }

    /// For the next write, flush or shutdown.
    pub(crate) fn keep_write_error(&mut self, error: ssl::Error) {
        self.kept.write_error = Some(error);
    }

    /// For the next [`poll_shutdown`](Self::poll_shutdown).
    pub(crate) fn keep_shutdown(&mut self, result: ShutdownResult) {
        self.kept.shutdown = Some(Ok(result));
    }
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
