//! OpenSSL's random numbers, made the same for each input, so that an input does the same each time.

use std::cell::Cell;
use std::sync::Once;

use libc::{c_double, c_int, c_uchar, c_void};

#[repr(C)]
struct RandMethod {
    seed: Option<unsafe extern "C" fn(*const c_void, c_int) -> c_int>,
    bytes: Option<unsafe extern "C" fn(*mut c_uchar, c_int) -> c_int>,
    cleanup: Option<unsafe extern "C" fn()>,
    add: Option<unsafe extern "C" fn(*const c_void, c_int, c_double) -> c_int>,
    pseudo_rand: Option<unsafe extern "C" fn(*mut c_uchar, c_int) -> c_int>,
    status: Option<unsafe extern "C" fn() -> c_int>,
}

extern "C" {
    fn RAND_set_rand_method(method: *const RandMethod) -> c_int;
}

static METHOD: RandMethod = RandMethod {
    seed: None,
    bytes: Some(bytes),
    cleanup: None,
    add: None,
    pseudo_rand: Some(bytes),
    status: Some(status),
};

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(1) };
}

/// From now on, on each thread from the start of it.
pub fn make_repeatable() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        openssl::init();
        // SAFETY: a static table of functions as OpenSSL declares them.
        assert_eq!(unsafe { RAND_set_rand_method(&METHOD) }, 1);
    });
}

unsafe extern "C" fn bytes(to: *mut c_uchar, len: c_int) -> c_int {
    // SAFETY: OpenSSL's buffer, of that length.
    let to = unsafe { std::slice::from_raw_parts_mut(to, len as usize) };
    for byte in to {
        // xorshift64
        let mut x = STATE.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        STATE.set(x);
        *byte = (x >> 32) as u8;
    }
    1
}

unsafe extern "C" fn status() -> c_int {
    1
}
