//! TLS connections whose operations run as jobs.

mod buffer;
mod connection;
mod copy;
mod drive;
#[cfg(ossl111)]
mod early_data;
mod inline;
mod interest;
mod kept;
mod link;
mod operation;
mod policy;
mod polls;
mod progress;
mod sending;
mod session;
mod stream;
mod stream_access;
mod transfer;
mod transport;
mod wakers;
mod wire;
mod writing;

#[cfg(feature = "tokio")]
pub(crate) use buffer::{Buffer, Plain};
#[cfg(feature = "tokio")]
pub(crate) use drive::WRITE_LIMIT;
#[cfg(feature = "tokio")]
pub(crate) use link::{is_end, Link, Transport};
#[cfg(feature = "tokio")]
pub(crate) use wakers::{Caller, Wakers};

pub use connection::Connection;
pub use interest::Interest;
pub use policy::{AsyncPolicy, Role};
pub use progress::Progress;
pub use stream::SslStream;
