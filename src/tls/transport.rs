//! The transport of a std stream: it blocks, or a poller waits for it.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use openssl::ssl;

use crate::error::Error;
use crate::job::{noop_waker, try_block_on, WakeFd, Watcher};
use crate::tls::link::{Link, Transport};
use crate::tls::{Connection, Progress};

/// What the waker of a paused operation makes readable, for pollers.
pub(super) type Wake = Option<(Arc<WakeFd>, Waker)>;

/// A stream's transport, for one call.
pub(super) struct StdTransport<'a, S> {
    pub(super) transport: &'a mut S,
    pub(super) blocks: fn(&S) -> bool,
    pub(super) wake: &'a mut Wake,
}

impl<S: Read> Read for StdTransport<'_, S> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.transport.read(to)
    }
}

impl<S: Write> Write for StdTransport<'_, S> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.transport.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.transport.flush()
    }
}

impl<S: Read + Write> Transport for StdTransport<'_, S> {
    /// If it pauses, waits for it on a blocking transport, and else has its waker make the wake fd
    /// readable.
    fn call<T>(
        &mut self,
        link: &mut Link,
        operation: &mut impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<Progress<T>, Error> {
        link.connection.set_watcher(Watcher::Owner);
        if self.wake.is_none() && link.connection.may_leave_jobs() && !self.blocks() {
            self.make_wake_fd()?;
        }
        let polled = match &self.wake {
            Some((fd, waker)) => {
                let woken = fd.clear();
                let polled = operation(&mut link.connection, &mut Context::from_waker(waker));
                // It may have been done without a look at what is in flight, which that was for.
                let done = !matches!(polled, Ok(Progress::Pending));
                if woken && done && link.connection.is_in_flight() {
                    fd.set();
                }
                polled
            }
            // It costs a file descriptor, which most operations never need.
            None => operation(
                &mut link.connection,
                &mut Context::from_waker(&noop_waker()),
            ),
        };
        if !link.connection.is_in_flight() && !link.connection.may_leave_jobs() {
            // A descriptor for each connection that has ever paused would be many.
            *self.wake = None;
        }
        match polled? {
            Progress::Pending if self.blocks() => {
                // What it has brought so far; if that fails, it is said when it goes on.
                let _ = link.send(self);
                link.connection.set_watcher(Watcher::Crate);
                let polled = try_block_on(
                    poll_fn(|cx| match operation(&mut link.connection, cx) {
                        Ok(Progress::Pending) => Poll::Pending,
                        other => Poll::Ready(other),
                    }),
                    None,
                )?;
                match polled {
                    Ok(progress) => Ok(progress?),
                    Err(_) => unreachable!("there is no time-out"),
                }
            }
            Progress::Pending if self.wake.is_none() => {
                let waker = self.make_wake_fd()?;
                Ok(operation(
                    &mut link.connection,
                    &mut Context::from_waker(&waker),
                )?)
            }
            other => Ok(other),
        }
    }

    fn blocks(&self) -> bool {
        (self.blocks)(self.transport)
    }

    fn never_blocks(&self) -> bool {
        false
    }
}

impl<S> StdTransport<'_, S> {
    fn make_wake_fd(&mut self) -> io::Result<Waker> {
        let fd = Arc::new(WakeFd::new()?);
        let waker = Waker::from(Arc::clone(&fd));
        *self.wake = Some((fd, waker.clone()));
        Ok(waker)
    }
}
