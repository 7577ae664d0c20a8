//! Ways to have the operations of a connection pause, and to keep them paused.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::thread;

use foreign_types::ForeignTypeRef;
use openssl::ssl::SslRef;
use openssl_async_jobs::{suspend, Connection, SuspendError};

#[cfg(ossl300)]
use crate::provider::{self, Notify, Settings};
use crate::woken::Woken;

/// A way to pause. All but the first need the provider.
#[derive(Clone, Copy, Debug)]
pub enum Pausing {
    /// In libssl's message callback, which suspends: at each record and each handshake message,
    /// read or written, with any OpenSSL.
    Suspended,
    /// In the provider: in signatures, key exchanges and records.
    #[cfg(ossl300)]
    Device(Settings),
}

#[cfg(ossl300)]
const fn device(notify: Notify, busy_first: bool) -> Pausing {
    Pausing::Device(Settings {
        kinds: provider::ALL,
        notify,
        complete_first: false,
        set_status: false,
        busy_first,
    })
}

/// What the OpenSSL linked has.
const ALL: &[Pausing] = &[
    Pausing::Suspended,
    #[cfg(ossl300)]
    device(Notify::CallbackElseFd, false),
    #[cfg(ossl300)]
    device(Notify::CallbackElseFd, true),
    #[cfg(ossl300)]
    device(Notify::Fd, false),
    #[cfg(ossl300)]
    device(Notify::Both, false),
];

/// Runs a test once for each way.
pub fn for_each_way(test: impl Fn(Pausing) + Sync) {
    for_each_of(ALL, test);
}

/// Runs a test once for each of these, on a thread that has had no job before; no job may be resumed
/// before its completion. It has its [`turn`].
pub fn for_each_of(ways: &[Pausing], test: impl Fn(Pausing) + Sync) {
    let _turn = turn();
    thread::scope(|scope| {
        for pausing in ways {
            pausing.begin();
            let ended = scope
                .spawn(|| {
                    let before = spurious_resumes();
                    test(*pausing);
                    assert_eq!(spurious_resumes(), before, "resumed without a completion");
                })
                .join();
            pausing.hold(false);
            if let Err(payload) = ended {
                eprintln!("failed with {pausing:?}");
                resume_unwind(payload);
            }
        }
    });
}

/// The provider's count (H6).
fn spurious_resumes() -> u64 {
    #[cfg(ossl300)]
    return provider::counters().spurious;
    #[cfg(not(ossl300))]
    0
}

/// A test's turn with the provider, which is loaded, and nothing is held: it is the process's, and so
/// are its settings and counters. To be taken before any other use of OpenSSL.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    #[cfg(ossl300)]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(provider::load_builtin);
        provider::hold(false);
    }
    turn
}

impl Pausing {
    fn begin(self) {
        #[cfg(ossl300)]
        provider::set(match self {
            Pausing::Suspended => Settings {
                kinds: 0,
                ..Settings::default()
            },
            Pausing::Device(settings) => settings,
        });
    }

    /// Has this one's operations pause, once they run as jobs.
    pub fn prepare(self, ssl: &mut SslRef) {
        match self {
            Pausing::Suspended => suspend_at_messages(ssl),
            #[cfg(ossl300)]
            Pausing::Device(_) => {}
        }
    }

    /// While held, what has paused stays paused. When it is held no longer, all of it completes.
    pub fn hold(self, on: bool) {
        match self {
            Pausing::Suspended => GATE.with(|gate| gate.hold(on)),
            #[cfg(ossl300)]
            Pausing::Device(_) => provider::hold(on),
        }
    }

    /// Has what is paused complete, and nothing that pauses later. Each connection comes with what
    /// its operations are polled with.
    pub fn complete(self, connections: &mut [(&mut Connection, &Arc<Woken>)]) {
        for (connection, woken) in &mut *connections {
            // What completed before, goes on: a read may have been polled since that found its
            // bytes without it. So whatever is in flight after this has paused, and will wake.
            if connection.is_in_flight() {
                woken.take();
                let waker = woken.waker();
                let flush = connection.poll_flush(&mut Context::from_waker(&waker));
                let _ = flush.expect("the test does not write what fails");
            }
        }
        self.hold(false);
        for (connection, woken) in connections {
            if connection.is_in_flight() {
                woken.wait_for(connection);
            }
        }
        self.hold(true);
    }
}

/// What the message callbacks of a thread wait for.
#[derive(Default)]
struct Gate {
    held: Cell<bool>,
    /// How often it was opened.
    opened: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

thread_local!(static GATE: Gate = Gate::default());

impl Gate {
    fn hold(&self, on: bool) {
        self.held.set(on);
        if !on {
            self.opened.set(self.opened.get() + 1);
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

extern "C" {
    fn SSL_set_msg_callback(
        ssl: *mut openssl_sys::SSL,
        callback: unsafe extern "C" fn(
            c_int,
            c_int,
            c_int,
            *const c_void,
            usize,
            *mut openssl_sys::SSL,
            *mut c_void,
        ),
    );
}

fn suspend_at_messages(ssl: &mut SslRef) {
    // SAFETY: a live SSL; the callback is of the type that C declares, and needs no argument.
    unsafe { SSL_set_msg_callback(ssl.as_ptr(), on_message) }
}

unsafe extern "C" fn on_message(
    _write: c_int,
    _version: c_int,
    _content: c_int,
    _message: *const c_void,
    _len: usize,
    _ssl: *mut openssl_sys::SSL,
    _arg: *mut c_void,
) {
    // Not in a job, or in one that is cancelled, it goes on.
    let _ = suspend_while_held();
}

/// Suspends, and waits while [`Pausing::Suspended`] is held: for the callbacks of a test.
pub fn suspend_while_held() -> Result<(), SuspendError> {
    let opened = GATE.with(|gate| gate.opened.get());
    suspend(poll_fn(|cx| {
        GATE.with(|gate| {
            if !gate.held.get() || gate.opened.get() != opened {
                return Poll::Ready(());
            }
            gate.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
    }))
}
