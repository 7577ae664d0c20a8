//! What the tests share: jobs started through C, a TLS server whose servername callback runs in one,
//! handshakes that run in one, threads, processes, and an executor to step.

#![allow(dead_code)] // Each test file uses its part.

pub mod child;
pub mod executor;
pub mod handshake;
pub mod job;
#[cfg(target_os = "linux")]
pub mod maps;
pub mod memory;
pub mod thread;
pub mod tls;
