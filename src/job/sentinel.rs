//! A destructor of the thread's that is called before any thread-local goes to which a paused fibre
//! may refer (H11).
//!
//! The C library calls a thread's destructors in the reverse order of their registration. So while
//! one that was registered after a fibre had paused has not been called, all that the fibre may
//! refer to is there. One does for all fibres and all their pauses, until somebody else registers a
//! destructor. Where that cannot be seen, the stack is looked at each time.

use std::cell::Cell;
use std::ptr;

use libc::c_void;

use crate::job::thread_exit::{destructors, may_resume_here};

/// So often one is registered at most on a thread: the C library keeps them all until its end. Somebody
/// else may register as often as this does (another copy of this crate, whose jobs pause in turn).
const MOST: u32 = 64;

/// A thread's.
pub(crate) struct Sentinel {
    /// The head of this thread's list of destructors. Null as long as it has none of ours.
    list: Cell<*const usize>,
    /// What the head was with ours as the newest.
    newest: Cell<usize>,
    /// Whether ours was registered after the last pause.
    covers: Cell<bool>,
    called: Cell<bool>,
    /// Whether ours was the newest when a job went on last.
    was_newest: Cell<bool>,
    registered: Cell<u32>,
}

impl Sentinel {
    pub(crate) const fn new() -> Sentinel {
        Sentinel {
            list: Cell::new(ptr::null()),
            newest: Cell::new(0),
            covers: Cell::new(false),
            called: Cell::new(false),
            was_newest: Cell::new(false),
            registered: Cell::new(0),
        }
    }

    /// A fibre goes on, or starts, on this thread.
    #[inline]
    pub(crate) fn note_switch(&self) {
        self.was_newest.set(self.is_newest());
    }

    /// Whether no destructor of what was there before the running fibre went on has been called since.
    /// It may be so where this says no. (One that was registered since and is called now would be ours to
    /// see only by the stack; but nobody outside the fibre knows of what it destroys.)
    #[inline]
    pub(crate) fn none_was_called(&self) -> bool {
        self.was_newest.get() && self.is_newest()
    }

    #[inline]
    fn is_newest(&self) -> bool {
        self.covers.get() && !self.called.get() && self.head() == self.newest.get()
    }

    /// A fibre has paused on this thread: it may refer to what has been registered so far.
    pub(crate) fn note_pause(&self) {
        if self.covers.get() && self.head() != self.newest.get() {
            self.covers.set(false);
        }
    }

    /// Whether the fibres that are paused on this thread may go on.
    #[inline]
    pub(crate) fn may_resume(&self) -> bool {
        !self.called.get() && (self.covers.get() || self.may_resume_and_cover())
    }

    #[cold]
    fn may_resume_and_cover(&self) -> bool {
        let may_resume = may_resume_here();
        if may_resume && self.registered.get() < MOST {
            self.registered.set(self.registered.get() + 1);
            self.register();
        }
        may_resume
    }

    /// Once there is one of ours.
    fn head(&self) -> usize {
        // SAFETY: not null then; the C library's, of this thread (this is not `Sync`), as long as
        // that lives.
        unsafe { self.list.get().read_volatile() }
    }

    /// On a thread that does not end yet, in a [`Local`](crate::job::thread::Local), which stays
    /// where it is as long as its thread.
    fn register(&self) {
        let Some(list) = destructors() else {
            return;
        };
        // SAFETY: `called` is there when the thread ends, as part of a `Local`; and this thread's.
        unsafe { list.register(call, ptr::from_ref(&self.called).cast_mut().cast()) };
        self.list.set(list.head());
        self.newest.set(self.head());
        self.covers.set(true);
    }
}

/// The destructor.
unsafe extern "C" fn call(called: *mut c_void) {
    // SAFETY: as registered.
    unsafe { &*called.cast::<Cell<bool>>() }.set(true);
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    struct Dropped;

    impl Drop for Dropped {
        fn drop(&mut self) {}
    }

    thread_local!(static OTHER: Dropped = const { Dropped });

    #[test]
    fn the_stack_is_looked_at_once_until_another_destructor_is_registered() {
        let thread = std::thread::spawn(|| {
            // It is called when this thread ends.
            let place = Box::into_raw(Box::new(Sentinel::new()));
            // SAFETY: it is freed when this thread has ended.
            let sentinel = unsafe { &*place };
            sentinel.note_pause();
            assert!(!sentinel.covers.get());
            assert!(sentinel.may_resume());
            for _ in 0..3 {
                sentinel.note_pause();
                assert!(sentinel.covers.get());
                assert!(sentinel.may_resume());
            }
            OTHER.with(|_| ());
            sentinel.note_pause();
            assert!(!sentinel.covers.get());
            assert!(sentinel.may_resume());
            assert!(sentinel.covers.get());
            place as usize
        });
        let place = thread.join().unwrap() as *mut Sentinel;
        // SAFETY: what the thread has made, and nobody has any more.
        assert!(unsafe { Box::from_raw(place) }.called.get());
    }

    /// Those of two copies of this crate in one process, whose jobs pause in turn.
    #[test]
    fn two_in_turn_do_not_register_again_and_again() {
        let thread = std::thread::spawn(|| {
            // They are called when this thread ends.
            let places = [0; 2].map(|_| Box::into_raw(Box::new(Sentinel::new())));
            // SAFETY: they are freed when this thread has ended.
            let two = places.map(|place| unsafe { &*place });
            let mut registered = 0;
            for _ in 0..1000 {
                for sentinel in two {
                    sentinel.note_pause();
                    let before = sentinel.newest.get();
                    assert!(sentinel.may_resume());
                    registered += usize::from(sentinel.newest.get() != before);
                }
            }
            (registered, places.map(|place| place as usize))
        });
        let (registered, places) = thread.join().unwrap();
        for place in places {
            // SAFETY: what the thread has made, and nobody has any more.
            assert!(unsafe { Box::from_raw(place as *mut Sentinel) }
                .called
                .get());
        }
        assert!(registered <= 2 * MOST as usize, "{registered} destructors");
    }
}
