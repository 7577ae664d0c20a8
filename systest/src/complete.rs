//! Whether `ffi.rs` has all that the headers have of asynchronous operation.

use std::collections::BTreeSet;

/// `openssl/async.h`, `openssl/ssl.h` and what they include, preprocessed, with the macros kept.
const HEADERS: &str = include_str!(concat!(env!("OUT_DIR"), "/headers.i"));
/// The names of the items of `ffi.rs` that are there with this OpenSSL, one on a line.
const ITEMS: &str = include_str!(concat!(env!("OUT_DIR"), "/items.txt"));

/// The namespaces of C names that `ffi.rs` is about, as far as they say `async`.
const NAMESPACES: &[&str] = &["ASYNC_", "ERR_", "OSSL_", "SSL_"];

/// What the headers have and `ffi.rs` is not to have.
const LEFT_OUT: &[&str] = &[
    // Does nothing since OpenSSL 1.1.0, which loads error strings by itself.
    "ERR_load_ASYNC_strings",
    // Of openssl/err.h and openssl/sslerr.h: numbers in an error stack.
    "ERR_LIB_ASYNC",
    "SSL_R_FAILED_TO_INIT_ASYNC",
    // Results of SSL_want(), and macros that call it: SSL_get_error() says the same.
    "SSL_ASYNC_PAUSED",
    "SSL_ASYNC_NO_JOBS",
    "SSL_want_async",
    "SSL_want_async_job",
];

/// The same, by prefix: function codes, which OpenSSL 3.0 made 0 and deprecated.
const LEFT_OUT_PREFIXES: &[&str] = &["ASYNC_F_", "SSL_F_"];

fn names() -> BTreeSet<&'static str> {
    HEADERS
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|name| NAMESPACES.iter().any(|prefix| name.starts_with(prefix)))
        .filter(|name| name.to_ascii_lowercase().contains("async"))
        .collect()
}

#[test]
fn complete() {
    let items: BTreeSet<&str> = ITEMS.lines().collect();
    let missing: Vec<_> = names()
        .into_iter()
        .filter(|name| {
            !LEFT_OUT_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .filter(|name| !LEFT_OUT.contains(name) && !items.contains(name))
        .collect();
    assert!(missing.is_empty(), "ffi.rs lacks {missing:?}");
}

#[test]
fn left_out_is_not_there() {
    let items: BTreeSet<&str> = ITEMS.lines().collect();
    let there: Vec<_> = LEFT_OUT
        .iter()
        .filter(|name| items.contains(*name))
        .collect();
    assert!(there.is_empty(), "ffi.rs has {there:?} after all");
}

/// Else the other tests would pass on headers that were not read.
#[test]
fn headers_were_read() {
    for name in ["ASYNC_PAUSE", "ASYNC_start_job", "SSL_MODE_ASYNC"] {
        assert!(names().contains(name), "{name}");
    }
}
