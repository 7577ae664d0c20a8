//! What the measurements of openssl-async-jobs stand on: peers behind one trait, rounds that take
//! turns, and the scenarios.

pub mod allocations;
pub mod child;
pub mod client;
pub mod cpu;
pub mod handlers;
pub mod identity;
pub mod machine;
pub mod measure;
pub mod peers;
pub mod plots;
pub mod raw;
pub mod report;
pub mod scenarios;
pub mod server;
pub mod settings;
pub mod small;
pub mod strace;
pub mod table;

/// Rust's allocations are counted; the peers share that cost.
#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;
