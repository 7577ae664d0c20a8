//! How this process is linked to OpenSSL.

use std::ffi::c_void;
use std::mem::MaybeUninit;

use openssl_sys as ffi;

/// Whether libcrypto is a shared object: if not, it can load no engine and no provider, for they
/// would not find its symbols.
pub(crate) fn dynamically() -> bool {
    object(ffi::EVP_MD_CTX_new as *const c_void) != object(dynamically as *const c_void)
}

/// The address at which the object is loaded that a function is in.
fn object(function: *const c_void) -> *mut c_void {
    let mut info = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: dladdr(3) takes any address, and fills `info` unless it returns 0.
    unsafe {
        assert_ne!(libc::dladdr(function, info.as_mut_ptr()), 0, "dladdr");
        info.assume_init().dli_fbase
    }
}
