//! Waiting on a thread without a runtime: a waker that interrupts poll(2).

use std::cell::RefCell;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use libc::c_int;

use crate::job::completion::Token;
use crate::job::signal::Signal;
use crate::job::thread as local;
use crate::job::thread_token::forks;
use crate::job::wait_set::{self, is_ready, readable};
use crate::panics::quietly;

/// A thread's place to wait. Its waker is cheap to call twice, and on the thread itself.
pub(crate) struct Parker {
    signal: Arc<Signal>,
    waker: Waker,
    /// Kept for their memory.
    polls: RefCell<Vec<libc::pollfd>>,
    ready: RefCell<Vec<Token>>,
    /// The process that it was made in; the child of a fork has its descriptor, too (H14).
    forks: u64,
}

thread_local! {
    /// Kept from one wait to the next; a wait inside another one makes its own.
    static PARKER: RefCell<Option<Parker>> = const { RefCell::new(None) };
}

impl Parker {
    /// Calls the function with this thread's parker, or another one if that is in use.
    pub(crate) fn with<R>(f: impl FnOnce(&Parker) -> R) -> io::Result<R> {
        let kept = PARKER.try_with(RefCell::take).ok().flatten();
        let parker = match kept {
            Some(parker) if parker.forks == forks() => parker,
            _ => Parker::new()?,
        };
        parker.signal.reset();
        let result = f(&parker);
        let _ = PARKER.try_with(|kept| kept.replace(Some(parker)));
        Ok(result)
    }

    fn new() -> io::Result<Parker> {
        let signal = Arc::new(Signal::new()?);
        Ok(Parker {
            waker: Waker::from(Arc::clone(&signal)),
            signal,
            polls: RefCell::default(),
            ready: RefCell::default(),
            forks: forks(),
        })
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Waits until the waker is called, or one of this thread's watched wait fds is readable, or
    /// the deadline is there: false then.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> bool {
        loop {
            if !self.signal.falls_asleep() {
                return true;
            }
            let timeout = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => {
                    self.signal.is_awake();
                    return false;
                }
                Some(left) => milliseconds(left),
                None => -1,
            };
            self.poll(timeout);
            self.signal.is_awake();
        }
    }

    fn poll(&self, timeout: c_int) {
        let mut polls = self.polls.borrow_mut();
        let mut ready = self.ready.borrow_mut();
        local::with(|local| {
            polls.clear();
            polls.push(readable(self.signal.as_raw_fd()));
            // Nobody else changes it during the poll: it is this thread's.
            let mut watched = local.watched.borrow_mut();
            polls.extend(watched.iter().map(|(fd, _)| readable(*fd)));
            if let Err(e) = wait_set::poll(&mut polls, timeout) {
                quietly(|| log::error!("poll: {e}"));
                // Too many, perhaps. All look for themselves, instead of never.
                ready.extend(watched.iter().map(|(_, token)| *token));
                std::thread::yield_now();
            }
            let found = polls[1..].iter().zip(watched.iter());
            ready.extend(
                found
                    .filter(|(fd, _)| is_ready(fd))
                    .map(|(_, (_, token))| *token),
            );
            // Once: a job asks again if it still waits. What is closed would be told for ever.
            let mut polled = polls[1..].iter();
            watched.retain(|(_, token)| {
                let closed = polled
                    .next()
                    .is_some_and(|fd| fd.revents & libc::POLLNVAL != 0);
                !closed && !ready.contains(token)
            });
        });
        if polls[0].revents != 0 {
            self.signal.clear();
        }
        ready.drain(..).for_each(Token::wake);
    }
}

/// Rounded up, so that it is not asked again before the time has come.
fn milliseconds(duration: Duration) -> c_int {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    c_int::try_from(millis).unwrap_or(c_int::MAX)
}
