//! OpenSSL's asynchronous operations for applications already on [rust-openssl](openssl).
//!
//! OpenSSL (1.1.0 and later) can run an operation inside an *asynchronous job*: a fibre that an
//! engine, a provider or a callback may pause while a device, a thread or a remote service does
//! the work. The application is told (`SSL_ERROR_WANT_ASYNC`), waits on file descriptors or on a
//! callback, and calls again.
//!
//! This release has the first row of that: what an application needs to run `SSL_MODE_ASYNC` by
//! hand, and what a callback or a provider written in Rust needs to pause a job.
//!
//! | to | use |
//! |---|---|
//! | let libssl run a connection's operations as jobs | [`SslAsyncExt::set_async_mode`] (unsafe: read its contract) |
//! | tell a pause from other results | [`ErrorCodeExt`] |
//! | learn what to wait for | [`SslAsyncExt`]: the three functions `SSL_waiting_for_async`, `SSL_get_all_async_fds`, `SSL_get_changed_async_fds`, and the status and callback of OpenSSL 3.0 |
//! | limit a thread's jobs | [`JobPool`] |
//! | pause the job that is running | [`CurrentJob`] and its [`WaitContextRef`] |
//! | call C directly | [`ffi`] |
//!
//! # The one surprising rule
//!
//! While a job is paused, OpenSSL ignores the arguments of the call that resumes it: the *first*
//! call's function and buffer go on. So after a pause repeat the same call with the same buffer,
//! on the same thread, and do not free the `Ssl` before it has finished. Nothing in C or in Rust
//! checks that, which is why turning the mode on is `unsafe`.
//!
//! # Example
//!
//! One handshake step of a server with its own poll(2) loop; `examples/handshake.rs` is the whole
//! program.
//!
//! ```
//! use openssl::ssl::{Error, SslStream};
//! use openssl_async_jobs::{ErrorCodeExt, SslAsyncExt};
//! use std::io::{Read, Write};
//! use std::os::fd::RawFd;
//!
//! enum Next { Done, Socket, Fds(Vec<RawFd>) }
//!
//! fn step<S: Read + Write>(stream: &mut SslStream<S>) -> Result<Next, Error> {
//!     match stream.accept() {
//!         Ok(()) => Ok(Next::Done),
//!         Err(e) if e.code().is_want_async() => {
//!             assert!(stream.ssl().waiting_for_async());
//!             Ok(Next::Fds(stream.ssl().all_async_fds().expect("a job has run")))
//!         }
//!         Err(e) if e.io_error().is_some() || e.ssl_error().is_some() => Err(e),
//!         Err(_) => Ok(Next::Socket), // wants to read or write
//!     }
//! }
//! ```
//!
//! # Platforms
//!
//! OpenSSL 1.1.0 to 4.0 on Unix. Where OpenSSL has no fibres ([`is_capable`] answers `false`: musl,
//! Android, OpenBSD, builds with `no-async`) everything builds, and operations run synchronously.
//! Not LibreSSL, BoringSSL or AWS-LC, which have no jobs: the build stops with a sentence.

#![deny(missing_docs, unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod async_callback;
mod error;
mod fds;
pub mod ffi;
mod job;
mod ssl_ext;
mod status;

pub use crate::error::Error;
pub use crate::job::{
    is_capable, CurrentJob, JobPool, JobPoolBuilder, Notifier, WaitContextRef, WaitKey,
};
pub use crate::ssl_ext::{ErrorCodeExt, SslAsyncExt, SslContextBuilderAsyncExt};
pub use crate::status::AsyncStatus;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
