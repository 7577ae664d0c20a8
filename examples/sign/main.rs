//! RSA signatures as jobs on one thread, with whatever engine or provider `OPENSSL_CONF` names: how
//! many are in flight at once, and how fast against plain calls.
//!
//! `cargo run --release --example sign -- --help`

#[path = "../callback/join_all.rs"]
mod join_all;
#[path = "../handshake/openssl_conf.rs"]
mod openssl_conf;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use join_all::join_all;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::sign::{Signer, Verifier};
use openssl_async_jobs::{block_on, Job, JobPool};

const HELP: &str = "\
RSA signatures as asynchronous jobs on one thread, against plain calls of the same function.

With an engine or provider that pauses jobs, configured through OPENSSL_CONF (Intel QAT, or OpenSSL's
own test engine dasync), many signatures are in flight at once. With OpenSSL alone none pauses, and
the two rates show what a job costs.

usage: cargo run --release --example sign -- [OPTIONS]

  --signatures N   how many (default 1000, at most 1000000)
  --at-once M      how many jobs there are at once (default 64, at most 10000)
  --bits B         the size of the RSA key (default 2048, from 1024 to 8192)
  --help           this text
";

/// Interleaved, as machines have moods.
const ROUNDS: usize = 5;

/// Generous: what takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(600);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Options {
    signatures: usize,
    at_once: usize,
    bits: u32,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            return match io::stdout().write_all(HELP.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        Err(e) => {
            eprintln!("sign: {e} (--help explains)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("sign: {e}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Options>> {
    let mut options = Options {
        signatures: 1000,
        at_once: 64,
        bits: 2048,
    };
    let mut args = args.map(|arg| {
        let lossy = |arg: OsString| format!("{} is not UTF-8", arg.to_string_lossy());
        arg.into_string().map_err(lossy)
    });
    while let Some(name) = args.next().transpose()? {
        if name == "--help" || name == "-h" {
            return Ok(None);
        }
        let (least, most) = match name.as_str() {
            "--signatures" => (1, 1_000_000),
            "--at-once" => (1, 10_000),
            "--bits" => (1024, 8192),
            _ => return Err(format!("there is no option {name}").into()),
        };
        let value = (args.next().transpose()?).ok_or(format!("{name} needs a number"))?;
        let number: usize = value
            .parse()
            .map_err(|_| format!("{name} needs a number, not {value:?}"))?;
        if !(least..=most).contains(&number) {
            return Err(format!("{name} goes from {least} to {most}").into());
        }
        match name.as_str() {
            "--signatures" => options.signatures = number,
            "--at-once" => options.at_once = number,
            _ => options.bits = number as u32,
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<()> {
    openssl_conf::load()?;
    writeln!(io::stdout(), "{}", openssl::version::version())?;
    if !openssl_async_jobs::is_capable() {
        eprintln!("this OpenSSL has no asynchronous jobs: the jobs run synchronously");
    }
    JobPool::builder().max_jobs(options.at_once).init()?;
    let key = PKey::from_rsa(Rsa::generate(options.bits)?)?;
    let data: Arc<[u8]> = Arc::from(*b"what is signed");

    let mut most = 0;
    let (mut plain, mut jobs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(sign_plainly(options, &key, &data)?);
        let (elapsed, in_flight) = sign_in_jobs(options, &key, &data)?;
        jobs.push(elapsed);
        most = most.max(in_flight);
    }
    let stats = JobPool::stats();
    writeln!(
        io::stdout(),
        "{} signatures with RSA-{}, {ROUNDS} times: at most {most} in flight at once, {} pauses",
        options.signatures,
        options.bits,
        stats.paused
    )?;
    if stats.paused == 0 {
        eprintln!("nothing paused: no asynchronous engine or provider signs here (OPENSSL_CONF)");
    }
    let (plain, jobs) = (median(plain), median(jobs));
    let rate = |elapsed: Duration| options.signatures as f64 / elapsed.as_secs_f64();
    writeln!(
        io::stdout(),
        "plain calls {:.0}/s, jobs {:.0}/s: {:.2} times (medians)",
        rate(plain),
        rate(jobs),
        plain.as_secs_f64() / jobs.as_secs_f64(),
    )?;
    Ok(())
}

fn sign_plainly(options: &Options, key: &PKeyRef<Private>, data: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    for _ in 0..options.signatures {
        sign(key, data)?;
    }
    Ok(start.elapsed())
}

/// How long it took, and how many were in flight at once.
fn sign_in_jobs(
    options: &Options,
    key: &PKey<Private>,
    data: &Arc<[u8]>,
) -> Result<(Duration, usize)> {
    let start = Instant::now();
    let mut most = 0;
    let mut last = Vec::new();
    let mut left = options.signatures;
    while left > 0 {
        let number = left.min(options.at_once);
        left -= number;
        let batch = (0..number).map(|_| {
            let (key, data) = (key.clone(), Arc::clone(data));
            Job::new(move || {
                let signature = sign(&key, &data);
                (signature, JobPool::stats().in_flight)
            })
        });
        let batch = join_all(batch.collect());
        let done = block_on(batch, Some(PATIENCE))
            .map_err(|_| format!("nothing was signed for {} s", PATIENCE.as_secs()))?;
        for (signature, in_flight) in done {
            last = signature?;
            most = most.max(in_flight);
        }
    }
    let elapsed = start.elapsed();
    let mut verifier = Verifier::new(MessageDigest::sha256(), key)?;
    verifier.update(data)?;
    if !verifier.verify(&last)? {
        return Err("a signature made in a job is wrong".into());
    }
    Ok((elapsed, most))
}

fn sign(key: &PKeyRef<Private>, data: &[u8]) -> Result<Vec<u8>> {
    let mut signer = Signer::new(MessageDigest::sha256(), key)?;
    signer.update(data)?;
    Ok(signer.sign_to_vec()?)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
