//! What a person reads: a line for each call, and the summary.

use std::io::{self, Write};
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

impl Timeline {
    pub fn new(quiet: bool) -> Timeline {
        if !quiet {
            println!(
                "{:>8} {:>5}  {:<13} {:<15} {:<8} {:<14} {:<14} -deleted",
                "ms", "conn", "call", "result", "waiting", "all", "+added"
            );
        }
        Timeline {
            start: Instant::now(),
            quiet,
            pauses: 0,
        }
    }

    /// A call of libssl has returned: asks the three functions.
    pub fn line(&mut self, connection: usize, call: &str, result: &str, ssl: &SslRef) {
        self.pauses += usize::from(ssl.waiting_for_async());
        if self.quiet {
            return;
        }
        let all = ssl.all_async_fds().map_or("-".to_owned(), list);
        let (added, deleted) = match ssl.changed_async_fds() {
            Ok((added, deleted)) => (list(added), list(deleted)),
            Err(_) => ("-".to_owned(), "-".to_owned()),
        };
        // Whoever reads it may stop, and the server goes on.
        let _ = writeln!(
            io::stdout(),
            "{:>8.1} {connection:>5}  {call:<13} {result:<15} {:<8} {all:<14} {added:<14} {deleted}",
            self.start.elapsed().as_secs_f64() * 1e3,
            ssl.waiting_for_async(),
        );
    }

    pub fn summary(&self, options: &Options, wall: Duration, lookups: &Lookups) -> Result<()> {
        let (number, sum) = lookups.total();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        println!(
            "{} connection{} handshaken, {} bytes echoed on each, and closed; {} pause{}",
            options.connections,
            plural(options.connections),
            crate::client::MESSAGE_LEN,
            self.pauses,
            plural(self.pauses),
        );
        println!(
            "{:.1} ms on one thread; the {number} lookup{} alone took {:.1} ms, one after the other",
            ms(wall),
            plural(number),
            ms(sum),
        );
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

fn list(fds: Vec<i32>) -> String {
    format!("{fds:?}")
}

fn plural(n: usize) -> &'static str {
    match n {
        1 => "",
        _ => "s",
    }
}
