//! Who waits for a connection's operation in flight: a reader and a writer may be different tasks,
//! and either may go on with it, or be gone.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::job::wake_quietly;
use crate::sync::{lock, Mutex};

/// Whose call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Handshake,
    Reader,
    Writer,
}

/// At most one waker of each caller.
#[derive(Default)]
pub(crate) struct Wakers {
    waiting: [Option<Waker>; 3],
}

/// A waker that is several ones.
struct All(Mutex<[Option<Waker>; 3]>);

impl Wake for All {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        for waker in waiting.into_iter().flatten() {
            wake_quietly(|| waker.wake());
        }
    }
}

impl Wakers {
    /// The waker to wait with, for this caller and the others that do.
    #[inline]
    pub(crate) fn waker(&self, caller: Caller, own: &Waker) -> Option<Waker> {
        match self.others(caller).any(|other| other.is_some()) {
            true => self.waker_of_all(caller, own),
            false => None,
        }
    }

    fn waker_of_all(&self, caller: Caller, own: &Waker) -> Option<Waker> {
        let others = self.others(caller);
        if others.flatten().all(|other| other.will_wake(own)) {
            return None;
        }
        let mut all = self.waiting.clone();
        all[caller as usize] = Some(own.clone());
        Some(Waker::from(Arc::new(All(Mutex::new(all)))))
    }

    /// This caller waits.
    pub(crate) fn wait(&mut self, caller: Caller, own: &Waker) {
        match &mut self.waiting[caller as usize] {
            Some(known) => known.clone_from(own),
            none => *none = Some(own.clone()),
        }
    }

    /// What this caller and the others wait for has come to its end.
    #[inline]
    pub(crate) fn wake_others(&mut self, caller: Caller) {
        if self.waiting.iter().any(Option::is_some) {
            self.wake_all_but(caller);
        }
    }

    fn wake_all_but(&mut self, caller: Caller) {
        self.waiting[caller as usize] = None;
        for other in &mut self.waiting {
            if let Some(other) = other.take() {
                wake_quietly(|| other.wake());
            }
        }
    }

    #[inline]
    fn others(&self, caller: Caller) -> impl Iterator<Item = Option<&Waker>> {
        let waiting = self.waiting.iter().enumerate();
        waiting
            .filter(move |(number, _)| *number != caller as usize)
            .map(|(_, waker)| waker.as_ref())
    }
}
