//! Whether a job may pause where it is: not while libssl holds the lock of a context's sessions (H13), nor
//! where it is not on its stack any more, nor where the process ends inside it (H11).
//!
//! libssl calls the callback for removed sessions while it changes a context's cache, with the lock
//! held. A job that paused there would keep it: other threads' handshakes block for that long, and
//! before OpenSSL 3.0 another job of this thread finds the lock its own, ignores that, changes the
//! cache under the first one, and releases the lock for it. libssl does not say so (it knows of
//! `ASYNC_block_pause`, and calls it elsewhere), so its functions are looked for on the stack.
//!
//! A job that was begun inside another crate's coroutine, and has yielded that, is still the one that
//! OpenSSL takes for running. A pause would take the stack of whoever goes on for the job's. Whose
//! stack another one is cannot be seen, so a job pauses on its own only.
//!
//! `exit` destroys the thread-locals of the thread that calls it, on the stack that it is called on. A
//! pause there would come back to who has references to them.

use std::ffi::CStr;
use std::ops::Range;
use std::ptr;
use std::sync::OnceLock;

use crate::ffi;
use crate::job::record::{Header, State};
use crate::job::return_addresses::Code;
use crate::job::thread::with;
use crate::job::thread_exit::{destroyers, destroys_thread_locals, extent, for_each_frame};

/// The functions that call back with the lock held.
const NAMES: [&CStr; 3] = [
    c"SSL_CTX_add_session",
    c"SSL_CTX_flush_sessions",
    c"SSL_CTX_flush_sessions_ex",
];

/// Before the first job, outside of it.
pub(crate) fn prepare() {
    holders();
    exits();
}

/// Asked before a pause, in this job if it is one of ours.
#[inline]
pub(crate) fn may_pause_here(job: Option<&Header>) -> bool {
    // Nearly always the answer is yes, and this is quick.
    match job {
        Some(job)
            if with(|local| local.sentinel.none_was_called())
                && !holders().code.may_return_to(job.stack.get()) =>
        {
            true
        }
        _ => may_pause_by_frames(job),
    }
}

/// It takes some microseconds.
#[cold]
fn may_pause_by_frames(job: Option<&Header>) -> bool {
    let here = 0_u8;
    let stack = job.map(own_stack);
    if !stack
        .as_ref()
        .is_none_or(|stack| stack.contains(&(ptr::from_ref(&here) as usize)))
    {
        return false;
    }
    let holders = holders();
    let (mut blocks, mut seen_all) = (false, false);
    for_each_frame(|function, end| {
        blocks = holders.functions.contains(&function) || destroys_thread_locals(function);
        if let (Some(job), Some(stack)) = (job, &stack) {
            let on_it = stack.contains(&end) || end == stack.end;
            seen_all = on_it && job.stack.get().ends_at(end);
        }
        !blocks && !seen_all
    });
    match job {
        _ if blocks => false,
        // A frame that the unwinder does not know hides those further out.
        Some(job) if !seen_all => {
            let stack = job.stack.get();
            !holders.code.may_return_to(stack) && !exits().may_return_to(stack)
        }
        // (In a job that C has started it is not known where they end.)
        _ => true,
    }
}

fn extents(functions: &[usize]) -> Vec<Range<usize>> {
    let all = functions.iter();
    all.filter_map(|function| extent(*function)).collect()
}

/// What the running job's closure is on. Empty if there is none.
fn own_stack(job: &Header) -> Range<usize> {
    match job.state.try_borrow().as_deref() {
        Ok(State::InFlight(flight)) => flight.stack.range(),
        _ => 0..0,
    }
}

/// What destroys thread-locals.
fn exits() -> &'static Code {
    static EXITS: OnceLock<Code> = OnceLock::new();
    EXITS.get_or_init(|| Code::new(extents(&destroyers())))
}

struct Holders {
    functions: Vec<usize>,
    /// Of those the unwinder knows.
    code: Code,
}

#[inline]
fn holders() -> &'static Holders {
    static HOLDERS: OnceLock<Holders> = OnceLock::new();
    HOLDERS.get_or_init(|| {
        #[cfg(not(ossl340))]
        let flush = ffi::SSL_CTX_flush_sessions as *const () as usize;
        #[cfg(ossl340)]
        let flush = ffi::SSL_CTX_flush_sessions_ex as *const () as usize;
        // Where libssl is linked in; else the address may be that of a stub.
        let mut functions = vec![
            openssl_sys::SSL_CTX_add_session as *const () as usize,
            flush,
        ];
        // SAFETY: looks symbols up; the names end with a nul.
        let look_up =
            |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize };
        functions.extend(
            NAMES
                .iter()
                .map(|name| look_up(name))
                .filter(|function| *function != 0),
        );
        functions.sort_unstable();
        functions.dedup();
        Holders {
            code: Code::new(extents(&functions)),
            functions,
        }
    })
}
