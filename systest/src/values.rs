//! What `ctest` compares at run time.

use std::ffi::c_long;

use openssl_async_jobs::ffi::*;

#[allow(clippy::all, clippy::undocumented_unsafe_blocks)]
mod generated {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/values.rs"));

    pub(super) fn run() {
        main();
    }
}

#[test]
fn values() {
    generated::run();
}
