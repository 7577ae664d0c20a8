//! The certificate store: a directory with a watch for changes, which answers as late as one beyond
//! a network.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use openssl::pkey::PKey;
use openssl::ssl::SslContext;
use openssl::x509::X509;

use crate::certificates::{path, UnknownName, AUTHORITY};
use crate::log::Log;
use crate::{tls, Result};

pub struct Store {
    dir: PathBuf,
    latency: Duration,
    ciphers: Option<String>,
    log: Log,
    /// How often something has changed in the directory.
    changes: Arc<AtomicU64>,
    kept: Mutex<HashMap<String, Kept>>,
    lookups: Lookups,
    _watcher: RecommendedWatcher,
}

/// What a file had when so much had changed.
struct Kept {
    context: SslContext,
    changes: u64,
}

#[derive(Default)]
struct Lookups {
    begun: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

impl Store {
    pub fn open(dir: &Path, latency: Duration, ciphers: Option<String>, log: Log) -> Result<Store> {
        let changes = Arc::new(AtomicU64::new(0));
        // Before the first look.
        let watcher = watch(dir, Arc::clone(&changes), log)
            .map_err(|e| format!("cannot watch {}: {e}", dir.display()))?;
        Ok(Store {
            dir: dir.to_owned(),
            latency,
            ciphers,
            log,
            changes,
            kept: Mutex::default(),
            lookups: Lookups::default(),
            _watcher: watcher,
        })
    }

    /// The certificate of a name, as a context for its connections.
    pub async fn find(&self, name: &str) -> Result<SslContext> {
        let _lookup = self.lookups.begin();
        // What the network would take.
        tokio::time::sleep(self.latency).await;
        let changes = self.changes.load(Ordering::SeqCst);
        match self.kept(name, changes) {
            Some(kept) => Ok(kept),
            None => self.keep(name, changes, tokio::fs::read(self.path(name)?).await),
        }
    }

    /// The same for callers that have nothing to await with: it blocks their thread.
    pub fn find_blocking(&self, name: &str) -> Result<SslContext> {
        let _lookup = self.lookups.begin();
        std::thread::sleep(self.latency);
        let changes = self.changes.load(Ordering::SeqCst);
        match self.kept(name, changes) {
            Some(kept) => Ok(kept),
            None => self.keep(name, changes, std::fs::read(self.path(name)?)),
        }
    }

    /// Of the contexts that it makes.
    pub fn ciphers(&self) -> Option<&str> {
        self.ciphers.as_deref()
    }

    pub fn in_flight(&self) -> usize {
        self.lookups.in_flight.load(Ordering::Relaxed)
    }

    /// How many lookups there were, and how many at the same time.
    pub fn lookups(&self) -> (usize, usize) {
        let Lookups {
            begun,
            most_in_flight,
            ..
        } = &self.lookups;
        (
            begun.load(Ordering::Relaxed),
            most_in_flight.load(Ordering::Relaxed),
        )
    }

    /// The name is a client's: it shall lead nowhere else.
    fn path(&self, name: &str) -> Result<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        match name.starts_with('.') || name == AUTHORITY || !name.chars().all(plain) {
            true => Err(UnknownName(name.to_owned()).into()),
            false => Ok(path(&self.dir, name)),
        }
    }

    fn kept(&self, name: &str, changes: u64) -> Option<SslContext> {
        let kept = self.kept.lock().unwrap();
        let kept = kept.get(name).filter(|kept| kept.changes == changes);
        kept.map(|kept| kept.context.clone())
    }

    /// With what was read after so many changes. A file that is half written leaves its certificate
    /// as it was; one that is gone takes it along.
    fn keep(&self, name: &str, changes: u64, read: io::Result<Vec<u8>>) -> Result<SslContext> {
        let gone = matches!(&read, Err(e) if e.kind() == ErrorKind::NotFound);
        let made = read
            .map_err(Into::into)
            .and_then(|pem| context(&pem, self.ciphers()));
        let mut kept = self.kept.lock().unwrap();
        match made {
            Ok(context) => {
                let newest = Kept {
                    context: context.clone(),
                    changes,
                };
                kept.insert(name.to_owned(), newest);
                Ok(context)
            }
            Err(_) if gone => {
                kept.remove(name);
                Err(UnknownName(name.to_owned()).into())
            }
            Err(e) => {
                let e = format!("cannot use the certificate file of {name}: {e}");
                let before = kept.get(name).ok_or(e.clone())?;
                self.log.always(format_args!("{e}; the former one stays"));
                Ok(before.context.clone())
            }
        }
    }
}

/// A file has the certificate, those of its authorities if there are any between, and the key.
fn context(pem: &[u8], ciphers: Option<&str>) -> Result<SslContext> {
    let mut certs = X509::stack_from_pem(pem)?.into_iter();
    let cert = certs.next().ok_or("there is no certificate in it")?;
    let mut ctx = tls::context(ciphers)?;
    ctx.set_certificate(&cert)?;
    for cert in certs {
        ctx.add_extra_chain_cert(cert)?;
    }
    ctx.set_private_key(&*PKey::private_key_from_pem(pem)?)?;
    ctx.check_private_key()?;
    Ok(ctx.build().into_context())
}

fn watch(dir: &Path, changes: Arc<AtomicU64>, log: Log) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        match event.as_ref().map(|event| event.kind) {
            Ok(EventKind::Access(AccessKind::Close(AccessMode::Write))) => {}
            Ok(EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_))) => return,
            // When it does not know what has changed, anything may have.
            Ok(_) | Err(_) => {}
        }
        changes.fetch_add(1, Ordering::SeqCst);
        for path in event.iter().flat_map(|event| &event.paths) {
            if path.extension().is_some_and(|ending| ending == "pem") {
                log.event(format_args!("{} has changed", path.display()));
            }
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// A lookup, until it is dropped.
struct Lookup<'a>(&'a Lookups);

impl Lookups {
    fn begin(&self) -> Lookup<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(now, Ordering::Relaxed);
        Lookup(self)
    }
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
