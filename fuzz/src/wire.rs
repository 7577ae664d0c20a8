//! What an end needs around a connection: its transport, its wait fds, and a mode of libssl.

use std::io;

use foreign_types::ForeignTypeRef;
use openssl::ssl::SslRef;

pub fn clear_auto_retry(ssl: &SslRef) {
    const SSL_CTRL_CLEAR_MODE: libc::c_int = 78;
    // SAFETY: a live connection, and a flag.
    unsafe {
        openssl_sys::SSL_ctrl(
            ssl.as_ptr(),
            SSL_CTRL_CLEAR_MODE,
            openssl_sys::SSL_MODE_AUTO_RETRY,
            std::ptr::null_mut(),
        )
    };
}

/// A transport that takes so many bytes.
pub struct Limited<'a>(pub &'a mut Vec<u8>, pub usize);

impl io::Write for Limited<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let len = from.len().min(self.1);
        self.0.extend_from_slice(&from[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn any_readable(fds: &[i32]) -> bool {
    let mut polls: Vec<_> = fds
        .iter()
        .map(|&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    // SAFETY: an array of that length.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) > 0 }
}
