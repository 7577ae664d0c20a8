//! An allocator for OpenSSL that fails when it is told to. It is the process's: for processes of
//! their own, before their first call to OpenSSL.

use std::sync::atomic::{AtomicI64, Ordering};

use libc::{c_char, c_int, c_void, size_t};

type Malloc = unsafe extern "C" fn(size_t, *const c_char, c_int) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, size_t, *const c_char, c_int) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void, *const c_char, c_int);

extern "C" {
    fn CRYPTO_set_mem_functions(malloc: Malloc, realloc: Realloc, free: Free) -> c_int;
}

/// How many more allocations succeed; below 0 all do.
static LEFT: AtomicI64 = AtomicI64::new(-1);
/// How many fail after those.
static FAILING: AtomicI64 = AtomicI64::new(0);
static FAILED: AtomicI64 = AtomicI64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

pub fn install() {
    // SAFETY: functions as C's own, and OpenSSL has allocated nothing yet, as it checks.
    let set = unsafe { CRYPTO_set_mem_functions(malloc, realloc, free) };
    assert_eq!(set, 1, "OpenSSL has allocated already");
}

/// Runs it with the allocation failing that comes after `n` others, and as many after it in turn.
/// Whether any did.
pub fn with_failures<T>(n: i64, failures: i64, test: impl FnOnce() -> T) -> (T, bool) {
    FAILED.store(0, Ordering::SeqCst);
    FAILING.store(failures, Ordering::SeqCst);
    LEFT.store(n, Ordering::SeqCst);
    let result = test();
    LEFT.store(-1, Ordering::SeqCst);
    (result, FAILED.load(Ordering::SeqCst) > 0)
}

/// What OpenSSL has, in allocations.
pub fn live() -> i64 {
    LIVE.load(Ordering::SeqCst)
}

fn fails() -> bool {
    match LEFT.load(Ordering::SeqCst) {
        left if left < 0 => return false,
        0 => {}
        _ => {
            LEFT.fetch_sub(1, Ordering::SeqCst);
            return false;
        }
    }
    let fails = FAILING.fetch_sub(1, Ordering::SeqCst) > 0;
    if fails {
        FAILED.fetch_add(1, Ordering::SeqCst);
    }
    fails
}

unsafe extern "C" fn malloc(size: size_t, _: *const c_char, _: c_int) -> *mut c_void {
    if size == 0 || fails() {
        return std::ptr::null_mut();
    }
    LIVE.fetch_add(1, Ordering::SeqCst);
    // SAFETY: a size.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn realloc(
    memory: *mut c_void,
    size: size_t,
    file: *const c_char,
    line: c_int,
) -> *mut c_void {
    if memory.is_null() {
        // SAFETY: as the caller's.
        return unsafe { malloc(size, file, line) };
    }
    if size == 0 {
        // SAFETY: the caller's memory, which it gives up.
        unsafe { free(memory, file, line) };
        return std::ptr::null_mut();
    }
    if fails() {
        return std::ptr::null_mut();
    }
    // SAFETY: the caller's memory, of `malloc` above.
    unsafe { libc::realloc(memory, size) }
}

unsafe extern "C" fn free(memory: *mut c_void, _: *const c_char, _: c_int) {
    if !memory.is_null() {
        LIVE.fetch_sub(1, Ordering::SeqCst);
    }
    // SAFETY: null, or memory of `malloc` above.
    unsafe { libc::free(memory) }
}
