//! What is measured, one file a scenario: each gives tables of the report.

mod asynchronous;
mod bulk;
mod connections;
mod handshakes;
mod jobs;
mod libraries;
mod memory;
mod ping_pong;
mod small_writes;
mod system_calls;
mod ticker;
mod wake;

use std::io;

use crate::settings::Settings;
use crate::table::Table;

/// A name to choose it by, and what runs it.
pub type Scenario = (&'static str, fn(&Settings) -> io::Result<Vec<Table>>);

/// In the order of the report.
pub const ALL: [Scenario; 12] = [
    ("system-calls", system_calls::run),
    ("ping-pong", ping_pong::run),
    ("bulk", bulk::run),
    ("small-writes", small_writes::run),
    ("libraries", libraries::run),
    ("handshakes", handshakes::run),
    ("asynchronous", asynchronous::run),
    ("ticker", ticker::run),
    ("jobs", jobs::run),
    ("wake", wake::run),
    ("memory", memory::run),
    ("connections", connections::run),
];
