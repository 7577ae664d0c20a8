//! The command line of this example, of `callback` and of `mio_server`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::Result;

#[derive(Debug)]
#[allow(dead_code)] // Each example has its part.
pub struct Options {
    pub connections: usize,
    pub lookup_ms: u64,
    pub port: u16,
    pub quiet: bool,
    pub safe: bool,
}

impl Options {
    /// With those options that the example has; `None` if help is wanted.
    pub fn parse(known: &[&str], args: impl Iterator<Item = OsString>) -> Result<Option<Options>> {
        let mut options = Options {
            connections: 1,
            lookup_ms: 50,
            port: 8443,
            quiet: false,
            safe: false,
        };
        let mut args = args.map(|arg| {
            let lossy = |arg: OsString| format!("{} is not UTF-8", arg.to_string_lossy());
            arg.into_string().map_err(lossy)
        });
        while let Some(arg) = args.next().transpose()? {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            let mut number = |least: u64, most: u64| -> Result<u64> {
                let value = match value.clone() {
                    Some(value) => value,
                    None => (args.next().transpose()?).ok_or(format!("{name} needs a number"))?,
                };
                let number: u64 = value
                    .parse()
                    .map_err(|_| format!("{name} needs a number, not {value:?}"))?;
                if !(least..=most).contains(&number) {
                    return Err(format!("{name} goes from {least} to {most}").into());
                }
                Ok(number)
            };
            match name.as_str() {
                "--help" | "-h" | "--quiet" | "--safe" if value.is_some() => {
                    return Err(format!("{name} takes no value").into());
                }
                "--help" | "-h" => return Ok(None),
                other if !known.contains(&other) => {
                    return Err(format!("there is no option {name}").into());
                }
                "--connections" => options.connections = number(1, 1000)? as usize,
                "--lookup-ms" => options.lookup_ms = number(0, 60_000)?,
                "--port" => options.port = number(0, 65_535)? as u16,
                "--quiet" => options.quiet = true,
                "--safe" => options.safe = true,
                _ => return Err(format!("there is no option {name}").into()),
            }
        }
        Ok(Some(options))
    }
}

/// For `--help`.
pub fn print_help(help: &str) -> ExitCode {
    match io::stdout().write_all(help.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
