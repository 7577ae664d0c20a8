//! The command line of this example and of `https_client`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::process::ExitCode;

use crate::Result;

/// An option that a program has, and what it takes.
pub type Known = (&'static str, Takes);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Value,
}

/// What was said.
#[derive(Default)]
pub struct Arguments {
    options: HashMap<&'static str, String>,
    rest: Vec<String>,
}

impl Arguments {
    /// `None` if help is wanted.
    pub fn parse(
        known: &[Known],
        args: impl Iterator<Item = OsString>,
    ) -> Result<Option<Arguments>> {
        let mut arguments = Arguments::default();
        let mut args = args.map(|arg| {
            let lossy = |arg: OsString| format!("{} is not UTF-8", arg.to_string_lossy());
            arg.into_string().map_err(lossy)
        });
        while let Some(arg) = args.next().transpose()? {
            if !arg.starts_with('-') {
                arguments.rest.push(arg);
                continue;
            }
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            if matches!(name, "--help" | "-h") && value.is_none() {
                return Ok(None);
            }
            let (name, takes) = known
                .iter()
                .find(|(option, _)| *option == name)
                .ok_or_else(|| format!("there is no option {name}"))?;
            let value = match (takes, value) {
                (Takes::Nothing, None) => String::new(),
                (Takes::Nothing, Some(_)) => return Err(format!("{name} takes no value").into()),
                (Takes::Value, Some(value)) => value,
                (Takes::Value, None) => {
                    (args.next().transpose()?).ok_or_else(|| format!("{name} needs a value"))?
                }
            };
            arguments.options.insert(name, value);
        }
        Ok(Some(arguments))
    }

    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{name} needs a number, not {value:?}"))?;
        if !range.contains(&number) {
            return Err(format!("{name} goes from {} to {}", range.start(), range.end()).into());
        }
        Ok(Some(number))
    }

    /// What is no option.
    pub fn rest(&self) -> &[String] {
        &self.rest
    }
}

/// For `--help`.
pub fn print_help(help: &str) -> ExitCode {
    match io::stdout().write_all(help.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
