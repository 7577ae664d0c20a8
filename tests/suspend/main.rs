//! `suspend`, in plain jobs and inside each kind of callback.

#[path = "../common/mod.rs"]
mod common;
mod in_callbacks;
mod in_coroutines;
mod in_exits;
mod in_extension_callbacks;
mod in_removals;
mod in_secret_callbacks;
mod in_session_callbacks;
mod in_stream_callbacks;
mod waits;
