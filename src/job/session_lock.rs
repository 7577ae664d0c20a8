//! Whether libssl holds the lock of a context's sessions, so that nothing may pause here (H13).
//!
//! libssl calls the callback for removed sessions while it changes a context's cache, with the lock
//! held. A job that paused there would keep it: other threads' handshakes block for that long, and
//! before OpenSSL 3.0 another job of this thread finds the lock its own, ignores that, changes the
//! cache under the first one, and releases the lock for it. libssl does not say so (it knows of
//! `ASYNC_block_pause`, and calls it elsewhere), so its functions are looked for on the stack.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::OnceLock;

use crate::ffi;
use crate::job::record::{Header, State};
use crate::job::return_addresses::Code;
use crate::job::thread_exit::{extent, for_each_function};

/// The functions that call back with the lock held.
const NAMES: [&CStr; 3] = [
    c"SSL_CTX_add_session",
    c"SSL_CTX_flush_sessions",
    c"SSL_CTX_flush_sessions_ex",
];

/// Asked before a pause, in this job if it is one of ours.
pub(crate) fn is_held_here(job: Option<&Header>) -> bool {
    let holders = holders();
    // Nearly always the answer is no, and this is quick.
    let stack = job.and_then(own_stack);
    if stack.is_some_and(|stack| !holders.code.may_return_to(stack)) {
        return false;
    }
    // The other way takes some microseconds.
    let mut held = false;
    for_each_function(|function| {
        held = function != 0 && holders.functions.contains(&function);
        !held
    });
    held
}

/// What the running job's closure is on.
fn own_stack(job: &Header) -> Option<Range<usize>> {
    match &*job.state.try_borrow().ok()? {
        State::InFlight(flight) => Some(flight.stack.range()),
        _ => None,
    }
}

struct Holders {
    functions: Vec<usize>,
    /// Of those the unwinder knows.
    code: Code,
}

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
        let extents = functions.iter().filter_map(|function| extent(*function));
        Holders {
            code: Code::new(extents.collect()),
            functions,
        }
    })
}
