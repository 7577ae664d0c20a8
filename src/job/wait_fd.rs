//! The entries of a wait context: a key, and a file descriptor with its clean-up (H9, H10).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::AtomicU8;

use libc::c_void;

use crate::ffi;
use crate::panics::{forget_panic, quietly};

/// What a wait fd is registered under: the address of a `static`, as in C.
///
/// Each producer (callback, engine, provider) has its own, and so its own wait fd in every wait
/// context, which it finds again from operation to operation.
///
/// ```
/// use openssl_async_jobs::WaitKey;
///
/// static KEY: WaitKey = WaitKey::new();
/// ```
#[derive(Debug)]
pub struct WaitKey {
    /// Gives each static an address of its own: it has a size, and interior mutability keeps the
    /// compiler from merging equal ones.
    _address: AtomicU8,
}

impl WaitKey {
    /// A key, for a `static`.
    ///
    /// ```
    /// # use openssl_async_jobs::WaitKey;
    /// static KEY: WaitKey = WaitKey::new();
    /// ```
    #[allow(clippy::new_without_default)] // A key that is not a static's is of no use.
    pub const fn new() -> WaitKey {
        WaitKey {
            _address: AtomicU8::new(0),
        }
    }

    pub(crate) fn as_ptr(&'static self) -> *const c_void {
        ptr::from_ref(self).cast()
    }
}

type Closure = Box<dyn FnOnce(RawFd) + Send>;

/// What is done with a wait fd when it is cleared, or when its wait context is freed: on the
/// thread that does that.
pub(crate) enum Cleanup {
    /// The wait context owns the file descriptor.
    Close(OwnedFd),
    /// Somebody else does.
    Run(Closure),
}

impl Cleanup {
    /// The arguments `custom_data` and `cleanup` for C, which owns them from then on.
    pub(crate) fn into_raw(self) -> (*mut c_void, ffi::ASYNC_WAIT_CTX_cleanup_fn) {
        match self {
            Cleanup::Close(fd) => {
                std::mem::forget(fd);
                (ptr::null_mut(), clean_up)
            }
            // The box of a box, which is not null and thin.
            Cleanup::Run(closure) => (Box::into_raw(Box::new(closure)).cast(), clean_up),
        }
    }

    /// # Safety
    ///
    /// `custom_data` and `fd` are of one entry that [`into_raw`](Self::into_raw) made, and C does
    /// not have that entry any more.
    pub(crate) unsafe fn from_raw(fd: RawFd, custom_data: *mut c_void) -> Cleanup {
        if custom_data.is_null() {
            // SAFETY: `into_raw` gave the file descriptor away, and here it comes back.
            Cleanup::Close(unsafe { OwnedFd::from_raw_fd(fd) })
        } else {
            // SAFETY: likewise the box.
            Cleanup::Run(*unsafe { Box::from_raw(custom_data.cast::<Closure>()) })
        }
    }

    pub(crate) fn run(self, fd: RawFd) {
        match self {
            Cleanup::Close(fd) => drop(fd),
            Cleanup::Run(closure) => closure(fd),
        }
    }
}

/// For C, which calls it when it frees the wait context.
unsafe extern "C" fn clean_up(
    _: *mut ffi::ASYNC_WAIT_CTX,
    _: *const c_void,
    fd: RawFd,
    custom_data: *mut c_void,
) {
    // SAFETY: `into_raw` made the entry, and ASYNC_WAIT_CTX_free forgets it with this call.
    let cleanup = unsafe { Cleanup::from_raw(fd, custom_data) };
    // No unwinding through C (H10); and whoever frees the context is a drop as a rule, where a
    // panic would do more harm.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| cleanup.run(fd))) {
        forget_panic(panic);
        quietly(|| log::error!("the clean-up of wait fd {fd} panicked"));
    }
}
