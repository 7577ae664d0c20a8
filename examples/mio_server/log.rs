//! What a person reads.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Instant;

#[derive(Clone, Copy)]
pub struct Log {
    quiet: bool,
    start: Instant,
}

impl Log {
    pub fn new(quiet: bool) -> Log {
        Log {
            quiet,
            start: Instant::now(),
        }
    }

    pub fn always(&self, text: impl Display) {
        // Whoever reads it may stop, and the server goes on.
        let _ = writeln!(io::stdout(), "{text}");
    }

    pub fn line(&self, connection: usize, text: impl Display) {
        self.event(format_args!("connection {connection}: {text}"));
    }

    /// What is of no connection.
    pub fn event(&self, text: impl Display) {
        if !self.quiet {
            let ms = self.start.elapsed().as_secs_f64() * 1e3;
            self.always(format_args!("{ms:>9.1} ms  {text}"));
        }
    }
}
