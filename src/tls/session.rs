//! What a connection and its job in flight share: the `Ssl` and its wire (H2, H3).

use std::cell::UnsafeCell;
use std::rc::Rc;

use foreign_types::ForeignTypeRef;
use openssl::ssl::{Ssl, SslRef, SslStream};

use crate::error::Error;
use crate::ffi;
use crate::job::JobOwner;
use crate::ssl_ext::SslAsyncExt;
use crate::tls::wire::{Wire, WireEnd};

/// On the heap, and alive until the last job on it has ended.
pub(crate) struct Session {
    /// rust-openssl's own stream, so that errors are its own. Whoever runs an operation has it.
    stream: UnsafeCell<SslStream<WireEnd>>,
    /// The stream's, to be looked at while an operation has the stream.
    ssl: *mut openssl_sys::SSL,
    pub(crate) wire: Rc<Wire>,
    /// Keeps what engines register from operation to operation.
    pub(crate) owner: JobOwner,
}

impl Session {
    pub(crate) fn new(ssl: Ssl) -> Result<Rc<Session>, Error> {
        refuse_datagrams(&ssl)?;
        // A job of libssl's own would use the caller's buffers (H2).
        // SAFETY: nothing is paused on an `Ssl` that nobody else has, and without the mode nothing
        // will be.
        unsafe { ssl.set_async_mode(false) };
        release_idle_buffers(&ssl);
        let raw = ssl.as_ptr();
        let wire = Rc::new(Wire::default());
        let stream = SslStream::new(ssl, WireEnd(Rc::clone(&wire)))?;
        Ok(Rc::new(Session {
            stream: UnsafeCell::new(stream),
            ssl: raw,
            wire,
            owner: JobOwner::new(),
        }))
    }

    /// Frees what is this thread's. True if nobody else has anything of it, so that it may go to
    /// another thread.
    #[cfg(feature = "tokio")]
    pub(crate) fn leave_thread(session: &mut Rc<Session>) -> bool {
        let Some(session) = Rc::get_mut(session) else {
            return false;
        };
        // The wire is the stream's, too.
        session.owner.forget() && Rc::strong_count(&session.wire) == 2
    }

    /// To look at. Not at its ex_data while an operation is in flight: a callback may hold a `&mut`
    /// to that.
    pub(crate) fn ssl(&self) -> &SslRef {
        // SAFETY: the stream owns it, and lives as long as `self`.
        unsafe { SslRef::from_ptr(self.ssl) }
    }

    /// After a read: whether there is nothing for the next one, not even the beginning of a record.
    pub(crate) fn is_read_out(&self) -> bool {
        // SAFETY: a live SSL, and libssl only looks.
        self.wire.incoming_len() == 0 && unsafe { ffi::SSL_has_pending(self.ssl) } == 0
    }

    /// Whether libssl takes no more plaintext, as our `close_notify` has been written.
    pub(crate) fn has_sent_shutdown(&self) -> bool {
        // SAFETY: a live SSL, and libssl only looks.
        unsafe { openssl_sys::SSL_get_shutdown(self.ssl) & openssl_sys::SSL_SENT_SHUTDOWN != 0 }
    }

    /// # Safety
    ///
    /// No operation is in flight, and nobody else has it.
    #[allow(clippy::mut_from_ref)] // Shared with the job, which has it while it is in flight.
    pub(crate) unsafe fn ssl_mut(&self) -> &mut SslRef {
        // SAFETY: as in `ssl`; the caller's.
        unsafe { SslRef::from_ptr_mut(self.ssl) }
    }

    /// # Safety
    ///
    /// The caller runs the one operation, and nobody else has the stream meanwhile.
    #[allow(clippy::mut_from_ref)] // Likewise.
    pub(crate) unsafe fn stream(&self) -> &mut SslStream<WireEnd> {
        // SAFETY: the caller's.
        unsafe { &mut *self.stream.get() }
    }
}

/// As the contexts of rust-openssl's connectors and acceptors do.
fn release_idle_buffers(ssl: &SslRef) {
    // SAFETY: a live SSL; a mode of two numbers.
    unsafe {
        openssl_sys::SSL_ctrl(
            ssl.as_ptr(),
            openssl_sys::SSL_CTRL_MODE,
            openssl_sys::SSL_MODE_RELEASE_BUFFERS as _,
            std::ptr::null_mut(),
        );
    }
}

/// A stream has no edges; DTLS and QUIC need those of their datagrams.
fn refuse_datagrams(ssl: &SslRef) -> Result<(), Error> {
    // SAFETY: a live SSL.
    if unsafe { ffi::SSL_is_dtls(ssl.as_ptr()) } != 0 {
        return Err(Error::NotTls { protocol: "DTLS" });
    }
    #[cfg(ossl320)]
    // SAFETY: likewise.
    if unsafe { ffi::SSL_is_quic(ssl.as_ptr()) } != 0 {
        return Err(Error::NotTls { protocol: "QUIC" });
    }
    Ok(())
}
