//! `ASYNC_STATUS_*`: what an engine says of the operation that it paused a job for.

use libc::c_int;

/// What the producer of an asynchronous operation says of it (`ASYNC_STATUS_*`, OpenSSL 3.0).
///
/// See [`ASYNC_WAIT_CTX_new(3)`](https://docs.openssl.org/master/man3/ASYNC_WAIT_CTX_new/).
///
/// ```
/// use openssl_async_jobs::AsyncStatus;
///
/// assert_eq!(AsyncStatus::from_raw(2), AsyncStatus::Ok);
/// assert_eq!(AsyncStatus::Eagain.as_raw(), 3);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AsyncStatus {
    /// `ASYNC_STATUS_UNSUPPORTED`: the producer sets no status; what a new wait context says.
    Unsupported,
    /// `ASYNC_STATUS_ERR`: the operation failed.
    Err,
    /// `ASYNC_STATUS_OK`: the operation was submitted or has finished.
    Ok,
    /// `ASYNC_STATUS_EAGAIN`: the device was busy; nothing will complete, resume to try again.
    Eagain,
    /// A number that OpenSSL's headers do not name.
    Other(c_int),
}

// The values of openssl/async.h, which systest compares. Not taken from `ffi`, which lacks them
// where OpenSSL is older than 3.0.
impl AsyncStatus {
    /// From OpenSSL's number.
    ///
    /// ```
    /// use openssl_async_jobs::AsyncStatus;
    /// assert_eq!(AsyncStatus::from_raw(7), AsyncStatus::Other(7));
    /// ```
    pub fn from_raw(status: c_int) -> AsyncStatus {
        match status {
            0 => AsyncStatus::Unsupported,
            1 => AsyncStatus::Err,
            2 => AsyncStatus::Ok,
            3 => AsyncStatus::Eagain,
            other => AsyncStatus::Other(other),
        }
    }

    /// OpenSSL's number.
    ///
    /// ```
    /// use openssl_async_jobs::AsyncStatus;
    /// assert_eq!(AsyncStatus::Unsupported.as_raw(), 0);
    /// ```
    pub fn as_raw(self) -> c_int {
        match self {
            AsyncStatus::Unsupported => 0,
            AsyncStatus::Err => 1,
            AsyncStatus::Ok => 2,
            AsyncStatus::Eagain => 3,
            AsyncStatus::Other(other) => other,
        }
    }
}

#[cfg(all(test, ossl300))]
mod tests {
    use super::AsyncStatus;
    use crate::ffi;

    #[test]
    fn the_numbers_are_those_of_the_headers() {
        for (status, raw) in [
            (AsyncStatus::Unsupported, ffi::ASYNC_STATUS_UNSUPPORTED),
            (AsyncStatus::Err, ffi::ASYNC_STATUS_ERR),
            (AsyncStatus::Ok, ffi::ASYNC_STATUS_OK),
            (AsyncStatus::Eagain, ffi::ASYNC_STATUS_EAGAIN),
            (AsyncStatus::Other(-5), -5),
        ] {
            assert_eq!(AsyncStatus::from_raw(raw), status);
            assert_eq!(status.as_raw(), raw);
        }
    }
}
