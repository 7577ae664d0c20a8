//! A socket that pauses the job that would block on it: the socket itself is the wait fd.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use openssl_async_jobs::{CurrentJob, Error, WaitKey};

pub struct Socket(TcpStream);

impl Socket {
    pub fn new(socket: TcpStream) -> io::Result<Socket> {
        socket.set_nonblocking(true)?;
        Ok(Socket(socket))
    }

    fn wait_until_readable(&self) -> Result<(), Error> {
        static KEY: WaitKey = WaitKey::new();
        let job = CurrentJob::get().ok_or(Error::NotInJob)?;
        let context = job.wait_context()?;
        context.set_wait_fd_with(&KEY, self.0.as_raw_fd(), |_| ())?;
        let paused = job.pause();
        context.clear_fd(&KEY)?;
        paused
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait_until_readable()?,
                done => return done,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(buffer) {
                // Wait fds are for reading; so the others have their turn, and it is tried again.
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    CurrentJob::get().ok_or(Error::NotInJob)?.pause()?;
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
