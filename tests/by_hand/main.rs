//! `SSL_MODE_ASYNC` by hand: what both sides of a paused job are told, and may not do.

#[path = "../common/mod.rs"]
mod common;
mod producer;
mod status_and_callback;
mod three_functions;
