//! Each of the three functions returns exactly what the two calls in C return.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Arc, Mutex};

use crate::common::tls::{async_server_context, Pair, Step};
use foreign_types::ForeignTypeRef;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslRef};
use openssl_async_jobs::{ffi, CurrentJob, Error, SslAsyncExt, WaitKey};

/// What C says: `None` for 0.
fn c_all(ssl: &SslRef) -> Option<Vec<RawFd>> {
    let mut len = 0;
    // SAFETY: a live SSL; null counts, then a buffer of that length.
    unsafe {
        if ffi::SSL_get_all_async_fds(ssl.as_ptr(), ptr::null_mut(), &mut len) == 0 {
            return None;
        }
        let mut fds = vec![-9; len];
        assert_eq!(
            ffi::SSL_get_all_async_fds(ssl.as_ptr(), fds.as_mut_ptr(), &mut len),
            1
        );
        Some(fds)
    }
}

fn c_changed(ssl: &SslRef) -> Option<(Vec<RawFd>, Vec<RawFd>)> {
    let (mut added, mut deleted) = (0, 0);
    // SAFETY: a live SSL; nulls count, then buffers of those lengths.
    unsafe {
        let (s, null) = (ssl.as_ptr(), ptr::null_mut());
        if ffi::SSL_get_changed_async_fds(s, null, &mut added, null, &mut deleted) == 0 {
            return None;
        }
        let (mut add, mut del) = (vec![-9; added], vec![-9; deleted]);
        let (a, d) = (add.as_mut_ptr(), del.as_mut_ptr());
        assert_eq!(
            ffi::SSL_get_changed_async_fds(s, a, &mut added, d, &mut deleted),
            1
        );
        Some((add, del))
    }
}

/// Compares every form with C, and returns what they agree on.
fn agree(ssl: &SslRef) -> (bool, Vec<RawFd>, Vec<RawFd>, Vec<RawFd>) {
    // SAFETY: a live SSL.
    let waiting = unsafe { ffi::SSL_waiting_for_async(ssl.as_ptr()) } == 1;
    assert_eq!(ssl.waiting_for_async(), waiting);

    let all = c_all(ssl).expect("a job has run");
    assert_eq!(ssl.all_async_fds().unwrap(), all);
    for spare in [0, 1, 7] {
        let mut buffer = vec![-7; all.len() + spare];
        assert_eq!(ssl.all_async_fds_into(&mut buffer).unwrap(), all);
        assert!(buffer[all.len()..].iter().all(|fd| *fd == -7));
    }
    if !all.is_empty() {
        let mut small = vec![-7; all.len() - 1];
        let refused = ssl.all_async_fds_into(&mut small);
        assert!(matches!(refused, Err(Error::BufferTooSmall { needed, len })
                if needed == all.len() && len == all.len() - 1));
        assert!(small.iter().all(|fd| *fd == -7), "written to");
    }

    let (added, deleted) = c_changed(ssl).expect("a job has run");
    assert_eq!(
        ssl.changed_async_fds().unwrap(),
        (added.clone(), deleted.clone())
    );
    for spare in [0, 3] {
        let (mut a, mut d) = (
            vec![-7; added.len() + spare],
            vec![-7; deleted.len() + spare],
        );
        let (a, d) = ssl.changed_async_fds_into(&mut a, &mut d).unwrap();
        assert_eq!((&*a, &*d), (&*added, &*deleted));
    }
    for (short_of_added, short_of_deleted) in [(1, 0), (0, 1)] {
        let (Some(a), Some(d)) = (
            added.len().checked_sub(short_of_added),
            deleted.len().checked_sub(short_of_deleted),
        ) else {
            continue;
        };
        let (mut a, mut d) = (vec![-7; a], vec![-7; d]);
        assert!(matches!(
            ssl.changed_async_fds_into(&mut a, &mut d),
            Err(Error::BufferTooSmall { .. })
        ));
        assert!(a.iter().chain(&d).all(|fd| *fd == -7), "written to");
    }
    (waiting, all, added, deleted)
}

fn sorted(mut fds: Vec<RawFd>) -> Vec<RawFd> {
    fds.sort_unstable();
    fds
}

fn keys() -> &'static [WaitKey; 64] {
    static KEYS: [WaitKey; 64] = [const { WaitKey::new() }; 64];
    &KEYS
}

fn eventfd() -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: takes no pointers; what it returns is nobody else's.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// What happens between two pauses: keys to clear, then keys to set.
#[derive(Clone, Default)]
struct Change {
    clear: Vec<usize>,
    set: Vec<usize>,
    clear_again: Vec<usize>,
}

/// A model of a wait context, by key.
#[derive(Default)]
struct Model {
    fds: HashMap<usize, RawFd>,
    added: Vec<RawFd>,
    deleted: Vec<RawFd>,
}

/// Runs a handshake that pauses after each of the changes, and checks the three functions against
/// C and against the model at each pause, and after the last.
fn run(changes: Vec<Change>) {
    let model = Arc::new(Mutex::new(Model::default()));
    let script = (Arc::clone(&model), changes.clone());
    let ctx = async_server_context(move |_| {
        let (model, changes) = &script;
        let job = CurrentJob::get().expect("a callback of SSL_MODE_ASYNC runs in a job");
        for change in changes {
            {
                let mut model = model.lock().unwrap();
                let context = job.wait_context().unwrap();
                model.added.clear();
                model.deleted.clear();
                for key in &change.clear {
                    let fd = model.fds.remove(key).unwrap();
                    assert_eq!(context.wait_fd(&keys()[*key]).unwrap(), Some(fd));
                    context.clear_fd(&keys()[*key]).unwrap();
                    model.deleted.push(fd);
                }
                for key in &change.set {
                    let fd = eventfd();
                    model.fds.insert(*key, fd.as_raw_fd());
                    model.added.push(fd.as_raw_fd());
                    context.set_wait_fd(&keys()[*key], fd).unwrap();
                }
                for key in &change.clear_again {
                    let fd = model.fds.remove(key).unwrap();
                    context.clear_fd(&keys()[*key]).unwrap();
                    // Added and deleted in one go: neither.
                    let at = model.added.iter().rposition(|added| *added == fd).unwrap();
                    model.added.remove(at);
                }
                assert_eq!(
                    sorted(context.all_fds().unwrap()),
                    sorted(model.fds.values().copied().collect())
                );
                let (added, deleted) = context.changed_fds().unwrap();
                assert_eq!(sorted(added), sorted(model.added.clone()));
                assert_eq!(sorted(deleted), sorted(model.deleted.clone()));
            }
            job.pause().unwrap();
        }
    });
    let mut pair = Pair::new(&ctx);
    for change in 0..changes.len() {
        assert_eq!(pair.handshake(), Step::Paused, "at change {change}");
        let (waiting, all, added, deleted) = agree(pair.server.ssl());
        let model = model.lock().unwrap();
        assert!(waiting);
        assert_eq!(
            sorted(all),
            sorted(model.fds.values().copied().collect()),
            "at change {change}"
        );
        assert_eq!(sorted(added), sorted(model.added.clone()));
        assert_eq!(sorted(deleted), sorted(model.deleted.clone()));
    }
    pair.finish();
    let (waiting, all, added, deleted) = agree(pair.server.ssl());
    assert!(!waiting);
    assert_eq!(
        sorted(all),
        sorted(model.lock().unwrap().fds.values().copied().collect())
    );
    assert_eq!((added, deleted), (vec![], vec![]));
}

#[test]
fn as_in_c_for_each_number_of_fds() {
    for n in [0, 1, 2, 8, 64] {
        run(vec![Change {
            set: (0..n).collect(),
            ..Change::default()
        }]);
    }
}

#[test]
fn as_in_c_across_pauses_that_add_and_delete() {
    for n in [1, 2, 8, 64] {
        let half: Vec<usize> = (0..n / 2).collect();
        run(vec![
            // Add.
            Change {
                set: (0..n).collect(),
                ..Change::default()
            },
            // Nothing new.
            Change::default(),
            // Delete what was there before.
            Change {
                clear: half.clone(),
                ..Change::default()
            },
            // Delete and add in one go, under the same keys and others.
            Change {
                clear: (n / 2..n).collect(),
                set: (0..n).collect(),
                ..Change::default()
            },
            // Add and delete in one go: neither shows.
            Change {
                clear: half.clone(),
                set: half.clone(),
                clear_again: half.clone(),
            },
            // All away.
            Change {
                clear: (n / 2..n).collect(),
                ..Change::default()
            },
            Change::default(),
        ]);
    }
}

#[test]
fn as_in_c_when_fds_come_after_the_last_pause() {
    thread_local!(static SET: RefCell<Option<RawFd>> = const { RefCell::new(None) });
    let ctx = async_server_context(|_| {
        let fd = eventfd();
        SET.set(Some(fd.as_raw_fd()));
        let job = CurrentJob::get().unwrap();
        job.wait_context()
            .unwrap()
            .set_wait_fd(&keys()[0], fd)
            .unwrap();
    });
    let mut pair = Pair::new(&ctx);
    pair.finish();
    let fd = SET.take().unwrap();
    // No pause has reset the lists.
    assert_eq!(
        agree(pair.server.ssl()),
        (false, vec![fd], vec![fd], vec![])
    );
}

#[test]
fn before_any_job_c_answers_0_and_the_functions_say_not_started() {
    let ctx = SslContext::builder(SslMethod::tls()).unwrap().build();
    let ssl = Ssl::new(&ctx).unwrap();
    assert_not_started(&ssl);
}

fn assert_not_started(ssl: &SslRef) {
    assert!(!ssl.waiting_for_async());
    assert_eq!((c_all(ssl), c_changed(ssl)), (None, None));
    assert!(openssl::error::ErrorStack::get().errors().is_empty());
    assert!(matches!(ssl.all_async_fds(), Err(Error::NotStarted)));
    assert!(matches!(
        ssl.all_async_fds_into(&mut []),
        Err(Error::NotStarted)
    ));
    assert!(matches!(ssl.changed_async_fds(), Err(Error::NotStarted)));
    assert!(matches!(
        ssl.changed_async_fds_into(&mut [], &mut []),
        Err(Error::NotStarted)
    ));
    #[cfg(ossl300)]
    assert!(matches!(ssl.async_status(), Err(Error::NotStarted)));
}

#[test]
fn an_error_of_somebody_else_is_neither_taken_for_theirs_nor_lost() {
    let ctx = SslContext::builder(SslMethod::tls()).unwrap().build();
    let ssl = Ssl::new(&ctx).unwrap();
    openssl::x509::X509::from_der(b"not a certificate")
        .unwrap_err()
        .put();
    assert!(matches!(ssl.all_async_fds(), Err(Error::NotStarted)));
    assert!(!openssl::error::ErrorStack::get().errors().is_empty());
}

#[cfg(ossl320)]
#[test]
fn as_in_c_with_a_quic_ssl() {
    use foreign_types::ForeignType;
    extern "C" {
        fn OSSL_QUIC_client_method() -> *const openssl_sys::SSL_METHOD;
    }
    openssl::init();
    // SAFETY: the method is a static; the context is a new one, and the wrapper owns it.
    let ctx = unsafe {
        let ctx = openssl_sys::SSL_CTX_new(OSSL_QUIC_client_method());
        assert!(!ctx.is_null(), "{}", openssl::error::ErrorStack::get());
        SslContext::from_ptr(ctx)
    };
    let ssl = Ssl::new(&ctx).unwrap();
    assert_not_started(&ssl);
    assert!(!ssl.is_async_mode());
    // SAFETY: this connection runs no operation.
    unsafe { ssl.set_async_mode(true) };
    // SAFETY: a live SSL; no bits change nothing.
    let mode = unsafe { openssl_sys::SSL_ctrl(ssl.as_ptr(), 33, 0, ptr::null_mut()) };
    assert_eq!(ssl.is_async_mode(), mode & 0x100 != 0);
}

#[test]
fn as_in_c_when_the_pool_is_full() {
    std::thread::spawn(|| {
        openssl_async_jobs::JobPool::builder()
            .max_jobs(1)
            .preallocate(1)
            .init()
            .unwrap();
        let ctx = async_server_context(|_| {
            CurrentJob::get().unwrap().pause().unwrap();
        });
        let mut first = Pair::new(&ctx);
        let mut second = Pair::new(&ctx);
        assert_eq!(first.handshake(), Step::Paused);
        assert_eq!(second.handshake(), Step::NoJob);
        assert_eq!(
            agree(second.server.ssl()),
            (false, vec![], vec![], vec![]),
            "nothing was started"
        );
        assert_eq!(second.handshake(), Step::NoJob);
        first.finish();
        assert_eq!(second.handshake(), Step::Paused);
        second.finish();
    })
    .join()
    .unwrap();
}
