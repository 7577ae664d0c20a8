//! One end of a connection by OpenSSL's ordinary means, with `SSL_MODE_ASYNC` or without.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use openssl::ssl::{Error, ErrorCode, ShutdownResult, Ssl, SslContextRef, SslRef, SslStream};

use openssl_async_jobs::{ErrorCodeExt, SslAsyncExt};

use super::{interest, pump, Attempt};

/// One end of a connection by OpenSSL's ordinary means.
///
/// Each operation is a closure to be called, by [`pump`] for one, until it is done.
pub struct End {
    /// Leaked if it is dropped while paused: a test that fails shall not crash as well.
    stream: ManuallyDrop<SslStream<UnixStream>>,
    paused: bool,
    pauses: u64,
    /// Kept by what the changed lists say, as a poller would.
    wait_fds: Vec<RawFd>,
    /// A paused job can be resumed on its own thread only.
    not_send: PhantomData<*const ()>,
}

impl End {
    /// A client.
    pub fn client(context: &SslContextRef, socket: UnixStream) -> End {
        let mut ssl = Ssl::new(context).expect("an SSL");
        ssl.set_connect_state();
        End::new(ssl, socket)
    }

    /// A server.
    pub fn server(context: &SslContextRef, socket: UnixStream) -> End {
        let mut ssl = Ssl::new(context).expect("an SSL");
        ssl.set_accept_state();
        End::new(ssl, socket)
    }

    /// A server whose operations OpenSSL runs as jobs.
    pub fn async_server(context: &SslContextRef, socket: UnixStream) -> End {
        let mut ssl = Ssl::new(context).expect("an SSL");
        ssl.set_accept_state();
        // SAFETY: an `End` is not `Send`; its operations borrow it and keep their buffers until
        // they are done; and `Drop` leaks a paused one.
        unsafe { ssl.set_async_mode(true) };
        End::new(ssl, socket)
    }

    fn new(ssl: Ssl, socket: UnixStream) -> End {
        End {
            stream: ManuallyDrop::new(SslStream::new(ssl, socket).expect("a stream")),
            paused: false,
            pauses: 0,
            wait_fds: Vec::new(),
            not_send: PhantomData,
        }
    }

    /// The connection.
    pub fn ssl(&self) -> &SslRef {
        self.stream.ssl()
    }

    /// How often an operation of this end has paused (`SSL_ERROR_WANT_ASYNC`).
    pub fn pauses(&self) -> u64 {
        self.pauses
    }

    /// The handshake.
    pub fn handshake(&mut self) -> impl FnMut() -> Attempt<()> + '_ {
        move || {
            let result = self.stream.do_handshake();
            self.attempt(result)
        }
    }

    /// Writes all of `data`.
    pub fn write_all<'a>(&'a mut self, data: &'a [u8]) -> impl FnMut() -> Attempt<()> + 'a {
        let mut written = 0;
        move || loop {
            let result = self.stream.ssl_write(&data[written..]);
            match self.attempt(result) {
                Attempt::Done(n) => written += n,
                Attempt::Wait(fds) => return Attempt::Wait(fds),
            }
            if written == data.len() {
                return Attempt::Done(());
            }
        }
    }

    /// Reads `length` bytes.
    pub fn read_exact(&mut self, length: usize) -> impl FnMut() -> Attempt<Vec<u8>> + '_ {
        let mut data = vec![0; length];
        let mut read = 0;
        move || loop {
            let result = self.stream.ssl_read(&mut data[read..]);
            match self.attempt(result) {
                Attempt::Done(n) => read += n,
                Attempt::Wait(fds) => return Attempt::Wait(fds),
            }
            if read == length {
                return Attempt::Done(std::mem::take(&mut data));
            }
        }
    }

    /// Sends close_notify and waits for the other's.
    pub fn shutdown(&mut self) -> impl FnMut() -> Attempt<()> + '_ {
        move || loop {
            let result = self.stream.shutdown();
            match self.attempt(result) {
                Attempt::Done(ShutdownResult::Sent) => {}
                Attempt::Done(ShutdownResult::Received) => return Attempt::Done(()),
                Attempt::Wait(fds) => return Attempt::Wait(fds),
            }
        }
    }

    fn attempt<T>(&mut self, result: Result<T, Error>) -> Attempt<T> {
        let error = match result {
            Ok(value) => {
                self.paused = false;
                return Attempt::Done(value);
            }
            Err(error) => error,
        };
        self.paused = error.code().is_want_async();
        let socket = self.stream.get_ref().as_raw_fd();
        match error.code() {
            ErrorCode::WANT_READ => Attempt::Wait(vec![interest(socket, libc::POLLIN)]),
            ErrorCode::WANT_WRITE => Attempt::Wait(vec![interest(socket, libc::POLLOUT)]),
            code if code.is_want_async() => {
                self.pauses += 1;
                self.follow_wait_fds();
                let fds = self.wait_fds.iter();
                Attempt::Wait(fds.map(|fd| interest(*fd, libc::POLLIN)).collect())
            }
            // An `End` belongs to a test: whatever else happens has failed it.
            code => panic!("{code:?}: {error}"),
        }
    }

    /// The three functions agree with each other, pause after pause.
    fn follow_wait_fds(&mut self) {
        let ssl = self.stream.ssl();
        assert!(ssl.waiting_for_async());
        let (added, deleted) = ssl.changed_async_fds().expect("a job has run");
        self.wait_fds.retain(|fd| !deleted.contains(fd));
        for fd in added {
            // Until a pause resets them, the lists say what a former job has added, too.
            if !self.wait_fds.contains(&fd) {
                self.wait_fds.push(fd);
            }
        }
        let mut all = ssl.all_async_fds().expect("a job has run");
        all.sort_unstable();
        self.wait_fds.sort_unstable();
        assert_eq!(self.wait_fds, all);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.paused {
            // SAFETY: ManuallyDrop::drop, once, and the stream is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.stream) }
        }
    }
}

/// The whole of a conversation: handshake, a mebibyte from the client and another one back, both
/// compared, and shutdown.
pub fn converse(client: &mut End, server: &mut End) {
    pump(client.handshake(), server.handshake());

    let question: Vec<u8> = (0..1_u32 << 20).map(|i| (i % 251) as u8).collect();
    let answer: Vec<u8> = question.iter().map(|byte| !byte).collect();
    let ((), heard) = pump(
        client.write_all(&question),
        server.read_exact(question.len()),
    );
    assert!(heard == question, "the server reads what the client wrote");
    let (heard, ()) = pump(client.read_exact(answer.len()), server.write_all(&answer));
    assert!(heard == answer, "the client reads what the server wrote");

    pump(client.shutdown(), server.shutdown());
}
