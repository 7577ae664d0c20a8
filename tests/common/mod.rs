//! What the tests of the by-hand functions share: jobs started through C, and a TLS server whose
//! servername callback runs in one.

#![allow(dead_code)] // Each test file uses its part.

pub mod job;
pub mod tls;
