//! What OpenSSL's completion callbacks set (H8): a flag and a waker, in a cell that is never freed.
//!
//! A callback may come on any thread, before the pause it belongs to, twice, or long after its job
//! has ended. So its argument is no pointer but a number: which cell, and the cell's generation.
//! Each job has a generation of its own, and a call for another one is ignored.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Waker;

#[cfg(any(ossl300, test))]
use libc::c_void;

use crate::job::waker::wake_quietly;
use crate::panics::quietly;

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

struct Cell {
    /// The generation, and in the lowest bit whether its callback has come.
    state: AtomicU64,
    /// Taken out before it is called or dropped, as that is somebody's code.
    waker: Mutex<Option<Waker>>,
}

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
        self.0 as *mut c_void
    }

    #[cfg(any(ossl300, test))] // Before, no callback carries it.
    pub(crate) fn from_ptr(token: *mut c_void) -> Token {
        Token(token as usize)
    }

    /// The callback: the flag, if the generation is the current one, and the waker. From any
    /// thread; does not panic.
    #[cfg(any(ossl300, test))]
    pub(crate) fn complete(self) {
        let Some((cell, generation)) = self.cell() else {
            return;
        };
        let set = cell
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (truncate(state >> 1) == generation).then_some(state | 1)
            });
        if set.is_ok() {
            wake(cell);
        }
    }

    /// The waker only: a file descriptor may be readable.
    pub(crate) fn wake(self) {
        if let Some((cell, generation)) = self.cell() {
            if truncate(cell.state.load(Ordering::Acquire) >> 1) == generation {
                wake(cell);
            }
        }
    }

    fn cell(self) -> Option<(&'static Cell, usize)> {
        let index = self.0 & ((1 << INDEX_BITS) - 1);
        let chunk = TABLE[index / CHUNK].load(Ordering::Acquire);
        // SAFETY: null, or a chunk that was leaked for good before it was published (H8).
        let chunk = unsafe { chunk.as_ref() }?;
        Some((&chunk[index % CHUNK], self.0 >> INDEX_BITS))
    }
}

/// As much of a generation as a token has room for.
fn truncate(generation: u64) -> usize {
    (generation as usize) & (usize::MAX >> INDEX_BITS)
}

fn wake(cell: &Cell) {
    // In a statement of its own: the lock is released before the waker is called, which may poll the
    // job there and then, and so register again.
    let waker = lock(&cell.waker).take();
    if let Some(waker) = waker {
        wake_quietly(|| waker.wake());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A cell's owner: one job after the other.
#[derive(Debug)]
pub(crate) struct Completion {
    index: usize,
}

impl Completion {
    /// `None` when a token has no bits left for another cell: millions are in use.
    pub(crate) fn new() -> Option<Completion> {
        let mut free = lock(&FREE);
        if free.indices.is_empty() {
            let slot = TABLE.get(free.chunks)?;
            let chunk: Box<Chunk> = Box::new(
                [const {
                    Cell {
                        state: AtomicU64::new(0),
                        waker: Mutex::new(None),
                    }
                }; CHUNK],
            );
            slot.store(Box::into_raw(chunk), Ordering::Release);
            let first = free.chunks * CHUNK;
            free.indices.extend((first..first + CHUNK).rev());
            free.chunks += 1;
        }
        free.indices.pop().map(|index| Completion { index })
    }

    /// Ends the former job's generation, and begins the next job's.
    pub(crate) fn next_job(&self) -> Token {
        // Two a step: the lowest bit is the flag, cleared here.
        let before = self
            .cell()
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                Some((state | 1) + 1)
            });
        let generation = (before.unwrap_or_else(|state| state) >> 1) + 1;
        Token(truncate(generation) << INDEX_BITS | self.index)
    }

    /// The token that [`next_job`](Self::next_job) gave last.
    pub(crate) fn token(&self) -> Token {
        let generation = self.cell().state.load(Ordering::Relaxed) >> 1;
        Token(truncate(generation) << INDEX_BITS | self.index)
    }

    /// Whether the callback has come since this was asked last.
    pub(crate) fn take(&self) -> bool {
        let state = &self.cell().state;
        // The usual answer without a locked instruction.
        state.load(Ordering::Acquire) & 1 == 1 && state.fetch_and(!1, Ordering::AcqRel) & 1 == 1
    }

    /// Whom to wake. Ask for evidence again after it.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let former = lock(&self.cell().waker).replace(waker);
        quietly(|| drop(former));
    }

    pub(crate) fn unregister(&self) {
        let former = lock(&self.cell().waker).take();
        quietly(|| drop(former));
    }

    fn cell(&self) -> &'static Cell {
        Token(self.index).cell().expect("the cell was made").0
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
        Token::from_ptr(usize::MAX as *mut c_void).complete();
    }

    #[test]
    fn the_next_job_starts_without_the_flag() {
        let completion = Completion::new().unwrap();
        completion.next_job().complete();
        completion.next_job();
        assert!(!completion.take());
    }
}
