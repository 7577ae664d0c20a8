//! How the std stream goes on: between its connection, its transport and paused jobs.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use openssl::ssl;

use crate::error::Error;
use crate::job::{noop_waker, try_block_on, WakeFd, Watcher};
use crate::tls::{Connection, Progress, SslStream};

/// What an operation is about: what it does about the transport while that does not take what there
/// is to send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Receives: the peer may have to send before it reads.
    Both,
    /// Likewise, and even if nothing can be sent any more.
    Read,
    /// Nothing: more and more would be received that nobody reads.
    Write,
}

impl<S: Read + Write> SslStream<S> {
    /// Calls an operation until it is done.
    pub(super) fn drive<T>(
        &mut self,
        direction: Direction,
        operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<T, Error> {
        let done = self.go_on(direction, operation);
        if matches!(&done, Err(e) if e.is_would_block()) {
            self.waits = direction;
        }
        done
    }

    fn go_on<T>(
        &mut self,
        direction: Direction,
        mut operation: impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<T, Error> {
        self.last = direction;
        // A reader that waits does so whatever is written meanwhile.
        *self.wants_read() = false;
        loop {
            let progress = match self.poll(&mut operation) {
                Ok(progress) => progress,
                Err(e) => {
                    // The peer shall have the alert; the error is this one.
                    let _ = self.send();
                    return Err(e);
                }
            };
            match progress {
                Progress::Done(value) => return Ok(value),
                Progress::WantsCiphertext => self.receive()?,
                Progress::HasCiphertext => {
                    if let Err(unsent) = self.send() {
                        self.receive_instead(direction, unsent)?;
                    }
                }
                Progress::Pending => {
                    // What it has brought so far; if that fails, it is said when it goes on.
                    let _ = self.send();
                    return Err(Error::Io(ErrorKind::WouldBlock.into()));
                }
            }
        }
    }

    /// When the transport has not taken all there is to send.
    pub(super) fn receive_instead(
        &mut self,
        direction: Direction,
        unsent: io::Error,
    ) -> Result<(), Error> {
        let blocked = unsent.kind() == ErrorKind::WouldBlock;
        let flooded = self.connection.is_flooded();
        match direction {
            // A peer that asks and does not read is not asked for more.
            Direction::Both | Direction::Read if blocked && !flooded => self.receive(),
            Direction::Read if !blocked => {
                if flooded {
                    // Nobody gets it any more. Who writes next is told.
                    self.broken = Some(unsent.kind());
                    self.connection.discard_unsent();
                }
                match self.receive() {
                    Err(e) if e.is_would_block() => Err(unsent.into()),
                    received => received,
                }
            }
            Direction::Both | Direction::Read | Direction::Write => Err(unsent.into()),
        }
    }

    fn wants_read(&mut self) -> &mut bool {
        match self.last {
            Direction::Write => &mut self.writer_wants_read,
            Direction::Both | Direction::Read => &mut self.reader_wants_read,
        }
    }

    /// Calls an operation; if it pauses, waits for it on a blocking transport, and else has its
    /// waker make the wake fd readable.
    pub(super) fn poll<T>(
        &mut self,
        operation: &mut impl FnMut(&mut Connection, &mut Context<'_>) -> Result<Progress<T>, ssl::Error>,
    ) -> Result<Progress<T>, Error> {
        self.connection.set_watcher(Watcher::Owner);
        if self.wake.is_none() && self.connection.may_leave_jobs() && !self.blocks() {
            self.make_wake_fd()?;
        }
        let polled = match &self.wake {
            Some((fd, waker)) => {
                let woken = fd.clear();
                let polled = operation(&mut self.connection, &mut Context::from_waker(waker));
                // It may have been done without a look at what is in flight, which that was for.
                let done = !matches!(polled, Ok(Progress::Pending));
                if woken && done && self.connection.is_in_flight() {
                    fd.set();
                }
                polled
            }
            // It costs a file descriptor, which most operations never need.
            None => operation(
                &mut self.connection,
                &mut Context::from_waker(&noop_waker()),
            ),
        };
        if !self.connection.is_in_flight() && !self.connection.may_leave_jobs() {
            // A descriptor for each connection that has ever paused would be many.
            self.wake = None;
        }
        match polled? {
            Progress::Pending if self.blocks() => {
                // What it has brought so far; if that fails, it is said when it goes on.
                let _ = self.send();
                self.connection.set_watcher(Watcher::Crate);
                let polled = try_block_on(
                    poll_fn(|cx| match operation(&mut self.connection, cx) {
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
                    &mut self.connection,
                    &mut Context::from_waker(&waker),
                )?)
            }
            other => Ok(other),
        }
    }

    pub(super) fn make_wake_fd(&mut self) -> io::Result<Waker> {
        let fd = Arc::new(WakeFd::new()?);
        let waker = Waker::from(Arc::clone(&fd));
        self.wake = Some((fd, waker.clone()));
        Ok(waker)
    }

    pub(super) fn blocks(&self) -> bool {
        (self.blocks)(&self.transport)
    }

    /// Receives something, or the end.
    fn receive(&mut self) -> Result<(), Error> {
        loop {
            match self.connection.receive_from(&mut self.transport) {
                Ok(_) => {
                    // It may be what the other one waits for.
                    self.reader_wants_read = false;
                    self.writer_wants_read = false;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    *self.wants_read() |= e.kind() == ErrorKind::WouldBlock;
                    return Err(e.into());
                }
            }
        }
    }

    /// Sends all there is, and flushes it where libssl would.
    pub(super) fn send(&mut self) -> io::Result<()> {
        if let (Some(kind), true) = (self.broken, self.connection.unsent() > 0) {
            self.connection.discard_unsent();
            return Err(kind.into());
        }
        while self.connection.unsent() > 0 {
            match self.connection.send_to(&mut self.transport) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                sent => sent.map(|_| ())?,
            }
        }
        self.flushes |= self.connection.take_flush();
        while self.flushes {
            match self.transport.flush() {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                flushed => {
                    flushed?;
                    self.flushes = false;
                }
            }
        }
        Ok(())
    }

    /// The peer may wait for it, and the caller goes on elsewhere. If it fails, the next operation
    /// says so.
    pub(super) fn send_what_reading_brought(&mut self) {
        let _ = self.send();
    }
}
