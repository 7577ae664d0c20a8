//! `SslStream`, over sockets and over transports in memory. What it allocates: `stream_thrift.rs`.

mod blocking;
#[path = "../common/mod.rs"]
mod common;
mod features;
mod held_up;
mod interest;
mod lengths;
mod like_rust_openssl;
mod nonblocking;
mod regressions;
mod scripted_transport;
mod sessions;
mod through;
mod truncation;
