//! A transport in memory that does what a script says. As a socket does, it wakes the one task of
//! each kind that has asked last.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A call that the transport gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Flush,
    Shutdown,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    All,
    AtMost(usize),
    /// Is pending, and wakes the caller at once.
    Later,
    /// Is pending, and wakes nobody: whoever asks next is told.
    Wait,
    Fail(ErrorKind),
}

type Script = Box<dyn FnMut(Call) -> Act + Send>;

struct Pipe {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Nothing more comes.
    ended: bool,
    /// Nobody reads it any more.
    refused: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Default for Pipe {
    fn default() -> Pipe {
        Pipe {
            bytes: VecDeque::new(),
            capacity: usize::MAX,
            ended: false,
            refused: false,
            reader: None,
            writer: None,
        }
    }
}

/// One direction, for the test to look at and to interfere with.
#[derive(Clone, Default)]
pub struct Way(Arc<Mutex<Pipe>>);

impl Way {
    fn lock(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What is on its way.
    pub fn len(&self) -> usize {
        self.lock().bytes.len()
    }

    /// How much may be on its way from now on.
    pub fn set_capacity(&self, bytes: usize) {
        let mut pipe = self.lock();
        pipe.capacity = bytes;
        let writer = pipe.writer.take();
        drop(pipe);
        writer.into_iter().for_each(Waker::wake);
    }

    /// Nothing more comes after what is there.
    pub fn end(&self) {
        let mut pipe = self.lock();
        pipe.ended = true;
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }

    pub fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Changes what is on its way, or adds to it.
    pub fn tamper(&self, with: impl FnOnce(&mut VecDeque<u8>)) {
        let mut pipe = self.lock();
        with(&mut pipe.bytes);
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }

    /// How many records are on their way, if they are whole.
    pub fn records(&self) -> usize {
        let pipe = self.lock();
        let (mut at, mut records) = (0, 0);
        while at < pipe.bytes.len() {
            let len = usize::from(pipe.bytes[at + 3]) << 8 | usize::from(pipe.bytes[at + 4]);
            at += 5 + len;
            records += 1;
        }
        assert_eq!(at, pipe.bytes.len(), "a piece of a record");
        records
    }
}

/// One end.
pub struct Wire {
    pub incoming: Way,
    pub outgoing: Way,
    script: Script,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// Two connected ends.
pub fn wires() -> (Wire, Wire) {
    let ways: [Way; 2] = Default::default();
    let end = |incoming: usize| Wire {
        incoming: ways[incoming].clone(),
        outgoing: ways[1 - incoming].clone(),
        script: Box::new(|_| Act::All),
        calls: Arc::default(),
    };
    (end(0), end(1))
}

impl Wire {
    pub fn with(mut self, script: impl FnMut(Call) -> Act + Send + 'static) -> Wire {
        self.set_script(script);
        self
    }

    pub fn set_script(&mut self, script: impl FnMut(Call) -> Act + Send + 'static) {
        self.script = Box::new(script);
    }

    /// The calls since this was asked last.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn act(&mut self, call: Call, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        self.calls.lock().unwrap().push(call);
        match (self.script)(call) {
            Act::All => Poll::Ready(Ok(usize::MAX)),
            Act::AtMost(limit) => Poll::Ready(Ok(limit)),
            Act::Fail(kind) => Poll::Ready(Err(kind.into())),
            Act::Wait => Poll::Pending,
            Act::Later => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

macro_rules! or_pending {
    ($poll:expr) => {
        match $poll {
            Poll::Ready(Ok(value)) => value,
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending => return Poll::Pending,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let limit = or_pending!(self.act(Call::Read, cx));
        let mut pipe = self.incoming.lock();
        let room = to.initialize_unfilled();
        let len = room.len().min(limit);
        let read = pipe.bytes.read(&mut room[..len])?;
        if read == 0 && !pipe.ended {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        to.advance(read);
        let writer = pipe.writer.take();
        drop(pipe);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let limit = or_pending!(self.act(Call::Write, cx));
        let mut pipe = self.outgoing.lock();
        if pipe.refused {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = pipe.capacity.saturating_sub(pipe.bytes.len());
        let len = from.len().min(limit).min(room);
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.bytes.write_all(&from[..len])?;
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        or_pending!(self.act(Call::Flush, cx));
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        or_pending!(self.act(Call::Shutdown, cx));
        self.outgoing.end();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.outgoing.end();
        let mut pipe = self.incoming.lock();
        pipe.refused = true;
        let writer = pipe.writer.take();
        drop(pipe);
        writer.into_iter().for_each(Waker::wake);
    }
}
