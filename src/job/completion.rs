//! What OpenSSL's completion callbacks set (H8): a flag and a waker, in a cell that is never freed.
//!
//! A callback may come on any thread, before the pause it belongs to, twice, or long after its job
//! has ended. So its argument is no pointer but a number: which cell, and the cell's generation.
//! Each job has a generation of its own, and a call for another one is ignored.

use std::array;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::task::Waker;

#[cfg(any(ossl300, test))]
use libc::c_void;

use crate::job::cell::Cell;
use crate::sync::{lock, Mutex, Ordering};

/// Cells are made this many at a time.
const CHUNK: usize = 64;
/// How many bits of a token are the cell's index; the others are its generation.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 20 } else { 14 };
const CHUNKS: usize = (1 << INDEX_BITS) / CHUNK;

/// The chunks made so far, in order. Never freed, so that any token may be looked up at any time.
static TABLE: [AtomicPtr<Chunk>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

static FREE: Mutex<Free> = Mutex::new(Free {
    indices: Vec::new(),
    chunks: 0,
});

type Chunk = [Cell; CHUNK];

struct Free {
    indices: Vec<usize>,
    chunks: usize,
}

/// A cell and a generation, as C carries it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(usize);

impl Token {
    #[cfg(any(ossl300, test))] // Before, no callback carries it.
    pub(crate) fn as_ptr(self) -> *mut c_void {
        // A number, that points to nothing.
        ptr::null_mut::<c_void>().wrapping_byte_add(self.0)
    }

    #[cfg(any(ossl300, test))] // Before, no callback carries it.
    pub(crate) fn from_ptr(token: *mut c_void) -> Token {
        Token(token as usize)
    }

    /// The callback: the flag, if the generation is the current one, and the waker. From any
    /// thread; does not panic.
    #[cfg(any(ossl300, test))]
    pub(crate) fn complete(self) {
        if let Some(cell) = self.cell() {
            cell.complete(|generation| self.is_of(generation));
        }
    }

    /// The waker only: a file descriptor may be readable.
    pub(crate) fn wake(self) {
        if let Some(cell) = self.cell() {
            cell.wake(|generation| self.is_of(generation));
        }
    }

    fn is_of(self, generation: u64) -> bool {
        truncate(generation) == self.0 >> INDEX_BITS
    }

    fn cell(self) -> Option<&'static Cell> {
        let index = self.0 & ((1 << INDEX_BITS) - 1);
        let chunk = TABLE[index / CHUNK].load(Ordering::Acquire);
        // SAFETY: null, or a chunk that was leaked for good before it was published (H8).
        let chunk = unsafe { chunk.as_ref() }?;
        Some(&chunk[index % CHUNK])
    }
}

/// As much of a generation as a token has room for.
fn truncate(generation: u64) -> usize {
    (generation as usize) & (usize::MAX >> INDEX_BITS)
}

/// A cell's owner: one job after the other.
pub(crate) struct Completion {
    index: usize,
    /// The one with that index.
    cell: &'static Cell,
}

impl Completion {
    /// `None` when a token has no bits left for another cell: millions are in use.
    pub(crate) fn new() -> Option<Completion> {
        let mut free = lock(&FREE);
        if free.indices.is_empty() {
            let slot = TABLE.get(free.chunks)?;
            let chunk: Box<Chunk> = Box::new(array::from_fn(|_| Cell::new()));
            slot.store(Box::into_raw(chunk), Ordering::Release);
            let first = free.chunks * CHUNK;
            free.indices.extend((first..first + CHUNK).rev());
            free.chunks += 1;
        }
        let index = free.indices.pop()?;
        let cell = Token(index).cell()?;
        Some(Completion { index, cell })
    }

    /// Ends the former job's generation, and begins the next job's.
    pub(crate) fn next_job(&self) -> Token {
        self.token_of(self.cell.next())
    }

    /// The token that [`next_job`](Self::next_job) gave last.
    pub(crate) fn token(&self) -> Token {
        self.token_of(self.cell.generation())
    }

    fn token_of(&self, generation: u64) -> Token {
        Token(truncate(generation) << INDEX_BITS | self.index)
    }

    /// Whether the callback has come since this was asked last.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.cell.take()
    }

    /// Whom to wake. Ask for evidence again after it.
    pub(crate) fn register(&self, waker: &Waker) {
        self.cell.register(waker);
    }

    pub(crate) fn unregister(&self) {
        self.cell.unregister();
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        // Nothing that is still on its way finds the next owner, nor keeps the last one's task.
        self.next_job();
        self.unregister();
        let mut free = lock(&FREE);
        free.indices.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_callback_sets_the_flag_once_and_wakes() {
        let completion = Completion::new().unwrap();
        let token = completion.next_job();
        let woken = Arc::new(Count::default());
        completion.register(&Waker::from(Arc::clone(&woken)));
        assert!(!completion.take());
        Token::from_ptr(token.as_ptr()).complete();
        token.complete();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(completion.take());
        assert!(!completion.take());
    }

    /// A waker that polls where it is called, as that of an executor that runs inline.
    struct Again(Completion);
    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            self.0.register(&Waker::from(Arc::new(Count::default())));
        }
    }

    #[test]
    fn a_waker_may_register_another_one_while_it_is_called() {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let completion = Completion::new().unwrap();
            let token = completion.next_job();
            let again = Arc::new(Again(completion));
            again.0.register(&Waker::from(Arc::clone(&again)));
            token.wake();
            again.0.unregister();
            tell.send(()).unwrap();
        });
        let patience = std::time::Duration::from_secs(60);
        told.recv_timeout(patience).expect("stuck");
    }

    #[test]
    fn a_callback_of_a_former_job_is_ignored() {
        let completion = Completion::new().unwrap();
        let former = completion.next_job();
        let current = completion.next_job();
        assert_ne!(former, current);
        assert_eq!(completion.token(), current);
        let woken = Arc::new(Count::default());
        completion.register(&Waker::from(Arc::clone(&woken)));
        former.complete();
        former.wake();
        assert!(!completion.take());
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        current.wake();
        assert!(!completion.take());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_callback_after_its_owner_is_gone_is_ignored() {
        let completion = Completion::new().unwrap();
        let token = completion.next_job();
        drop(completion);
        token.complete();
        // Whoever has the cell next.
        let next: Vec<Completion> = (0..CHUNK).filter_map(|_| Completion::new()).collect();
        assert!(next.iter().all(|completion| !completion.take()));
    }

    #[test]
    fn a_number_that_no_cell_has_is_ignored() {
        Token::from_ptr(ptr::null_mut()).complete();
        Token(usize::MAX).complete();
    }

    #[test]
    fn the_next_job_starts_without_the_flag() {
        let completion = Completion::new().unwrap();
        completion.next_job().complete();
        completion.next_job();
        assert!(!completion.take());
    }
}
