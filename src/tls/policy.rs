//! Which side a connection is, and which of its operations run as jobs.

/// Which side of the handshake a [`Connection`](crate::Connection) is.
///
/// ```
/// use openssl_async_jobs::Role;
///
/// assert_ne!(Role::Client, Role::Server);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It begins (`SSL_set_connect_state`).
    Client,
    /// It answers (`SSL_set_accept_state`).
    Server,
}

/// Which operations of a connection run as asynchronous jobs, which can pause; the others run where
/// they are called.
///
/// A job that does not pause costs about 0.1 microseconds. On records of 16 KiB that is some per
/// cent of the work, on records of a byte half of it; and there is a copy of the data, as what may
/// pause owns its buffers.
///
/// ```
/// use openssl_async_jobs::AsyncPolicy;
///
/// assert_eq!(AsyncPolicy::default(), AsyncPolicy::Handshake);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AsyncPolicy {
    /// The handshake, with early data. What comes after it (records, tickets, key updates,
    /// renegotiation, shutdown) runs inline.
    #[default]
    Handshake,
    /// Everything: for devices that take records, too.
    Always,
    /// Nothing. A callback that calls [`suspend`](crate::suspend) is told
    /// [`NotInJob`](crate::SuspendError::NotInJob), unless the caller runs in a job of its own.
    Never,
}
