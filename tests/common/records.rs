//! A callback for each record that a connection reads or writes, in all versions of OpenSSL: with it
//! any operation can be paused.

use std::os::raw::{c_int, c_void};

use foreign_types::ForeignTypeRef;
use openssl::ssl::SslRef;
use openssl_sys::SSL;

type Message =
    unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, usize, *mut SSL, *mut c_void);

extern "C" {
    fn SSL_set_msg_callback(ssl: *mut SSL, callback: Option<Message>);
}

/// `SSL_CTRL_SET_MSG_CALLBACK_ARG`.
const SET_ARGUMENT: c_int = 16;
/// What is told of a record's header, besides the types of TLS.
const HEADER: c_int = 256;

/// Has the function called with each record of this connection. It must not panic.
pub fn on_each_record(ssl: &mut SslRef, call: fn()) {
    // SAFETY: a live SSL, a function of that signature, and its argument.
    unsafe {
        SSL_set_msg_callback(ssl.as_ptr(), Some(message));
        openssl_sys::SSL_ctrl(ssl.as_ptr(), SET_ARGUMENT, 0, call as *mut c_void);
    }
}

unsafe extern "C" fn message(
    _write: c_int,
    _version: c_int,
    content: c_int,
    _bytes: *const c_void,
    _len: usize,
    _ssl: *mut SSL,
    argument: *mut c_void,
) {
    if content == HEADER {
        // SAFETY: `on_each_record` made it of a function of this type.
        let call: fn() = unsafe { std::mem::transmute(argument) };
        call();
    }
}
