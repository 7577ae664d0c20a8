//! The transport that libssl sees: memory (H7).

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::job::Errors;
use crate::panics::Payload;
use crate::tls::buffer::Buffer;
use crate::tls::copy::{copy, is_slow};

/// What libssl reads of a record first, in bytes: it has no room for more.
const HEADER: usize = 5;

/// Ciphertext of both directions. libssl has it only while it moves bytes, and no job pauses there.
#[derive(Default)]
pub(crate) struct Wire {
    incoming: RefCell<Incoming>,
    outgoing: RefCell<Buffer>,
    /// How many bytes libssl has read in all.
    taken: Cell<u64>,
    /// Where libssl has the body of the record whose header it has read last: an address.
    body: Cell<usize>,
    /// libssl wants it to be flushed: it is the end of a flight.
    flush: Cell<bool>,
    /// Who is asked first to take what libssl writes, in [`through`](Self::through).
    sink: Cell<Option<NonNull<dyn Write>>>,
    /// What is shorter, in bytes, is no whole write, and is kept for one call with the others.
    sink_least: Cell<usize>,
    /// What that panicked with: not libssl's to see.
    panic: Cell<Option<Payload>>,
}

#[derive(Default)]
struct Incoming {
    buffer: Buffer,
    /// The peer sends no more.
    end: bool,
}

impl Wire {
    /// Has the transport read into the room that it is given, once.
    #[inline]
    pub(crate) fn receive(
        &self,
        at_least: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        /// Also if the transport panics.
        struct Trim<'a>(RefMut<'a, Incoming>);
        impl Drop for Trim<'_> {
            fn drop(&mut self) {
                self.0.buffer.trim();
            }
        }
        let mut incoming = Trim(self.incoming.borrow_mut());
        let room = incoming.0.buffer.room(at_least);
        let most = room.len();
        match read(room)? {
            0 => {
                incoming.0.end = true;
                Ok(0)
            }
            len if len > most => Err(claims_too_much()),
            len => {
                incoming.0.buffer.add(len);
                Ok(len)
            }
        }
    }

    /// Calls libssl with somebody who is given what it writes from its own memory, if that is at least
    /// so long, and as long as all of it is taken. The rest is kept as ever.
    pub(crate) fn through<T>(
        &self,
        sink: &mut dyn Write,
        least: usize,
        call: impl FnOnce() -> T,
    ) -> T {
        struct Reset<'a>(&'a Wire);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.sink.set(None);
            }
        }
        let sink: *mut (dyn Write + '_) = sink;
        // SAFETY: only the lifetime changes; it is reset before this call ends.
        let sink: *mut (dyn Write + 'static) = unsafe { std::mem::transmute(sink) };
        let reset = Reset(self);
        self.sink.set(NonNull::new(sink));
        self.sink_least.set(least);
        let result = call();
        drop(reset);
        if let Some(payload) = self.panic.take() {
            resume_unwind(payload);
        }
        result
    }

    /// How much of it the sink takes. What comes of an error is known when it is asked again.
    fn offer(&self, bytes: &[u8]) -> usize {
        // Taken out: while it is called it is nobody else's.
        let Some(mut sink) = self.sink.take() else {
            return 0;
        };
        if bytes.len() < self.sink_least.get() || !self.outgoing.borrow().is_empty() {
            return 0;
        }
        // SAFETY: `through` has it borrowed, and waits.
        let write = || unsafe { sink.as_mut() }.write(bytes);
        // What it leaves in the queue of errors libssl would take for its own.
        let libssls = Errors::take();
        let written = catch_unwind(AssertUnwindSafe(write));
        drop(Errors::take());
        libssls.put();
        match written {
            Ok(Ok(len)) if len == bytes.len() => {
                self.sink.set(Some(sink));
                len
            }
            Ok(Ok(len)) if len < bytes.len() => len,
            Ok(_) => 0,
            Err(payload) => {
                self.panic.set(Some(payload));
                0
            }
        }
    }

    #[inline]
    pub(crate) fn incoming_len(&self) -> usize {
        self.incoming.borrow().buffer.len()
    }

    /// Whether nothing has come yet, not even the end.
    pub(crate) fn is_untouched(&self) -> bool {
        let incoming = self.incoming.borrow();
        self.taken.get() == 0 && incoming.buffer.is_empty() && !incoming.end
    }

    /// Whether libssl's copy of a record's plaintext to this address is to be in pieces, if the record is
    /// where the last one was.
    #[inline]
    pub(super) fn is_slow_to(&self, address: usize) -> bool {
        is_slow(address, self.body.get())
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.get()
    }

    pub(crate) fn take_flush(&self) -> bool {
        self.flush.take()
    }

    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        self.flush.get()
    }

    #[inline]
    pub(crate) fn outgoing(&self) -> Ref<'_, Buffer> {
        self.outgoing.borrow()
    }

    pub(crate) fn outgoing_mut(&self) -> RefMut<'_, Buffer> {
        self.outgoing.borrow_mut()
    }
}

/// libssl's end of the wire.
pub(crate) struct WireEnd(pub(crate) Rc<Wire>);

impl Read for WireEnd {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut incoming = self.0.incoming.borrow_mut();
        let len = to.len().min(incoming.buffer.len());
        match len {
            0 if to.is_empty() || incoming.end => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            _ => {
                copy(&mut to[..len], &incoming.buffer.bytes()[..len]);
                incoming.buffer.consume(len);
                if to.len() == HEADER {
                    self.0.body.set(to.as_ptr() as usize + HEADER);
                }
                self.0.taken.set(self.0.taken.get() + len as u64);
                Ok(len)
            }
        }
    }
}

impl Write for WireEnd {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let sent = self.0.offer(from);
        if sent < from.len() {
            self.0.outgoing.borrow_mut().extend(&from[sent..]);
        }
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush.set(true);
        Ok(())
    }
}

pub(crate) fn claims_too_much() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "the transport claims more bytes than it was given",
    )
}
