//! poll(2) without `unsafe`, through mio.

use std::io;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Each call begins anew, so that each answer is what is so now, as with poll(2). `mio_server` shows
/// how to register once.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<usize> {
    let mut poll = Poll::new()?;
    for (index, fd) in fds.iter_mut().enumerate() {
        fd.revents = 0;
        let interest = match (fd.events & libc::POLLIN, fd.events & libc::POLLOUT) {
            (_, 0) => Interest::READABLE,
            (0, _) => Interest::WRITABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        poll.registry()
            .register(&mut SourceFd(&fd.fd), Token(index), interest)?;
    }
    let mut events = Events::with_capacity(fds.len().max(1));
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    poll.poll(&mut events, timeout)?;
    for event in &events {
        let fd = &mut fds[event.token().0];
        fd.revents = fd.events;
    }
    Ok(fds.iter().filter(|fd| fd.revents != 0).count())
}
