//! The two calls that OpenSSL wants for a list of fds: one to count them, one to fill a buffer.
//!
//! `crypto/async/async_wait.c` writes as many numbers as it counted, without a bound, so the
//! buffer is measured against the count between the two. Nothing changes the list in between:
//! only the thread that runs the job does, and it is here (rule 7 of `SslAsyncExt::set_async_mode`).

use std::os::fd::RawFd;
use std::ptr;

use crate::error::Error;

/// One of `SSL_get_all_async_fds` and `ASYNC_WAIT_CTX_get_all_fds`; false is C's 0.
///
/// # Safety
///
/// With a null pointer it must only count. Else it must write at most the number of fds that it
/// counted last.
pub(crate) unsafe trait AllFds {
    fn ask(&self, fds: *mut RawFd, len: &mut usize) -> bool;
}

/// One of `SSL_get_changed_async_fds` and `ASYNC_WAIT_CTX_get_changed_fds`; false is C's 0.
///
/// # Safety
///
/// With two null pointers it must only count. Else it must write, through those that are not
/// null, at most the numbers of fds that it counted last.
pub(crate) unsafe trait ChangedFds {
    fn ask(&self, added: (*mut RawFd, &mut usize), deleted: (*mut RawFd, &mut usize)) -> bool;
}

pub(crate) fn all(source: &impl AllFds) -> Result<Vec<RawFd>, Error> {
    let mut fds = vec![0; count_all(source)?];
    fill_all(source, &mut fds)?;
    Ok(fds)
}

#[inline]
pub(crate) fn all_into<'b>(
    source: &impl AllFds,
    fds: &'b mut [RawFd],
) -> Result<&'b mut [RawFd], Error> {
    let fds = fit(fds, count_all(source)?)?;
    fill_all(source, fds)?;
    Ok(fds)
}

pub(crate) fn changed(source: &impl ChangedFds) -> Result<(Vec<RawFd>, Vec<RawFd>), Error> {
    let (added, deleted) = count_changed(source)?;
    let (mut added, mut deleted) = (vec![0; added], vec![0; deleted]);
    fill_changed(source, &mut added, &mut deleted)?;
    Ok((added, deleted))
}

pub(crate) fn changed_into<'b>(
    source: &impl ChangedFds,
    added: &'b mut [RawFd],
    deleted: &'b mut [RawFd],
) -> Result<(&'b mut [RawFd], &'b mut [RawFd]), Error> {
    let (num_added, num_deleted) = count_changed(source)?;
    let added = fit(added, num_added)?;
    let deleted = fit(deleted, num_deleted)?;
    fill_changed(source, added, deleted)?;
    Ok((added, deleted))
}

#[inline]
fn fit(buffer: &mut [RawFd], needed: usize) -> Result<&mut [RawFd], Error> {
    let len = buffer.len();
    match buffer.get_mut(..needed) {
        Some(fds) => Ok(fds),
        None => too_small(needed, len),
    }
}

/// Not inlined, so that what is usual needs no room for it.
#[cold]
fn too_small<T>(needed: usize, len: usize) -> Result<T, Error> {
    Err(Error::BufferTooSmall { needed, len })
}

#[cold]
fn not_started<T>() -> Result<T, Error> {
    Err(Error::NotStarted)
}

// In every OpenSSL from 1.1.0 to 4.0, 0 means that there is no wait context (also of an SSL that is
// no connection, a QUIC listener) and nothing else, and puts nothing in the error queue; which is
// left alone, as what it holds is somebody else's.

#[inline]
fn count_all(source: &impl AllFds) -> Result<usize, Error> {
    let mut len = 0;
    match source.ask(ptr::null_mut(), &mut len) {
        true => Ok(len),
        false => not_started(),
    }
}

fn count_changed(source: &impl ChangedFds) -> Result<(usize, usize), Error> {
    let (mut added, mut deleted) = (0, 0);
    match source.ask(
        (ptr::null_mut(), &mut added),
        (ptr::null_mut(), &mut deleted),
    ) {
        true => Ok((added, deleted)),
        false => not_started(),
    }
}

#[inline]
fn fill_all(source: &impl AllFds, fds: &mut [RawFd]) -> Result<(), Error> {
    if fds.is_empty() {
        return Ok(());
    }
    let mut len = 0;
    match source.ask(fds.as_mut_ptr(), &mut len) {
        true => Ok(()),
        false => not_started(),
    }
}

fn fill_changed(
    source: &impl ChangedFds,
    added: &mut [RawFd],
    deleted: &mut [RawFd],
) -> Result<(), Error> {
    // OpenSSL skips a list whose pointer is null, and only counts if both are.
    fn start(fds: &mut [RawFd]) -> *mut RawFd {
        match fds {
            [] => ptr::null_mut(),
            _ => fds.as_mut_ptr(),
        }
    }
    if added.is_empty() && deleted.is_empty() {
        return Ok(());
    }
    let (mut num_added, mut num_deleted) = (0, 0);
    match source.ask(
        (start(added), &mut num_added),
        (start(deleted), &mut num_deleted),
    ) {
        true => Ok(()),
        false => not_started(),
    }
}
