//! What an operation of a connection answers.

/// How far an operation of a [`Connection`](crate::Connection) has got.
///
/// ```
/// use openssl_async_jobs::Progress;
///
/// fn next_step(progress: Progress<usize>) -> &'static str {
///     match progress {
///         Progress::Done(_) => "send what there is, and go on",
///         Progress::WantsCiphertext => "receive, and call again",
///         Progress::HasCiphertext => "send, and call again",
///         Progress::Pending => "wait for the waker, and call again",
///     }
/// }
/// # assert_eq!(next_step(Progress::Done(1)), "send what there is, and go on");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an operation that is not done has to be called again"]
pub enum Progress<T> {
    /// It is done. There may be ciphertext to send.
    Done(T),
    /// The peer's next bytes are needed: give them to
    /// [`receive_from`](crate::Connection::receive_from), and call again.
    WantsCiphertext,
    /// There is ciphertext that the peer waits for, or too much of it to go on: take it with
    /// [`send_to`](crate::Connection::send_to), and call again.
    HasCiphertext,
    /// An asynchronous operation is paused, or waits for a free job: the waker is called when it
    /// can go on. (For callers who watch wait fds themselves: or one of
    /// [`wait_fds`](crate::Connection::wait_fds) becomes readable.) Then call again.
    Pending,
}

impl<T> Progress<T> {
    /// For one that is not done, as that of another operation.
    pub(crate) fn without_value<U>(self) -> Progress<U> {
        match self {
            Progress::Done(_) => unreachable!("only what is not done is another's"),
            Progress::WantsCiphertext => Progress::WantsCiphertext,
            Progress::HasCiphertext => Progress::HasCiphertext,
            Progress::Pending => Progress::Pending,
        }
    }
}

/// The value of an operation that is done; returns what another one needs.
macro_rules! done {
    ($progress:expr) => {
        match $progress {
            $crate::tls::Progress::Done(value) => value,
            other => return Ok(other.without_value()),
        }
    };
}
pub(super) use done;
