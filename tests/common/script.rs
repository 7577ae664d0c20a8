//! A transport in memory that does what a script says, and the seeded numbers of one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

/// Numbers that are the same in each run (splitmix64).
#[derive(Clone)]
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_ne_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

/// A call that the transport gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Flush,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    All,
    AtMost(usize),
    Fail(ErrorKind),
    /// The peer has closed: nothing more comes, and nothing is taken.
    End,
}

type Script = Box<dyn FnMut(Call) -> Act>;

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// One of its ends is gone.
    closed: bool,
}

/// One end of two pipes; like a non-blocking socket, unless its script says otherwise.
pub struct Scripted {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    script: Script,
    /// How many bytes have been read here.
    pub received: usize,
    /// After how many of them the peer is gone.
    limit: usize,
}

/// Two connected ends.
pub fn link() -> (Scripted, Scripted) {
    let pipes: [Rc<RefCell<Pipe>>; 2] = Default::default();
    let end = |incoming: usize| Scripted {
        incoming: Rc::clone(&pipes[incoming]),
        outgoing: Rc::clone(&pipes[1 - incoming]),
        script: Box::new(|_| Act::All),
        received: 0,
        limit: usize::MAX,
    };
    (end(0), end(1))
}

impl Scripted {
    pub fn with(mut self, script: impl FnMut(Call) -> Act + 'static) -> Scripted {
        self.set_script(script);
        self
    }

    pub fn set_script(&mut self, script: impl FnMut(Call) -> Act + 'static) {
        self.script = Box::new(script);
    }

    /// What is on its way to this end, to be looked at or tampered with.
    pub fn tamper(&mut self, with: impl FnOnce(&mut VecDeque<u8>)) {
        with(&mut self.incoming.borrow_mut().bytes);
    }

    /// After so many bytes more nothing comes.
    pub fn end_after(&mut self, bytes: usize) {
        self.limit = self.received + bytes;
    }
}

impl Read for Scripted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let len = match (self.script)(Call::Read) {
            Act::All => to.len(),
            Act::AtMost(limit) => limit.min(to.len()),
            Act::Fail(kind) => return Err(kind.into()),
            Act::End => return Ok(0),
        };
        let len = len.min(self.limit - self.received);
        if len == 0 {
            return Ok(0);
        }
        let mut pipe = self.incoming.borrow_mut();
        if pipe.bytes.is_empty() && !pipe.closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        let read = pipe.bytes.read(&mut to[..len])?;
        self.received += read;
        Ok(read)
    }
}

impl Write for Scripted {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let len = match (self.script)(Call::Write) {
            Act::All => from.len(),
            Act::AtMost(limit) => limit.min(from.len()),
            Act::Fail(kind) => return Err(kind.into()),
            Act::End => return Err(ErrorKind::BrokenPipe.into()),
        };
        let mut pipe = self.outgoing.borrow_mut();
        match pipe.closed {
            true => Err(ErrorKind::BrokenPipe.into()),
            false => pipe.bytes.write(&from[..len]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match (self.script)(Call::Flush) {
            Act::Fail(kind) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.incoming.borrow_mut().closed = true;
        self.outgoing.borrow_mut().closed = true;
    }
}
