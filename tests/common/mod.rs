//! What the tests share: jobs started through C, a TLS server whose servername callback runs in one,
//! threads, and an executor to step.

#![allow(dead_code)] // Each test file uses its part.

pub mod executor;
pub mod job;
pub mod thread;
pub mod tls;
