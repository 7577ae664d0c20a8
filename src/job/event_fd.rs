//! An eventfd(2), or a pair of sockets where there is none: readable from a write until a read.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};

pub(crate) use sys::EventFd;

impl EventFd {
    pub(crate) fn write(&self) {
        // Full is as good as written.
        let _ = self.writer().write(&1_u64.to_ne_bytes());
    }

    /// Whether there was something to read.
    pub(crate) fn read(&self) -> bool {
        self.reader().read(&mut [0; 64]).is_ok()
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.reader().as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::fd::FromRawFd;

    pub(crate) struct EventFd(File);

    impl EventFd {
        pub(crate) fn new() -> io::Result<EventFd> {
            // SAFETY: two numbers.
            match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: just opened, and nobody else's.
                fd => Ok(EventFd(unsafe { File::from_raw_fd(fd) })),
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

    pub(crate) struct EventFd {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl EventFd {
        pub(crate) fn new() -> io::Result<EventFd> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(EventFd { reader, writer })
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
    use std::os::fd::AsRawFd;

    use crate::job::wait_set::{poll, readable};
    use crate::job::wake_fd::WakeFd;

    fn is_readable(fd: &WakeFd) -> bool {
        poll(&mut [readable(fd.as_raw_fd())], 0).unwrap() == 1
    }

    #[test]
    #[cfg_attr(miri, ignore = "poll(2)")]
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
