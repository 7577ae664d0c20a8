//! A file descriptor that a waker makes readable, for who waits with poll(2).

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::Wake;

/// Set by any thread, cleared by the one that waits.
pub(crate) struct WakeFd {
    end: sys::End,
    /// Whether it is set: a second time costs no system call.
    set: AtomicBool,
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<WakeFd> {
        Ok(WakeFd {
            end: sys::End::new()?,
            set: AtomicBool::new(false),
        })
    }

    pub(crate) fn set(&self) {
        if !self.set.swap(true, Ordering::SeqCst) {
            // Full is as good as written.
            let _ = self.end.writer().write(&1_u64.to_ne_bytes());
        }
    }

    /// Whether it was set. Look at what it stands for after this: what was set before is not seen
    /// again.
    pub(crate) fn clear(&self) -> bool {
        // Not there yet: who has set it is about to write, and it will be readable.
        let set = self.set.load(Ordering::SeqCst) && self.end.reader().read(&mut [0; 64]).is_ok();
        if set {
            // After the reading: who finds it set in between writes nothing, and is seen below.
            // A swap, so that all that those who set it have done is seen; a store promises nothing.
            self.set.swap(false, Ordering::SeqCst);
        }
        set
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.end.reader().as_raw_fd()
    }
}

impl Wake for WakeFd {
    fn wake(self: Arc<Self>) {
        self.set();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set();
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::fd::FromRawFd;

    /// An eventfd(2).
    pub(super) struct End(File);

    impl End {
        pub(super) fn new() -> io::Result<End> {
            // SAFETY: two numbers.
            match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: just opened, and nobody else's.
                fd => Ok(End(unsafe { File::from_raw_fd(fd) })),
            }
        }

        pub(super) fn reader(&self) -> &File {
            &self.0
        }

        pub(super) fn writer(&self) -> &File {
            &self.0
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::io;
    use std::os::unix::net::UnixStream;

    pub(super) struct End {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl End {
        pub(super) fn new() -> io::Result<End> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(End { reader, writer })
        }

        pub(super) fn reader(&self) -> &UnixStream {
            &self.reader
        }

        pub(super) fn writer(&self) -> &UnixStream {
            &self.writer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::wait_set::{poll, readable};

    fn is_readable(fd: &WakeFd) -> bool {
        poll(&mut [readable(fd.as_raw_fd())], 0).unwrap() == 1
    }

    #[test]
    fn it_is_readable_from_when_it_is_set_until_it_is_cleared() {
        let fd = WakeFd::new().unwrap();
        for _ in 0..3 {
            assert!(!is_readable(&fd));
            fd.set();
            fd.set();
            assert!(is_readable(&fd));
            assert!(fd.clear());
        }
        assert!(!fd.clear());
        assert!(!is_readable(&fd));
    }
}
