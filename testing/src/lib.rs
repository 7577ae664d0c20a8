//! What the integration tests of `openssl-async-jobs` run against, in the test's own process:
//! OpenSSL's test engine, a provider that pauses jobs as a device would, and both ends of a TLS
//! connection. Not published.
#![deny(
    unsafe_op_in_unsafe_fn,
    missing_docs,
    clippy::undocumented_unsafe_blocks
)]

mod dasync;
#[cfg(any(engines, ossl300))]
mod linked;
pub mod pausing;
pub mod peer;
pub mod provider;
pub mod random;
pub mod tls;
pub mod woken;

#[cfg(engines)]
pub use dasync::{load_dasync, Method};

pub use dasync::{dasync_object, dasync_path};
