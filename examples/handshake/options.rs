//! The command line of this example and of `callback`.

use crate::Result;

#[derive(Debug)]
pub struct Options {
    pub connections: usize,
    pub lookup_ms: u64,
    pub quiet: bool,
}

impl Options {
    /// `None` if help is wanted.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Option<Options>> {
        let mut options = Options {
            connections: 1,
            lookup_ms: 50,
            quiet: false,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg, None),
            };
            let mut number = |least: u64, most: u64| -> Result<u64> {
                let value = value
                    .clone()
                    .or_else(|| args.next())
                    .ok_or(format!("{name} needs a number"))?;
                let number: u64 = value
                    .parse()
                    .map_err(|_| format!("{name} needs a number, not {value:?}"))?;
                if !(least..=most).contains(&number) {
                    return Err(format!("{name} goes from {least} to {most}").into());
                }
                Ok(number)
            };
            match name.as_str() {
                "--connections" => options.connections = number(1, 1000)? as usize,
                "--lookup-ms" => options.lookup_ms = number(0, 60_000)?,
                "--quiet" => options.quiet = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("there is no option {name}").into()),
            }
        }
        Ok(Some(options))
    }
}
