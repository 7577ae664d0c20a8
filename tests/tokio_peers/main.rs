//! The examples `https_server`, `https_client` and `migrate` as processes, with real HTTP clients, while
//! lookups are suspended: none waits for another one, and none loses a byte (H2, H6).

#[path = "../common/mod.rs"]
mod common;

mod certificates;
mod clients;
mod curl;
mod migrate;
mod shutdown;
mod site;
