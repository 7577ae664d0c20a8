//! The transport of a tokio stream: a task waits for it.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use openssl::ssl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Error;
use crate::job::Watcher;
use crate::tls::{Caller, Connection, Link, Progress, Transport, Wakers};
use crate::tokio::reactor;

/// Who waits for the transport: a reader and a writer may be different tasks, and a transport knows
/// one of each kind.
#[derive(Default)]
pub(crate) struct Waiting {
    readable: Wakers,
    writable: Wakers,
}

/// A stream's transport, for one poll.
pub(crate) struct TaskTransport<'a, 'b, S> {
    pub(crate) io: Pin<&'a mut S>,
    pub(crate) cx: &'a mut Context<'b>,
    pub(crate) caller: Caller,
    pub(crate) waiting: &'a mut Waiting,
}

impl<S: AsyncRead> Read for TaskTransport<'_, '_, S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut to = ReadBuf::new(to);
        let io = self.io.as_mut();
        let polled = poll(&mut self.waiting.readable, self.caller, self.cx, |cx| {
            io.poll_read(cx, &mut to)
        });
        polled.map(|()| to.filled().len())
    }
}

impl<S: AsyncWrite> Write for TaskTransport<'_, '_, S> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let io = self.io.as_mut();
        poll(&mut self.waiting.writable, self.caller, self.cx, |cx| {
            io.poll_write(cx, from)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let io = self.io.as_mut();
        poll(&mut self.waiting.writable, self.caller, self.cx, |cx| {
            io.poll_flush(cx)
        })
    }
}

/// Polls the transport for this caller and the others that wait for the same. When it goes on, they
/// are told: it was their wake-up, too.
pub(super) fn poll<T>(
    waiting: &mut Wakers,
    caller: Caller,
    cx: &mut Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    let all = waiting.waker(caller, cx.waker());
    match poll(&mut Context::from_waker(all.as_ref().unwrap_or(cx.waker()))) {
        Poll::Pending => {
            waiting.wait(caller, cx.waker());
            Err(ErrorKind::WouldBlock.into())
        }
        Poll::Ready(result) => {
            waiting.wake_others(caller);
            result
        }
    }
}

impl Waiting {
    /// Polls the transport's end, as [`AsyncWrite::poll_shutdown`].
    pub(crate) fn poll_shutdown<S: AsyncWrite>(
        &mut self,
        io: Pin<&mut S>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match poll(&mut self.writable, Caller::Writer, cx, |cx| {
            io.poll_shutdown(cx)
        }) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Poll::Pending,
            closed => Poll::Ready(closed),
        }
    }
}

impl<S: AsyncRead + AsyncWrite> Transport for TaskTransport<'_, '_, S> {
    fn call<T>(
        &mut self,
        link: &mut Link,
        operation: &mut impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<Progress<T>, Error> {
        let connection = &mut link.connection;
        connection.set_watcher(Watcher::Reactor(reactor::register));
        Ok(operation(connection, self.cx)?)
    }

    fn blocks(&self) -> bool {
        false
    }

    fn never_blocks(&self) -> bool {
        true
    }
}
