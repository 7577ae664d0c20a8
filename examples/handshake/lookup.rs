//! The lookup of a certificate on a worker thread, and the servername callback that pauses for it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{NameType, SslContext, SslMethod, SslRef};
use openssl_async_jobs::{CurrentJob, WaitKey};
use rustix::event::{eventfd, EventfdFlags};

use crate::certificates::Store;
use crate::Result;

/// The certificate store of this server, and what it has done so far.
#[derive(Clone)]
pub struct Lookups {
    store: Arc<Store>,
    latency: Duration,
    done: Arc<Mutex<Vec<Duration>>>,
    failure: Arc<Mutex<Option<String>>>,
}

/// One lookup: what it found, and what becomes readable then.
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
            None => drop(rustix::io::read(&lookup.event, &mut [0; 8])?),
        }
        match lookup.found.get() {
            Some(Ok(found)) => Ok(ssl.set_ssl_context(found)?),
            Some(Err(e)) => Err(e.to_string().into()),
            None => Err("a lookup ended without a result".into()),
        }
    }

    fn start(&self, name: String) -> Result<Arc<Lookup>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC)?;
        let lookup = Arc::new(Lookup {
            found: OnceLock::new(),
            event,
        });
        let (this, result) = (self.clone(), Arc::clone(&lookup));
        thread::Builder::new()
            .name(format!("lookup of {name}"))
            .stack_size(256 * 1024)
            .spawn(move || {
                let start = Instant::now();
                let found = this.find(&name);
                this.done.lock().unwrap().push(start.elapsed());
                let _ = result.found.set(found);
                // Nobody waits if the handshake is over.
                let _ = rustix::io::write(&result.event, &1_u64.to_ne_bytes());
            })?;
        Ok(lookup)
    }

    fn find(&self, name: &str) -> Result<SslContext> {
        // What the network would take.
        thread::sleep(self.latency);
        let (cert, key) = self.store.read(name)?;
        let mut ctx = SslContext::builder(SslMethod::tls_server())?;
        ctx.set_certificate(&cert)?;
        ctx.set_private_key(&key)?;
        ctx.check_private_key()?;
        Ok(ctx.build())
    }
}
