//! Compares every item of `openssl_async_jobs::ffi` with the headers of the OpenSSL linked.
//!
//! ```sh
//! cargo test -p systest
//! ```
//!
//! - The build fails when the C compiler finds that the type of a function or a type alias is not
//!   that of the headers, or that they lack it: see `build/redeclare.rs`.
//! - The test `values` compares constants, sizes and symbols, by means of the crate `ctest`.
//! - The test `complete` looks for what the headers have and `ffi.rs` lacks.

#[cfg(test)]
mod complete;
#[cfg(test)]
mod values;
