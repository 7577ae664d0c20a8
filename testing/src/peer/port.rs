//! Ports for programs that choose none themselves.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A port of this machine that nobody is given as long as this is there, but whoever asks for it by
/// its number, with `SO_REUSEADDR`, may have.
pub struct ReservedPort(OwnedFd);

impl ReservedPort {
    /// One that nobody has.
    #[allow(clippy::new_without_default)] // It takes a port.
    pub fn new() -> ReservedPort {
        // SAFETY: socket(2) takes numbers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "socket: {}", io::Error::last_os_error());
        // SAFETY: socket(2) has just made it for us.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let on: libc::c_int = 1;
        let mut address = any_port();
        let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        // SAFETY: each call is given a live value and its size; the socket is open.
        let bound = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_REUSEADDR,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            ) == 0
                && libc::bind(socket.as_raw_fd(), (&raw mut address).cast(), len) == 0
        };
        assert!(bound, "bind: {}", io::Error::last_os_error());
        ReservedPort(socket)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        let mut address = any_port();
        let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        // SAFETY: getsockname(2) fills a live value of that size.
        let found = unsafe {
            libc::getsockname(self.0.as_raw_fd(), (&raw mut address).cast(), &mut len) == 0
        };
        assert!(found, "getsockname: {}", io::Error::last_os_error());
        u16::from_be(address.sin_port)
    }
}

/// This machine's, without a number.
fn any_port() -> libc::sockaddr_in {
    // SAFETY: a struct of numbers, of which all may be zero.
    let mut address: libc::sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    address
}
