//! What the command line sets.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use openssl_async_jobs::tokio::{JobThreads, JobThreadsBuilder};

use crate::arguments::{Arguments, Known, Takes};
use crate::{Result, Way};

pub const HELP: &str = "\
An HTTPS server, HTTP/1.1 and HTTP/2 by ALPN, on hyper and openssl_async_jobs::tokio::JobThreads.

In each handshake the servername callback looks the certificate up and suspends: meanwhile its
thread goes on with other handshakes. The store is a directory of NAME.pem files, each with a
certificate and its key; what changes there is what new handshakes see. It answers as late as one
beyond a network. It says which curl command to try. GET and HEAD are told about their connection,
POST gets its body back.

usage: cargo run --release --features tokio --example https_server -- [OPTIONS]

  --port PORT       where to listen on 127.0.0.1 (default 8443; 0 for any that is free)
  --directory DIR   where the certificates are; if it is empty, some are made there, for localhost
                    and name.example (default: a directory for this run only)
  --lookup-ms MS    how long a lookup takes besides reading its file (default 50, at most 60000)
  --handshake-ms MS how long a handshake may take (default 10000, at most 600000)
  --threads N       threads for handshakes (default: as many as cores; at most 1000)
  --max-jobs N      handshakes that each thread may have suspended; others wait (default 1024, at
                    most 100000)
  --ciphers LIST    the cipher suites of TLS 1.2, as OpenSSL writes them (default: those of Mozilla's
                    intermediate configuration)
  --sync            handshakes with tokio-openssl on the runtime's workers, of which there are N:
                    each lookup blocks one, for comparison
  --quiet           no line for each request
  --help            this text

It serves until it is interrupted (SIGINT or SIGTERM), ends what it has begun, and says what it has
done.
";

const KNOWN: [Known; 9] = [
    ("--port", Takes::Value),
    ("--directory", Takes::Value),
    ("--lookup-ms", Takes::Value),
    ("--handshake-ms", Takes::Value),
    ("--threads", Takes::Value),
    ("--max-jobs", Takes::Value),
    ("--ciphers", Takes::Value),
    ("--sync", Takes::Nothing),
    ("--quiet", Takes::Nothing),
];

pub struct Settings {
    pub port: u16,
    pub directory: Option<PathBuf>,
    pub lookup: Duration,
    pub handshake_limit: Duration,
    pub threads: Option<usize>,
    max_jobs: Option<usize>,
    pub ciphers: Option<String>,
    pub way: Way,
    pub quiet: bool,
}

impl Settings {
    /// `None` if help is wanted.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Settings>> {
        let Some(arguments) = Arguments::parse(&KNOWN, args)? else {
            return Ok(None);
        };
        if let Some(other) = arguments.rest().first() {
            return Err(format!("there is nothing to do with {other:?}").into());
        }
        let ms = |name, range, default| -> Result<Duration> {
            let ms = arguments.number(name, range)?;
            Ok(Duration::from_millis(ms.unwrap_or(default)))
        };
        let count = |name, most| -> Result<Option<usize>> {
            Ok(arguments.number(name, 1..=most)?.map(|n| n as usize))
        };
        let settings = Settings {
            port: arguments.number("--port", 0..=65_535)?.unwrap_or(8443) as u16,
            directory: arguments.text("--directory").map(PathBuf::from),
            lookup: ms("--lookup-ms", 0..=60_000, 50)?,
            handshake_limit: ms("--handshake-ms", 1..=600_000, 10_000)?,
            threads: count("--threads", 1000)?,
            max_jobs: count("--max-jobs", 100_000)?,
            ciphers: arguments.text("--ciphers").map(str::to_owned),
            way: match arguments.has("--sync") {
                true => Way::Blocking,
                false => Way::Suspended,
            },
            quiet: arguments.has("--quiet"),
        };
        if settings.way == Way::Blocking && settings.max_jobs.is_some() {
            return Err("--max-jobs is of jobs, which --sync does without".into());
        }
        Ok(Some(settings))
    }

    pub fn job_threads(&self) -> JobThreadsBuilder {
        let mut threads = JobThreads::builder();
        if let Some(number) = self.threads {
            threads = threads.threads(number);
        }
        if let Some(jobs) = self.max_jobs {
            threads = threads.max_jobs(jobs);
        }
        threads
    }
}
