//! Key updates of TLS 1.3, which rust-openssl does not have.

use std::os::raw::c_int;

use foreign_types::ForeignTypeRef;
use openssl::ssl::SslRef;
use openssl_sys::SSL;

extern "C" {
    fn SSL_key_update(ssl: *mut SSL, kind: c_int) -> c_int;
}

/// Has this end change its keys with what it does next, and the other one too if that is requested.
/// False where it waits for an answer.
pub fn update_keys(ssl: &SslRef, requested: bool) -> bool {
    // SAFETY: a live SSL, which nobody uses at the moment.
    unsafe { SSL_key_update(ssl.as_ptr(), requested.into()) == 1 }
}
