//! One end of a pair, and what must hold whatever is done with it.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use openssl::ssl::{self, ErrorCode, ShutdownResult, Ssl, SslVersion};
use openssl_async_jobs::{Connection, Progress, Role};

use crate::callbacks::{self, Injected};
use crate::contexts::contexts;
use crate::program::{Opening, Policy};
use crate::wire::{any_readable, clear_auto_retry, Limited};

/// What one end writes in all, in bytes: so that no input takes long.
const WRITE_LIMIT: usize = 400_000;

pub struct End {
    pub id: usize,
    /// `None` once it is dropped.
    connection: Option<Connection>,
    woken: Arc<Woken>,
    waker: Waker,
    /// Ciphertext on its way to this end.
    pub incoming: Vec<u8>,
    /// Plaintext that it was told is written.
    pub written: usize,
    /// Beyond that: of a write that failed, which may be sent in part.
    maybe_written: usize,
    pub read: usize,
    /// The peer's `close_notify` was read.
    pub saw_end: bool,
    /// It was asked to close, and so does not write any more.
    closes: bool,
    /// Its `close_notify` is out, and to close further may throw plaintext away.
    has_closed: bool,
    pub failed: bool,
    /// An operation has failed, or plaintext may be missing for another reason of the input's.
    pub excused: bool,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl End {
    /// The ends of a pair have numbers that differ in the lowest bit.
    pub fn new(id: usize, role: Role, opening: Opening) -> End {
        let context = match role {
            Role::Client => &contexts().client,
            Role::Server => &contexts().server,
        };
        let mut ssl = Ssl::new(context).unwrap();
        ssl.set_ex_data(contexts().id, id);
        if opening.tls12 {
            ssl.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        }
        if opening.no_auto_retry {
            clear_auto_retry(&ssl);
        }
        if role == Role::Client {
            ssl.set_hostname("name.example").unwrap();
            if let Some(session) = callbacks::session().filter(|_| opening.resumes) {
                // SAFETY: a session of the same context.
                unsafe { ssl.set_session(&session) }.unwrap();
            }
        }
        let policy = opening.policies[id & 1];
        let mut connection = Connection::new(ssl, role).unwrap();
        connection.set_policy(policy.into());
        let woken = Arc::<Woken>::default();
        End {
            id,
            connection: Some(connection),
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            incoming: Vec::new(),
            written: 0,
            maybe_written: 0,
            read: 0,
            saw_end: false,
            closes: false,
            has_closed: false,
            failed: false,
            excused: false,
        }
    }

    pub fn set_policy(&mut self, policy: Policy) {
        if let Some(connection) = &mut self.connection {
            connection.set_policy(policy.into());
        }
    }

    pub fn handshake(&mut self) -> bool {
        let done = self.poll(Connection::poll_handshake);
        matches!(done, Some(Ok(Progress::Done(()))))
    }

    pub fn flush(&mut self) {
        self.poll(Connection::poll_flush);
    }

    /// Reads, and says how much: it is what the peer has written there.
    pub fn read(&mut self, peer: &End, size: usize) -> usize {
        let len = self.get(peer, size, Connection::poll_read);
        self.read += len;
        len
    }

    pub fn peek(&mut self, peer: &End, size: usize) {
        self.get(peer, size, Connection::poll_peek);
    }

    fn get(
        &mut self,
        peer: &End,
        size: usize,
        get: impl FnOnce(
            &mut Connection,
            &mut Context<'_>,
            &mut [u8],
        ) -> Result<Progress<usize>, ssl::Error>,
    ) -> usize {
        let mut buffer = vec![0; size];
        let len = match self.poll(|connection, cx| get(connection, cx, &mut buffer)) {
            Some(Ok(Progress::Done(len))) => len,
            _ => return 0,
        };
        assert!(len > 0 || size == 0, "no bytes, and no end");
        let so_far = self.read + len;
        assert!(
            so_far <= peer.written + peer.maybe_written,
            "more than was written"
        );
        assert!(
            buffer[..len]
                .iter()
                .copied()
                .eq(peer.plaintext(self.read, len)),
            "other bytes than those written, at {}",
            self.read
        );
        len
    }

    pub fn write(&mut self, size: usize) {
        let size = size.min(WRITE_LIMIT - self.written);
        if self.closes || self.excused {
            return;
        }
        let bytes: Vec<u8> = self.plaintext(self.written, size).collect();
        match self.poll(|connection, cx| connection.poll_write(cx, &bytes)) {
            Some(Ok(Progress::Done(len))) => {
                assert!(
                    len > 0 || size == 0,
                    "nothing is written, and why is not said"
                );
                self.written += len;
            }
            Some(Ok(_)) => {}
            None | Some(Err(_)) => self.maybe_written = size,
        }
    }

    /// What it writes: each byte says where it belongs.
    fn plaintext(&self, start: usize, len: usize) -> impl Iterator<Item = u8> {
        let salt = self.id as u32;
        (start as u32..(start + len) as u32)
            .map(move |at| (at.wrapping_add(salt << 20).wrapping_mul(0x9E37_79B1) >> 21) as u8)
    }

    pub fn shutdown(&mut self) {
        self.closes = true;
        self.excused |= self.has_closed;
        if let Some(Ok(Progress::Done(ShutdownResult::Sent))) = self.poll(Connection::poll_shutdown)
        {
            self.has_closed = true;
        }
    }

    /// Goes on with an operation.
    fn poll<T>(
        &mut self,
        operation: impl FnOnce(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Option<Result<Progress<T>, ssl::Error>> {
        let waits = self.waits();
        let connection = self.connection.as_mut()?;
        let woken = self.woken.0.swap(false, Ordering::SeqCst);
        let mut cx = Context::from_waker(&self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| operation(connection, &mut cx)));
        let in_flight = connection.is_in_flight();
        let Ok(result) = polled.map_err(|payload| self.raised(payload)) else {
            return None;
        };
        match result {
            Ok(Progress::Pending) => assert!(in_flight, "pending, and for nothing"),
            // It was for what is in flight, and this need not have gone on with that.
            _ if woken => self.woken.0.store(true, Ordering::SeqCst),
            _ => {}
        }
        // An orphan that ends in this call may wake this one.
        if waits && !self.woken.0.load(Ordering::SeqCst) {
            assert!(in_flight, "it went on without evidence (H6)");
        }
        if let Err(e) = &result {
            match e.code() {
                ErrorCode::ZERO_RETURN => self.saw_end = true,
                _ => (self.failed, self.excused) = (true, true),
            }
        }
        Some(result)
    }

    /// Whether something is in flight that cannot go on.
    pub fn waits(&self) -> bool {
        let Some(connection) = self.connection.as_ref().filter(|c| c.is_in_flight()) else {
            return false;
        };
        let mut fds = Vec::new();
        connection.wait_fds(&mut fds);
        !self.woken.0.load(Ordering::SeqCst) && !any_readable(&fds)
    }

    pub fn is_in_flight(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(Connection::is_in_flight)
    }

    /// A panic may come out of it, if the input has planned one.
    fn raised(&mut self, payload: Box<dyn std::any::Any + Send>) {
        assert!(payload.is::<Injected>(), "a panic of somebody else's");
        (self.failed, self.excused) = (true, true);
        // The job has ended, which the connection sees when it is called next.
        self.woken.0.store(true, Ordering::SeqCst);
    }

    pub fn drop_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(connection))) {
                self.raised(payload);
            }
            self.excused = true;
        }
    }

    /// Takes so much of its ciphertext at most.
    pub fn send(&mut self, most: usize, to: &mut Vec<u8>) -> usize {
        let Some(connection) = &mut self.connection else {
            return 0;
        };
        let mut taken = 0;
        while taken < most && connection.unsent() > 0 {
            let mut wire = Limited(to, most - taken);
            taken += connection.send_to(&mut wire).unwrap();
        }
        taken
    }

    /// Gives it so much of what has come for it, in chunks.
    pub fn deliver(&mut self, most: usize, chunk: usize) -> usize {
        let len = most.min(self.incoming.len());
        let bytes: Vec<u8> = self.incoming.drain(..len).collect();
        let Some(connection) = &mut self.connection else {
            return 0;
        };
        for mut chunk in bytes.chunks(chunk.max(1)) {
            while !chunk.is_empty() {
                connection.receive_from(&mut chunk).unwrap();
            }
        }
        len
    }

    pub fn cut(&mut self) {
        self.excused = true;
        if let Some(connection) = &mut self.connection {
            connection.receive_from(&mut io::empty()).unwrap();
        }
    }

    pub fn flip(&mut self, at: u16) {
        let bits = 8 * self.incoming.len();
        if bits > 0 {
            self.excused = true;
            let bit = usize::from(at) % bits;
            self.incoming[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
