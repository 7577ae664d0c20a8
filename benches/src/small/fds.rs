//! The wait fds of a paused handshake into a buffer, here and in C.

use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use foreign_types::ForeignTypeRef;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};
use openssl_async_jobs::{ffi, CurrentJob, ErrorCodeExt, SslAsyncExt, WaitKey};

use crate::identity::{Key, NAME};
use crate::peers::openssl_server;

/// A handshake that is paused, with one wait fd.
pub struct Paused {
    stream: SslStream<Memory>,
}

/// What the client has sent.
struct Memory(io::Cursor<Vec<u8>>);

impl Read for Memory {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self.0.read(to)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Default for Paused {
    fn default() -> Paused {
        let context = openssl_server(Key::EcdsaP256, |ctx| {
            ctx.set_servername_callback(|_, _| {
                static KEY: WaitKey = WaitKey::new();
                let job = CurrentJob::get().expect("in a job");
                let wait_context = job.wait_context().expect("a wait context");
                wait_context
                    .set_wait_fd(&KEY, eventfd())
                    .expect("a wait fd");
                job.pause().expect("it may pause");
                wait_context.clear_fd(&KEY).expect("its wait fd");
                Ok(())
            });
        });
        let ssl = Ssl::new(&context).expect("an Ssl");
        // SAFETY: it stays on its thread, and `drop` finishes what has paused (H1 to H3).
        unsafe { ssl.set_async_mode(true) };
        let memory = Memory(io::Cursor::new(client_hello()));
        let mut stream = SslStream::new(ssl, memory).expect("a stream");
        let paused = stream.accept().expect_err("it pauses");
        assert!(paused.code().is_want_async(), "{paused}");
        Paused { stream }
    }
}

impl Paused {
    /// The safe call.
    // Inlined, as the other is: the compiler had chosen one of the two, whose call was a part of it.
    #[inline(always)]
    pub fn here(&self, buffer: &mut [RawFd]) -> usize {
        let fds = self.stream.ssl().all_async_fds_into(buffer);
        fds.expect("a job has run").len()
    }

    /// The two calls in C: how many, and which.
    #[inline(always)]
    pub fn in_c(&self, buffer: &mut [RawFd]) -> usize {
        let ssl = self.stream.ssl().as_ptr();
        let mut len = 0;
        // SAFETY: a live SSL; the first call only counts, and the second has room for so many.
        unsafe {
            let counted = ffi::SSL_get_all_async_fds(ssl, std::ptr::null_mut(), &mut len);
            assert!(counted == 1 && len <= buffer.len());
            ffi::SSL_get_all_async_fds(ssl, buffer.as_mut_ptr(), &mut len);
        }
        len
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It goes on to where it wants to read.
        let done = self.stream.accept();
        assert!(done.is_err_and(|e| !e.code().is_want_async()), "finished");
    }
}

fn eventfd() -> OwnedFd {
    // SAFETY: takes numbers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a new one, which nobody else has.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn client_hello() -> Vec<u8> {
    struct Collect(Vec<u8>);
    impl Read for Collect {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
    impl Write for Collect {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.0.extend(from);
            Ok(from.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut context = SslContext::builder(SslMethod::tls_client()).expect("a context");
    context.set_verify(SslVerifyMode::NONE);
    let mut ssl = Ssl::new(&context.build()).expect("an Ssl");
    ssl.set_hostname(NAME).expect("a name");
    let mut stream = SslStream::new(ssl, Collect(Vec::new())).expect("a stream");
    let _ = stream.connect(); // it wants to read
    std::mem::take(&mut stream.get_mut().0)
}
