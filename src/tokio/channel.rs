//! What the tokio streams have in common: a link, its transport, and who waits for that.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use openssl::ssl::{ErrorCode, Ssl, SslRef};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::Error;
use crate::tls::{is_end, Caller, Connection, Link, Plain, WRITE_LIMIT};
use crate::tokio::task_transport::{TaskTransport, Waiting};

pin_project! {
    pub(crate) struct Channel<S> {
        link: Link,
        #[pin]
        transport: S,
        waiting: Waiting,
        // Whether our close_notify has gone to the transport.
        closed: bool,
    }
}

impl<S> Channel<S> {
    pub(crate) fn new(ssl: Ssl, transport: S) -> Result<Channel<S>, Error> {
        Ok(Channel {
            link: Link::new(ssl)?,
            transport,
            waiting: Waiting::default(),
            closed: false,
        })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.link.connection
    }

    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.link.connection
    }

    pub(crate) fn ssl_mut(&mut self) -> Option<&mut SslRef> {
        self.link.ssl_mut()
    }

    pub(crate) fn set_coalescing(&mut self, on: bool) {
        self.link.set_coalescing(on);
    }

    pub(crate) fn transport(&self) -> &S {
        &self.transport
    }

    pub(crate) fn transport_mut(&mut self) -> &mut S {
        &mut self.transport
    }

    pub(crate) fn transport_pin(self: Pin<&mut Self>) -> Pin<&mut S> {
        self.project().transport
    }

    /// Has nothing of this thread from here on, if it is between two operations after its
    /// handshake: no job in flight, and none to come.
    pub(crate) fn leave_thread(&mut self) -> bool {
        let left = self.link.connection.leave_thread();
        if left {
            self.waiting = Waiting::default();
        }
        left
    }
}

impl<S: AsyncRead + AsyncWrite> Channel<S> {
    /// Calls an operation of the link.
    pub(crate) fn poll<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        caller: Caller,
        operation: impl FnOnce(&mut Link, &mut TaskTransport<'_, '_, S>) -> Result<T, Error>,
    ) -> Poll<Result<T, Error>> {
        let this = self.project();
        let mut transport = TaskTransport {
            io: this.transport,
            cx,
            caller,
            waiting: this.waiting,
        };
        match operation(this.link, &mut transport) {
            Err(e) if e.is_would_block() => Poll::Pending,
            done => Poll::Ready(done),
        }
    }

    pub(crate) fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing there is de-initialized: bytes are written only.
        let unfilled: &mut [MaybeUninit<u8>] = unsafe { to.unfilled_mut() };
        let read = self.poll(cx, Caller::Reader, |link, transport| {
            link.read_uninit(transport, unfilled)
        });
        match ready!(read) {
            Ok(len) => {
                // SAFETY: so many were written from the start, as `read_uninit` says.
                unsafe { to.assume_init(len) };
                to.advance(len);
                Poll::Ready(Ok(()))
            }
            Err(Error::Ssl(e)) if is_end(&e) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e.into())),
        }
    }

    pub(crate) fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.poll(cx, Caller::Writer, |link, transport| {
            link.write(transport, from)
        });
        written.map_err(io::Error::from)
    }

    /// Small pieces are one record together.
    pub(crate) fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pieces = from.iter().filter(|piece| !piece.is_empty());
        let first: &[u8] = pieces.next().map_or(&[], |piece| piece);
        let Some(second) = pieces.next() else {
            return self.poll_write(cx, first);
        };
        if first.len() >= WRITE_LIMIT {
            return self.poll_write(cx, first);
        }
        let mut together = Plain::default();
        together.extend(first);
        for piece in std::iter::once(second).chain(pieces) {
            let room = WRITE_LIMIT - together.len();
            together.extend(&piece[..piece.len().min(room)]);
            if piece.len() >= room {
                break;
            }
        }
        self.poll_write(cx, together.bytes())
    }

    pub(crate) fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll(cx, Caller::Writer, |link, transport| link.flush(transport));
        flushed.map_err(io::Error::from)
    }

    pub(crate) fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.closed {
            let closed = self.as_mut().poll(cx, Caller::Writer, |link, transport| {
                link.shutdown(transport)
            });
            match ready!(closed) {
                Ok(_) => {}
                // As tokio-openssl.
                Err(Error::Ssl(e)) if e.code() == ErrorCode::ZERO_RETURN => {}
                Err(e) => return Poll::Ready(Err(e.into())),
            }
            *self.as_mut().project().closed = true;
        }
        let this = self.project();
        this.waiting.poll_shutdown(this.transport, cx)
    }
}
