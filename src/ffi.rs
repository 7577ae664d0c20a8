//! The declarations that openssl-sys lacks: all of `openssl/async.h`, and what `openssl/ssl.h`
//! has of asynchronous operation and of telling TLS from other protocols.
//!
//! Grouped by the OpenSSL version that added them; the names, the types and the order are those
//! of the headers. `systest` compiles every line of this file against the headers of each OpenSSL
//! that the project tests.
//!
//! These are raw C functions: see [`ASYNC_start_job(3)`], [`ASYNC_WAIT_CTX_new(3)`] and
//! [`SSL_get_all_async_fds(3)`] for their contracts, and the crate's safe wrappers for most uses.
//!
//! ```
//! use openssl_async_jobs::ffi;
//!
//! // SAFETY: takes nothing, may be called at any time.
//! let capable = unsafe { ffi::ASYNC_is_capable() } == 1;
//! assert_eq!(capable, openssl_async_jobs::is_capable());
//! ```
//!
//! [`ASYNC_start_job(3)`]: https://docs.openssl.org/master/man3/ASYNC_start_job/
//! [`ASYNC_WAIT_CTX_new(3)`]: https://docs.openssl.org/master/man3/ASYNC_WAIT_CTX_new/
//! [`SSL_get_all_async_fds(3)`]: https://docs.openssl.org/master/man3/SSL_get_all_async_fds/

// The C names and their manual pages are the documentation of these items.
#![allow(missing_docs, non_camel_case_types)]

#[cfg(ossl340)]
use libc::time_t;
use libc::{c_int, c_long, c_void, size_t};
use openssl_sys::SSL;
use openssl_sys::SSL_CTX;

// openssl/async.h, OpenSSL 1.1.0

/// A paused or running job; opaque.
pub enum ASYNC_JOB {}
/// The wait fds, the status and the callback of one or more jobs; opaque.
pub enum ASYNC_WAIT_CTX {}

pub type OSSL_ASYNC_FD = c_int;
pub const OSSL_BAD_ASYNC_FD: OSSL_ASYNC_FD = -1;

pub const ASYNC_ERR: c_int = 0;
pub const ASYNC_NO_JOBS: c_int = 1;
pub const ASYNC_PAUSE: c_int = 2;
pub const ASYNC_FINISH: c_int = 3;

// openssl/asyncerr.h, which async.h includes; not its function codes, which OpenSSL 3.0 dropped.
pub const ASYNC_R_FAILED_TO_SET_POOL: c_int = 101;
pub const ASYNC_R_FAILED_TO_SWAP_CONTEXT: c_int = 102;
pub const ASYNC_R_INVALID_POOL_SIZE: c_int = 103;
pub const ASYNC_R_INIT_FAILED: c_int = 105;

/// The type of the `cleanup` argument of [`ASYNC_WAIT_CTX_set_wait_fd`], which has no name in C.
pub type ASYNC_WAIT_CTX_cleanup_fn =
    unsafe extern "C" fn(*mut ASYNC_WAIT_CTX, *const c_void, OSSL_ASYNC_FD, *mut c_void);

extern "C" {
    pub fn ASYNC_init_thread(max_size: size_t, init_size: size_t) -> c_int;
    pub fn ASYNC_cleanup_thread();

    pub fn ASYNC_WAIT_CTX_new() -> *mut ASYNC_WAIT_CTX;
    pub fn ASYNC_WAIT_CTX_free(ctx: *mut ASYNC_WAIT_CTX);
    pub fn ASYNC_WAIT_CTX_set_wait_fd(
        ctx: *mut ASYNC_WAIT_CTX,
        key: *const c_void,
        fd: OSSL_ASYNC_FD,
        custom_data: *mut c_void,
        cleanup: Option<ASYNC_WAIT_CTX_cleanup_fn>,
    ) -> c_int;
    pub fn ASYNC_WAIT_CTX_get_fd(
        ctx: *mut ASYNC_WAIT_CTX,
        key: *const c_void,
        fd: *mut OSSL_ASYNC_FD,
        custom_data: *mut *mut c_void,
    ) -> c_int;
    pub fn ASYNC_WAIT_CTX_get_all_fds(
        ctx: *mut ASYNC_WAIT_CTX,
        fd: *mut OSSL_ASYNC_FD,
        numfds: *mut size_t,
    ) -> c_int;
    pub fn ASYNC_WAIT_CTX_get_changed_fds(
        ctx: *mut ASYNC_WAIT_CTX,
        addfd: *mut OSSL_ASYNC_FD,
        numaddfds: *mut size_t,
        delfd: *mut OSSL_ASYNC_FD,
        numdelfds: *mut size_t,
    ) -> c_int;
    pub fn ASYNC_WAIT_CTX_clear_fd(ctx: *mut ASYNC_WAIT_CTX, key: *const c_void) -> c_int;

    pub fn ASYNC_is_capable() -> c_int;
    pub fn ASYNC_start_job(
        job: *mut *mut ASYNC_JOB,
        ctx: *mut ASYNC_WAIT_CTX,
        ret: *mut c_int,
        func: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
        args: *mut c_void,
        size: size_t,
    ) -> c_int;
    pub fn ASYNC_pause_job() -> c_int;
    pub fn ASYNC_get_current_job() -> *mut ASYNC_JOB;
    pub fn ASYNC_get_wait_ctx(job: *mut ASYNC_JOB) -> *mut ASYNC_WAIT_CTX;
    pub fn ASYNC_block_pause();
    pub fn ASYNC_unblock_pause();
}

// openssl/async.h, OpenSSL 3.0

#[cfg(ossl300)]
pub type ASYNC_callback_fn = Option<unsafe extern "C" fn(arg: *mut c_void) -> c_int>;

#[cfg(ossl300)]
pub const ASYNC_STATUS_UNSUPPORTED: c_int = 0;
#[cfg(ossl300)]
pub const ASYNC_STATUS_ERR: c_int = 1;
#[cfg(ossl300)]
pub const ASYNC_STATUS_OK: c_int = 2;
#[cfg(ossl300)]
pub const ASYNC_STATUS_EAGAIN: c_int = 3;

#[cfg(ossl300)]
extern "C" {
    pub fn ASYNC_WAIT_CTX_get_callback(
        ctx: *mut ASYNC_WAIT_CTX,
        callback: *mut ASYNC_callback_fn,
        callback_arg: *mut *mut c_void,
    ) -> c_int;
    pub fn ASYNC_WAIT_CTX_set_callback(
        ctx: *mut ASYNC_WAIT_CTX,
        callback: ASYNC_callback_fn,
        callback_arg: *mut c_void,
    ) -> c_int;
    pub fn ASYNC_WAIT_CTX_set_status(ctx: *mut ASYNC_WAIT_CTX, status: c_int) -> c_int;
    pub fn ASYNC_WAIT_CTX_get_status(ctx: *mut ASYNC_WAIT_CTX) -> c_int;
}

// openssl/async.h, OpenSSL 3.2

#[cfg(ossl320)]
pub type ASYNC_stack_alloc_fn = Option<unsafe extern "C" fn(num: *mut size_t) -> *mut c_void>;
#[cfg(ossl320)]
pub type ASYNC_stack_free_fn = Option<unsafe extern "C" fn(addr: *mut c_void)>;

#[cfg(ossl320)]
extern "C" {
    pub fn ASYNC_set_mem_functions(
        alloc_fn: ASYNC_stack_alloc_fn,
        free_fn: ASYNC_stack_free_fn,
    ) -> c_int;
    pub fn ASYNC_get_mem_functions(
        alloc_fn: *mut ASYNC_stack_alloc_fn,
        free_fn: *mut ASYNC_stack_free_fn,
    );
}

// openssl/ssl.h, OpenSSL 1.1.0

pub const SSL_MODE_ASYNC: c_long = 0x100;
pub const SSL_CTRL_CLEAR_MODE: c_int = 78;
pub const SSL_ERROR_WANT_ASYNC: c_int = 9;
pub const SSL_ERROR_WANT_ASYNC_JOB: c_int = 10;

extern "C" {
    pub fn SSL_waiting_for_async(s: *mut SSL) -> c_int;
    pub fn SSL_get_all_async_fds(
        s: *mut SSL,
        fds: *mut OSSL_ASYNC_FD,
        numfds: *mut size_t,
    ) -> c_int;
    pub fn SSL_get_changed_async_fds(
        s: *mut SSL,
        addfd: *mut OSSL_ASYNC_FD,
        numaddfds: *mut size_t,
        delfd: *mut OSSL_ASYNC_FD,
        numdelfds: *mut size_t,
    ) -> c_int;

    pub fn SSL_is_dtls(s: *const SSL) -> c_int;
    pub fn SSL_has_pending(s: *const SSL) -> c_int;
}

#[cfg(not(ossl340))]
extern "C" {
    pub fn SSL_CTX_flush_sessions(ctx: *mut SSL_CTX, tm: c_long);
}

// openssl/ssl.h, OpenSSL 3.0

#[cfg(ossl300)]
pub type SSL_async_callback_fn =
    Option<unsafe extern "C" fn(s: *mut SSL, arg: *mut c_void) -> c_int>;

#[cfg(ossl300)]
extern "C" {
    pub fn SSL_CTX_set_async_callback(ctx: *mut SSL_CTX, callback: SSL_async_callback_fn) -> c_int;
    pub fn SSL_CTX_set_async_callback_arg(ctx: *mut SSL_CTX, arg: *mut c_void) -> c_int;
    pub fn SSL_set_async_callback(s: *mut SSL, callback: SSL_async_callback_fn) -> c_int;
    pub fn SSL_set_async_callback_arg(s: *mut SSL, arg: *mut c_void) -> c_int;
    pub fn SSL_get_async_status(s: *mut SSL, status: *mut c_int) -> c_int;
}

// openssl/ssl.h, OpenSSL 3.2

#[cfg(ossl320)]
extern "C" {
    pub fn SSL_is_quic(s: *const SSL) -> c_int;
}

// openssl/ssl.h, OpenSSL 3.4

#[cfg(ossl340)]
extern "C" {
    pub fn SSL_CTX_flush_sessions_ex(ctx: *mut SSL_CTX, tm: time_t);
}
