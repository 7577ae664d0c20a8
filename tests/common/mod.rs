//! What the tests share: jobs started through C, a TLS server whose servername callback runs in one,
//! handshakes that run in one, an engine that pauses jobs, connections in memory, threads and their
//! ends, processes, and executors.

#![allow(dead_code)] // Each test file uses its part.

pub mod both;
pub mod child;
pub mod compare;
pub mod duo;
pub mod ending;
pub mod engine;
pub mod example;
pub mod executor;
pub mod failing_malloc;
pub mod handshake;
pub mod job;
#[cfg(ossl111)]
pub mod key_update;
#[cfg(target_os = "linux")]
pub mod maps;
pub mod memory;
pub mod polled;
pub mod records;
#[cfg(target_os = "linux")]
pub mod refuse;
pub mod runner;
pub mod script;
pub mod thread;
pub mod tls;
pub mod unknown;
pub mod wait_fd;
