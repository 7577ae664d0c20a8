//! Wait fds of a test's own.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// A wait fd, and what makes it readable.
pub fn wait_fd() -> (UnixStream, UnixStream) {
    let (device, fd) = UnixStream::pair().unwrap();
    fd.set_nonblocking(true).unwrap();
    (device, fd)
}

pub fn make_readable(mut device: &UnixStream) {
    device.write_all(&[1]).unwrap();
}

/// How much is in it, which it takes out.
pub fn take_bytes(mut fd: &UnixStream) -> usize {
    fd.read(&mut [0; 64]).unwrap_or(0)
}

/// Moves it to this number, which is so high that no other test's file gets it meanwhile.
pub fn at_number(fd: UnixStream, number: RawFd) -> UnixStream {
    // SAFETY: an open file; `dup` finds the first free number from there.
    let moved = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) };
    assert_eq!(moved, number);
    // SAFETY: a new number, which nobody else has.
    UnixStream::from(unsafe { OwnedFd::from_raw_fd(moved) })
}
