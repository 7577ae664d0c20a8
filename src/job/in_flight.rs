//! What a job has while it is in flight, and what becomes of that afterwards.

use std::cell::RefCell;
use std::ptr::{self, NonNull};
use std::task::Context;
use std::{io, mem};

use crate::ffi;
use crate::job::owner::Owner;
use crate::job::poller;
use crate::job::record::Watcher;
use crate::job::registration::Registrations;
use crate::job::stack::JobStack;
use crate::job::suspend::Parked;
use crate::job::wait_set::{PausedBy, WaitSet};
use crate::trace::Since;

/// What a job has from its start to its end. It is kept on the heap, where it stays.
pub(crate) struct Flight {
    pub(crate) job: *mut ffi::ASYNC_JOB,
    pub(crate) stack: JobStack,
    /// Those of its wait fds that a reactor has: dropped before they are (H9).
    pub(crate) registered: Registrations,
    pub(crate) wait_set: WaitSet,
    pub(crate) paused: Paused,
    /// Whether the poller thread watches its wait fds.
    pub(crate) watched: bool,
    /// The last pause or resume.
    pub(crate) since: Since,
}

impl Flight {
    pub(crate) fn new(stack_size: usize) -> io::Result<Box<Flight>> {
        let no_memory = || io::Error::from(io::ErrorKind::OutOfMemory);
        Ok(Box::new(Flight {
            job: ptr::null_mut(),
            stack: JobStack::new(stack_size)?,
            wait_set: WaitSet::new().ok_or_else(no_memory)?,
            paused: Paused::Running,
            watched: false,
            registered: Registrations::default(),
            since: Since::now(),
        }))
    }

    /// Makes it the next job's.
    #[inline]
    fn begin(&mut self) {
        self.job = ptr::null_mut();
        self.paused = Paused::Running;
        self.since = Since::now();
        self.wait_set.begin();
    }

    /// Has the waker called when one of its wait fds is readable.
    pub(crate) fn watch(&mut self, watcher: Watcher, cx: &mut Context<'_>) {
        match watcher {
            Watcher::Owner => return,
            Watcher::Reactor(register) => {
                if self.registered.watch(&self.wait_set, register, cx).is_ok() {
                    return;
                }
                // No runtime here, or none that watches file descriptors.
                self.registered.clear();
            }
            Watcher::Crate => {}
        }
        self.watched = true;
        poller::watch(&self.wait_set);
    }

    /// Before the job goes on, or its token is another.
    #[inline]
    pub(crate) fn unwatch(&mut self) {
        if std::mem::take(&mut self.watched) {
            poller::forget(&self.wait_set);
        }
    }
}

/// What a job in flight waits for. Nothing while it runs.
#[derive(Clone, Copy)]
pub(crate) enum Paused {
    Running,
    /// For its wait set.
    Completion(PausedBy),
    /// For its turn: it left nothing to wait for, or its device was busy.
    Turn,
    /// For a future.
    Future(NonNull<dyn Parked>),
}

#[cold]
fn new_flight(stack_size: usize) -> Option<Box<Flight>> {
    Flight::new(stack_size).ok()
}

/// Boxed, as they go from here to a record and back: a pointer is moved faster.
#[allow(clippy::vec_box)]
pub(crate) type Flights = Vec<Box<Flight>>;

/// What finished jobs have left for the next ones of their thread.
pub(crate) struct Kept {
    flights: RefCell<Flights>,
    /// In which nothing is registered.
    wait_sets: RefCell<Vec<WaitSet>>,
}

impl Kept {
    pub(crate) const fn new() -> Kept {
        Kept {
            flights: RefCell::new(Vec::new()),
            wait_sets: RefCell::new(Vec::new()),
        }
    }

    /// Before the thread's first job.
    pub(crate) fn preallocate(&self, flights: Flights) {
        self.flights.replace(flights);
    }

    /// For a job of this owner; `None` without memory.
    #[inline]
    pub(crate) fn take(&self, stack_size: usize, owner: Option<&Owner>) -> Option<Box<Flight>> {
        let kept = self.flights.borrow_mut().pop();
        let mut flight = kept.or_else(|| new_flight(stack_size))?;
        if let Some(owned) = owner.and_then(|owner| owner.take()) {
            self.exchange(&mut flight, owned);
        }
        flight.begin();
        Some(flight)
    }

    fn exchange(&self, flight: &mut Flight, owned: WaitSet) {
        let free = mem::replace(&mut flight.wait_set, owned);
        self.wait_sets.borrow_mut().push(free);
    }

    /// When its job has ended: what engines have registered is its owner's only. Clean-ups of wait
    /// fds are somebody's code, and may run jobs.
    #[inline]
    pub(crate) fn keep(&self, mut flight: Box<Flight>, owner: Option<&Owner>) {
        flight.registered.clear(); // before the wait context is freed (H9)
        flight.wait_set.rest();
        match flight.wait_set.count() {
            0 => self.flights.borrow_mut().push(flight),
            _ => self.keep_registered(flight, owner),
        }
    }

    fn keep_registered(&self, mut flight: Box<Flight>, owner: Option<&Owner>) {
        let free = self.wait_sets.borrow_mut().pop();
        let Some(free) = free.or_else(WaitSet::new) else {
            return;
        };
        let used = mem::replace(&mut flight.wait_set, free);
        self.flights.borrow_mut().push(flight);
        // A wait fd that is readable already would be evidence for the next pause (H6).
        let owner = owner.filter(|_| !used.is_readable());
        let former = match owner {
            Some(owner) => owner.replace(Some(used)),
            None => Some(used),
        };
        drop(former);
    }

    /// The thread ends.
    pub(crate) fn clear(&self) {
        drop(self.flights.take());
        drop(self.wait_sets.take());
    }

    /// In the child of a fork: a thread of the parent may have held a completion's lock (H14).
    pub(crate) fn note_fork(&self) {
        mem::forget(self.wait_sets.take());
        mem::forget(self.flights.take());
    }
}
