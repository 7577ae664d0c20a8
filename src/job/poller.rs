//! The thread that watches wait fds for jobs that nothing else watches them for: those of engines
//! without callbacks, and of OpenSSL before 3.0, on a runtime that has no reactor for them.
//!
//! It polls duplicates (H9), so that an engine may close its own at any time, and wakes; whether
//! there is evidence is for the job's owner to see.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Once};
use std::thread;

use crate::job::completion::Token;
use crate::job::thread as local;
use crate::job::thread_token::forks;
use crate::job::wait_set::{self, is_ready, readable, WaitSet};
use crate::job::wake_fd::WakeFd;
use crate::panics::quietly;
use crate::sync::{lock, Mutex};

/// The thread, as others see it. It is started when it is needed first, and lasts as long as the
/// process.
struct Poller {
    watches: Mutex<BTreeMap<Token, Vec<OwnedFd>>>,
    /// Set when the watches have changed.
    changed: WakeFd,
    /// The process that it is of: the child of a fork has none (H14), and leaves this alone.
    forks: u64,
}

static POLLER: Mutex<Option<Arc<Poller>>> = Mutex::new(None);

/// Has the wait set's waker woken when one of its wait fds is readable, once.
pub(crate) fn watch(wait_set: &WaitSet) {
    local::with(|local| {
        local.with_scratch(|fds, _| {
            wait_set.extend(fds);
            let token = wait_set.token();
            if local.blocking.get() > 0 {
                let mut watched = local.watched.borrow_mut();
                watched.retain(|(_, other)| *other != token);
                watched.extend(fds.iter().map(|fd| (*fd, token)));
            } else {
                watch_elsewhere(token, fds);
            }
        });
    });
}

fn watch_elsewhere(token: Token, fds: &[RawFd]) {
    let watched = duplicates(fds).and_then(|fds| {
        // Its engine has closed what it registered, and has another way to say that it is done.
        if fds.is_empty() {
            return Ok(());
        }
        let poller = Poller::running()?;
        let former = lock(&poller.watches).insert(token, fds);
        drop(former);
        poller.changed.set();
        Ok(())
    });
    // Out of file descriptors or threads: look again, which costs time, instead of never.
    if let Err(e) = watched {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            quietly(|| log::warn!("wait fds cannot be watched, but looked at only: {e}"))
        });
        token.wake();
    }
}

/// Undoes [`watch`], before the job goes on.
pub(crate) fn forget(wait_set: &WaitSet) {
    let token = wait_set.token();
    local::with(|local| {
        local
            .watched
            .borrow_mut()
            .retain(|(_, other)| *other != token);
    });
    if let Some(poller) = Poller::known(&lock(&POLLER)) {
        let former = lock(&poller.watches).remove(&token);
        if former.is_some() {
            drop(former);
            poller.changed.set();
        }
    }
}

/// Of those that are open.
fn duplicates(fds: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let duplicate = |fd: &RawFd| {
        // SAFETY: the engine keeps it open while it is registered (H9); should it not, the call
        // fails, or duplicates what has its number now, and a wake-up too many comes of it.
        match unsafe { BorrowedFd::borrow_raw(*fd) }.try_clone_to_owned() {
            Err(e) if e.raw_os_error() == Some(libc::EBADF) => None,
            duplicate => Some(duplicate),
        }
    };
    // A negative number is no descriptor, whatever its engine says.
    let fds = fds.iter().filter(|fd| **fd >= 0);
    fds.filter_map(duplicate).collect()
}

impl Poller {
    fn known(poller: &Option<Arc<Poller>>) -> Option<Arc<Poller>> {
        let poller = poller.as_ref()?;
        (poller.forks == forks()).then(|| Arc::clone(poller))
    }

    fn running() -> io::Result<Arc<Poller>> {
        let mut running = lock(&POLLER);
        if let Some(poller) = Poller::known(&running) {
            return Ok(poller);
        }
        let poller = Arc::new(Poller {
            watches: Mutex::default(),
            changed: WakeFd::new()?,
            forks: forks(),
        });
        let thread = Arc::clone(&poller);
        thread::Builder::new()
            .name("openssl-async-jobs wait fds".to_owned())
            .spawn(move || thread.run())?;
        // The parent's is only forgotten: its locks may be held for ever here.
        std::mem::forget(running.replace(Arc::clone(&poller)));
        Ok(poller)
    }

    fn run(&self) {
        let mut fds = Vec::new();
        let mut owners = Vec::new();
        loop {
            fds.clear();
            owners.clear();
            fds.push(readable(self.changed.as_raw_fd()));
            for (token, watched) in lock(&self.watches).iter() {
                fds.extend(watched.iter().map(|fd| readable(fd.as_raw_fd())));
                owners.resize(fds.len() - 1, *token);
            }
            if let Err(e) = wait_set::poll(&mut fds, -1) {
                quietly(|| log::error!("poll: {e}"));
                thread::yield_now();
            }
            if fds[0].revents != 0 {
                self.changed.clear();
            }
            let ready = fds[1..].iter().zip(&owners);
            for (_, token) in ready.filter(|(fd, _)| is_ready(fd)) {
                // Once; it may be another watch of the same job by now, which asks again then.
                // Closed before the lock is let go: who forgets it knows that nobody has it (H9).
                let watched = lock(&self.watches).remove(token).map(drop).is_some();
                if watched {
                    token.wake();
                }
            }
        }
    }
}
