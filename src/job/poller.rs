//! The thread that watches wait fds for jobs that nothing else watches them for: those of engines
//! without callbacks, and of OpenSSL before 3.0, on a runtime that has no reactor for them.
//!
//! It polls duplicates (H9), so that an engine may close its own at any time, and wakes; whether
//! there is evidence is for the job's owner to see.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::thread;

use crate::job::completion::Token;
use crate::job::thread as local;
use crate::job::wait_set::{self, readable, WaitSet};

type Watches = BTreeMap<Token, Vec<OwnedFd>>;

static WATCHES: Mutex<Watches> = Mutex::new(BTreeMap::new());

fn watches() -> MutexGuard<'static, Watches> {
    WATCHES.lock().unwrap_or_else(|e| e.into_inner())
}

/// Has the wait set's waker woken when one of its wait fds is readable, once.
pub(crate) fn watch(wait_set: &WaitSet) {
    local::with(|local| {
        let mut fds = local.scratch.fds.take();
        wait_set.extend(&mut fds);
        let token = wait_set.token();
        if local.blocking.get() > 0 {
            let mut watched = local.watched.borrow_mut();
            watched.retain(|(_, other)| *other != token);
            watched.extend(fds.iter().map(|fd| (*fd, token)));
        } else {
            watch_elsewhere(token, &fds);
        }
        fds.clear();
        local.scratch.fds.set(fds);
    });
}

fn watch_elsewhere(token: Token, fds: &[RawFd]) {
    match duplicates(fds).and_then(|fds| Ok((Changed::of_running_thread()?, fds))) {
        Ok((changed, fds)) => {
            let former = watches().insert(token, fds);
            drop(former);
            changed.tell();
        }
        // Out of file descriptors or threads: look again, which costs time, instead of never.
        Err(e) => {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| log::warn!("wait fds cannot be watched, but looked at only: {e}"));
            token.wake();
        }
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
    let former = watches().remove(&token);
    if let (Some(former), Some(changed)) = (former, Changed::known()) {
        drop(former);
        changed.tell();
    }
}

fn duplicates(fds: &[RawFd]) -> io::Result<Vec<OwnedFd>> {
    let duplicate = |fd: &RawFd| {
        // SAFETY: the engine keeps it open while it is registered (H9); should it not, the call
        // fails, or duplicates what has its number now, and a wake-up too many comes of it.
        unsafe { BorrowedFd::borrow_raw(*fd) }.try_clone_to_owned()
    };
    fds.iter().map(duplicate).collect()
}

/// Written to when the watches have changed.
#[derive(Clone)]
struct Changed {
    wakes: Arc<UnixStream>,
    /// The process that its thread is of: the child of a fork has none (H14).
    forks: u64,
}

static THREAD: Mutex<Option<Changed>> = Mutex::new(None);

impl Changed {
    fn lock() -> MutexGuard<'static, Option<Changed>> {
        THREAD.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn known() -> Option<Changed> {
        let thread = Changed::lock();
        thread.clone().filter(|it| it.forks == local::forks())
    }

    /// The thread is started when it is needed first, and lasts as long as the process.
    fn of_running_thread() -> io::Result<Changed> {
        let mut thread = Changed::lock();
        if let Some(known) = thread.as_ref().filter(|it| it.forks == local::forks()) {
            return Ok(known.clone());
        }
        // Those of the parent, in the child of a fork.
        watches().clear();
        let (wakes, woken) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let changed = Changed {
            wakes: Arc::new(wakes),
            forks: local::forks(),
        };
        thread::Builder::new()
            .name("openssl-async-jobs wait fds".to_owned())
            .spawn(move || run(woken))?;
        *thread = Some(changed.clone());
        Ok(changed)
    }

    fn tell(&self) {
        // Full is as good as written.
        let _ = (&*self.wakes).write(&[1]);
    }
}

fn run(mut wakes: UnixStream) {
    let mut fds = Vec::new();
    let mut owners = Vec::new();
    loop {
        fds.clear();
        owners.clear();
        fds.push(readable(wakes.as_raw_fd()));
        for (token, watched) in watches().iter() {
            fds.extend(watched.iter().map(|fd| readable(fd.as_raw_fd())));
            owners.resize(fds.len() - 1, *token);
        }
        if let Err(e) = wait_set::poll(&mut fds, -1) {
            log::error!("poll: {e}");
            thread::yield_now();
        }
        if fds[0].revents != 0 {
            while matches!(wakes.read(&mut [0; 64]), Ok(1..)) {}
        }
        let ready = fds[1..].iter().zip(&owners);
        for (_, token) in ready.filter(|(fd, _)| fd.revents != 0) {
            // Once; it may be another watch of the same job by now, which asks again then.
            let watched = watches().remove(token);
            if watched.is_some() {
                token.wake();
            }
        }
    }
}
