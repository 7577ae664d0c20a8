//! OpenSSL's asynchronous operations for applications already on [rust-openssl](openssl).
//!
//! OpenSSL (1.1.0 and later) can run an operation inside an *asynchronous job*: a fibre that an
//! engine, a provider or a callback may pause while a device, a thread or a remote service does
//! the work. The application is told (`SSL_ERROR_WANT_ASYNC`), waits on file descriptors or on a
//! callback, and calls again.
//!
//! # Three levels
//!
//! | | for | the one surprising rule |
//! |---|---|---|
//! | [streams](#tls): [`SslStream`], [`Connection`], and those of the module `tokio` | TLS connections whose callbacks wait for something, or whose engine pauses | a stream that may have a job stays on its thread; only a handshake is a job unless [`AsyncPolicy`] says otherwise |
//! | [jobs](#jobs): [`Job`] and [`suspend`] | any closure over libcrypto or libssl, with whatever stream or library makes the calls | a job stays on its thread, and what it holds while it is paused stays held |
//! | [by hand](#ssl_mode_async-by-hand): [`SslAsyncExt`] | an event loop of one's own around libssl's own jobs | the call that resumes a job goes on with the *first* call's buffer, so it is `unsafe` |
//!
//! Begin with streams. Something does not work: [`troubleshooting`].
//!
//! # A paused handshake
//!
//! One that a callback suspends. With an engine that pauses, the device takes the place of the future, and its
//! callback or wait fd that of the waker.
//!
//! ```text
//!  task                  stream                job (a fibre)            elsewhere
//!   |  accept().await      |                     |                        |
//!   |--------------------->|  ClientHello        |                        |
//!   |                      |----- starts ------->|  SSL_do_handshake      |
//!   |                      |                     |  servername callback   |
//!   |                      |                     |  suspend(look_up())    |
//!   |                      |<---- pauses --------|                        |
//!   |                      |  polls the future, with the task's waker     |
//!   |                      |--------------------------------------------->|
//!   |<-- Poll::Pending ----|                     .                        |
//!   |                      .  (the thread runs other tasks and jobs)      |
//!   |                      .                     .                        |
//!   |<------------------------------ wakes -------------------------------|
//!   |  polls again         |                     .                        |
//!   |--------------------->|  polls the future: it is ready               |
//!   |                      |----- resumes ------>|  suspend returns       |
//!   |                      |                     |  the callback returns  |
//!   |                      |                     |  ServerHello .. done   |
//!   |                      |<---- ends ----------|                        |
//!   |<-- Poll::Ready ------|
//! ```
//!
//! Dropped instead of polled again, the stream drops the future, `suspend` answers
//! [`Cancelled`](SuspendError::Cancelled), and the callback and the handshake fail before the drop returns.
//!
//! # Jobs
//!
//! A [`Job`] runs a closure as an asynchronous job and is a future of its result. Whatever in it
//! calls libcrypto or libssl may be paused by an engine or a provider; and [`suspend`] pauses it
//! until a Rust future is ready, from inside *any* callback of rust-openssl. That turns each of its
//! synchronous callbacks into an asynchronous one:
//!
//! ```
//! use openssl::ssl::{NameType, SniError, SslContextBuilder};
//! use openssl_async_jobs::suspend;
//!
//! # async fn look_up(_: String) -> Option<openssl::ssl::SslContext> { None }
//! fn await_certificates(ctx: &mut SslContextBuilder) {
//!     ctx.set_servername_callback(|ssl, _| {
//!         let name = ssl.servername(NameType::HOST_NAME).unwrap_or("").to_owned();
//!         let found = suspend(look_up(name)).map_err(|_| SniError::ALERT_FATAL)?;
//!         let found = found.ok_or(SniError::ALERT_FATAL)?;
//!         ssl.set_ssl_context(&found).map_err(|_| SniError::ALERT_FATAL)
//!     });
//! }
//! ```
//!
//! The one surprising rule: a job stays on its thread, so [`Job`] is not `Send`. It runs on any
//! executor that keeps a task on one thread, and without one through [`block_on`].
//!
//! | to | use |
//! |---|---|
//! | run a closure as a job | [`Job`] |
//! | await inside a callback | [`suspend`] |
//! | run jobs without a runtime | [`block_on`], [`Job::block_on`] |
//! | limit and observe a thread's jobs | [`JobPool`], [`JobStats`] |
//! | pause the job that is running, as an engine does | [`CurrentJob`] and its [`WaitContextRef`] |
//!
//! `examples/callback` is a server of that kind, `examples/sign` signs with whatever engine there is.
//!
//! # TLS
//!
//! [`SslStream`] is rust-openssl's stream with operations that run as jobs, for std: over blocking
//! sockets, and over non-blocking ones with a poller. [`Connection`] is what it stands on, without a
//! transport. `examples/mio_server` is an HTTPS server with it.
//!
//! | to | use |
//! |---|---|
//! | read and write over a socket | [`SslStream`] |
//! | know what to poll for | [`SslStream::interest`], or [`SslStream::wait`] |
//! | run records as jobs, too, or nothing | [`AsyncPolicy`] |
//! | move ciphertext yourself | [`Connection`] |
//!
//! With the feature `tokio` there are streams for tokio, and threads for their handshakes: the
//! module `tokio`, and `examples/https_server` and `examples/https_client`. With the feature `tracing` each handshake is a span (`handshake`, with its `role`),
//! in which `pause` and `resume` are events, and say how long it ran and how long it was paused
//! (`ran_us`, `paused_us`, in microseconds).
//!
//! # `SSL_MODE_ASYNC` by hand
//!
//! libssl can also run a connection's operations as jobs by itself, for applications with an event
//! loop of their own. Its one surprising rule: while a job is paused, OpenSSL ignores the
//! arguments of the call that resumes it, and the *first* call's function and buffer go on. So
//! after a pause repeat the same call with the same buffer, on the same thread, and do not free the
//! `Ssl` before it has finished. Nothing in C or in Rust checks that, which is why turning the mode
//! on is `unsafe`.
//!
//! | to | use |
//! |---|---|
//! | let libssl run a connection's operations as jobs | [`SslAsyncExt::set_async_mode`] (unsafe: read its contract) |
//! | tell a pause from other results | [`ErrorCodeExt`] |
//! | learn what to wait for | [`SslAsyncExt`]: the three functions `SSL_waiting_for_async`, `SSL_get_all_async_fds`, `SSL_get_changed_async_fds`, and the status and callback of OpenSSL 3.0 |
//! | call C directly | [`ffi`] |
//!
//! One handshake step of such a server; `examples/handshake` is the whole program.
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
//! Android, OpenBSD, builds with `no-async`) everything builds, and operations run synchronously;
//! [`suspend`] answers [`NotInJob`](SuspendError::NotInJob).
//! Not LibreSSL, BoringSSL or AWS-LC, which have no jobs: the build stops with a sentence.

#![deny(missing_docs, unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod async_callback;
mod error;
mod fds;
pub mod ffi;
mod job;
mod panics;
mod ssl_ext;
mod status;
mod sync;
mod tls;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;
mod trace;

pub use crate::error::Error;
pub use crate::job::{
    block_on, is_capable, suspend, CurrentJob, Job, JobOwner, JobPool, JobPoolBuilder, JobStats,
    Notifier, Reap, SuspendError, WaitContextRef, WaitKey,
};
pub use crate::ssl_ext::{ErrorCodeExt, SslAsyncExt, SslContextBuilderAsyncExt};
pub use crate::status::AsyncStatus;
pub use crate::tls::{AsyncPolicy, Connection, Interest, Progress, Role, SslStream};

#[doc = include_str!("../docs/troubleshooting.md")]
pub mod troubleshooting {}

/// The README's examples compile.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
