//! What `OPENSSL_CONF` configures. OpenSSL 1.1.0 does not load it by itself, and the others say
//! nothing when they cannot.

use std::ffi::{c_char, c_int, c_ulong};
use std::ptr;

use openssl::error::ErrorStack;

use crate::Result;

const OPENSSL_INIT_NO_LOAD_CONFIG: u64 = 0x80;
const OPENSSL_INIT_ENGINE_DYNAMIC: u64 = 0x0400;
const CONF_MFLAGS_DEFAULT_SECTION: c_ulong = 0x20;

extern "C" {
    fn OPENSSL_load_builtin_modules();
    fn CONF_modules_load_file(file: *const c_char, app: *const c_char, flags: c_ulong) -> c_int;
}

/// Loads it, before any other use of OpenSSL.
pub fn load() -> Result<()> {
    let Some(file) = std::env::var_os("OPENSSL_CONF") else {
        return Ok(());
    };
    // SAFETY: may be called at any time, and with numbers that a version does not know; the settings
    // may be null.
    unsafe {
        openssl_sys::OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, ptr::null());
        openssl_sys::OPENSSL_init_ssl(OPENSSL_INIT_ENGINE_DYNAMIC, ptr::null());
    }
    openssl::init();
    drop(ErrorStack::get());
    // SAFETY: both take what they are given here: null for the file of OPENSSL_CONF, and for the
    // section's usual name.
    let loaded = unsafe {
        OPENSSL_load_builtin_modules();
        CONF_modules_load_file(ptr::null(), ptr::null(), CONF_MFLAGS_DEFAULT_SECTION)
    };
    match loaded {
        1 => Ok(()),
        _ => Err(format!(
            "OpenSSL cannot load what OPENSSL_CONF ({}) configures: {}",
            file.to_string_lossy(),
            ErrorStack::get()
        )
        .into()),
    }
}
