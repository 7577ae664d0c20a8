//! The lookup of a certificate on a worker thread, and the servername callback that pauses for it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{NameType, SslContext, SslMethod, SslRef};
use openssl_async_jobs::{CurrentJob, WaitKey};

use crate::certificates::{self, Store};
use crate::Result;

/// The certificate store of this server, and what it has done so far.
#[derive(Clone)]
pub struct Lookups {
    store: Arc<Store>,
    latency: Duration,
    done: Arc<Mutex<Vec<Duration>>>,
    failure: Arc<Mutex<Option<String>>>,
}

/// One lookup: what it found, and the eventfd that says so.
struct Lookup {
    found: OnceLock<Result<SslContext>>,
    event: OwnedFd,
}

impl Lookups {
    pub fn new(store: Arc<Store>, latency: Duration) -> Lookups {
        Lookups {
            store,
            latency,
            done: Arc::default(),
            failure: Arc::default(),
        }
    }

    /// How many lookups there were, and how long all of them took together.
    pub fn total(&self) -> (usize, Duration) {
        let done = self.done.lock().unwrap();
        (done.len(), done.iter().sum())
    }

    /// Why a callback refused a handshake; libssl only tells that one did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap().clone()
    }

    /// The servername callback. It runs inside the handshake's job, on 32 KiB of stack.
    pub fn servername(&self, ssl: &mut SslRef) -> Result<()> {
        let result = self.answer(ssl);
        if let Err(e) = &result {
            *self.failure.lock().unwrap() = Some(e.to_string());
        }
        result
    }

    fn answer(&self, ssl: &mut SslRef) -> Result<()> {
        static KEY: WaitKey = WaitKey::new();
        let name = ssl
            .servername(NameType::HOST_NAME)
            .ok_or("a client sent no server name")?
            .to_owned();
        let lookup = self.start(name)?;
        match CurrentJob::get() {
            Some(job) => {
                let context = job.wait_context()?;
                context.set_wait_fd(&KEY, lookup.event.try_clone()?)?;
                // Whoever resumes may be wrong.
                while lookup.found.get().is_none() {
                    job.pause()?;
                }
                context.clear_fd(&KEY)?;
            }
            // No jobs on this platform.
            None => wait_for(&lookup.event)?,
        }
        match lookup.found.get() {
            Some(Ok(found)) => Ok(ssl.set_ssl_context(found)?),
            Some(Err(e)) => Err(e.to_string().into()),
            None => Err("a lookup ended without a result".into()),
        }
    }

    fn start(&self, name: String) -> Result<Arc<Lookup>> {
        // SAFETY: takes no pointer.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if event < 0 {
            return Err(format!("eventfd: {}", io::Error::last_os_error()).into());
        }
        let lookup = Arc::new(Lookup {
            found: OnceLock::new(),
            // SAFETY: it was made just now, and nobody else has it.
            event: unsafe { OwnedFd::from_raw_fd(event) },
        });
        let mut signal = File::from(lookup.event.try_clone()?);
        let (this, result) = (self.clone(), Arc::clone(&lookup));
        thread::Builder::new()
            .name(format!("lookup of {name}"))
            .stack_size(256 * 1024)
            .spawn(move || {
                let start = Instant::now();
                let found = this.find(&name);
                this.done.lock().unwrap().push(start.elapsed());
                let _ = result.found.set(found);
                // Cannot fail: the counter is 0 and the file descriptor is open.
                let _ = signal.write_all(&1u64.to_ne_bytes());
            })?;
        Ok(lookup)
    }

    fn find(&self, name: &str) -> Result<SslContext> {
        // What the network would take.
        thread::sleep(self.latency);
        let (cert, key) = certificates::read(&self.store.path(name))?;
        let mut ctx = SslContext::builder(SslMethod::tls_server())?;
        ctx.set_certificate(&cert)?;
        ctx.set_private_key(&key)?;
        ctx.check_private_key()?;
        Ok(ctx.build())
    }
}

fn wait_for(event: &OwnedFd) -> Result<()> {
    use std::io::Read;
    Ok(File::from(event.try_clone()?).read_exact(&mut [0; 8])?)
}
