//! A thread that ends with jobs in flight. What it leaks is counted for the process, so these tests are
//! in a process of their own, and come one by one. The main thread: `main_thread_end.rs`.

mod borrowed;
#[path = "../common/mod.rs"]
mod common;
mod in_flight;
