//! What a person reads: a line for each call, and the summary.

use std::io::{self, Write};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use openssl::ssl::SslRef;
use openssl_async_jobs::SslAsyncExt;

use crate::lookup::Lookups;
use crate::options::Options;
use crate::Result;

pub struct Timeline {
    start: Instant,
    quiet: bool,
    pauses: usize,
}

/// What the three functions say, or a stream's `interest`.
pub struct Fds {
    pub waiting: bool,
    pub all: Option<Vec<RawFd>>,
    pub added: Option<Vec<RawFd>>,
    pub deleted: Option<Vec<RawFd>>,
}

impl Fds {
    /// Asks the three functions.
    pub fn of(ssl: &SslRef) -> Fds {
        let (added, deleted) = ssl.changed_async_fds().ok().unzip();
        Fds {
            waiting: ssl.waiting_for_async(),
            all: ssl.all_async_fds().ok(),
            added,
            deleted,
        }
    }
}

impl Timeline {
    pub fn new(quiet: bool) -> Timeline {
        if !quiet {
            let _ = writeln!(
                io::stdout(),
                "{:>8} {:>5}  {:<13} {:<15} {:<8} {:<14} {:<14} -deleted",
                "ms",
                "conn",
                "call",
                "result",
                "waiting",
                "all",
                "+added"
            );
        }
        Timeline {
            start: Instant::now(),
            quiet,
            pauses: 0,
        }
    }

    /// A call has returned.
    pub fn line(&mut self, connection: usize, call: &str, result: &str, fds: &Fds) {
        self.pauses += usize::from(fds.waiting);
        if self.quiet {
            return;
        }
        let (all, added) = (list(&fds.all), list(&fds.added));
        // Whoever reads it may stop, and the server goes on.
        let _ = writeln!(
            io::stdout(),
            "{:>8.1} {connection:>5}  {call:<13} {result:<15} {:<8} {all:<14} {added:<14} {}",
            self.start.elapsed().as_secs_f64() * 1e3,
            fds.waiting,
            list(&fds.deleted),
        );
    }

    pub fn summary(&self, options: &Options, wall: Duration, lookups: &Lookups) -> Result<()> {
        let (number, sum) = lookups.total();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        writeln!(
            io::stdout(),
            "{} connection{} handshaken, {} bytes echoed on each, and closed; {} pause{}",
            options.connections,
            plural(options.connections),
            crate::client::MESSAGE_LEN,
            self.pauses,
            plural(self.pauses),
        )?;
        writeln!(
            io::stdout(),
            "{:.1} ms on one thread; lookups ({number}) add up to {:.1} ms",
            ms(wall),
            ms(sum),
        )?;
        if number != options.connections {
            return Err(format!(
                "there were {number} lookups for {} connections",
                options.connections
            )
            .into());
        }
        if openssl_async_jobs::is_capable() && self.pauses < number {
            return Err("a lookup did not pause its handshake".into());
        }
        Ok(())
    }
}

fn list(fds: &Option<Vec<RawFd>>) -> String {
    match fds {
        Some(fds) => format!("{fds:?}"),
        None => "-".to_owned(),
    }
}

fn plural(n: usize) -> &'static str {
    match n {
        1 => "",
        _ => "s",
    }
}
