//! The command line.

use crate::Result;

pub const HELP: &str = "\
A TLS server on OpenSSL's asynchronous jobs, by hand: its own poll(2) loop, one thread, no runtime.

Clients connect on loopback, each with a server name. The server's servername callback starts a
lookup of that name's certificate on a worker thread and pauses the handshake's job; the server
sees WANT_ASYNC, asks the three functions what to wait for, polls, and resumes. Then both sides
exchange data and close.

usage: cargo run --release --example handshake -- [OPTIONS]

  --connections N   clients that connect at once (default 1, at most 1000)
  --lookup-ms MS    how long a lookup takes besides reading its files (default 50, at most 60000)
  --quiet           no timeline, only the summary
  --help            this text

The timeline has a line for each call of libssl that did not just wait for the network:
  ms        milliseconds since the server started
  conn      which connection
  call      which function of libssl
  result    done, or why not
  waiting   SSL_waiting_for_async
  all       SSL_get_all_async_fds
  +added    SSL_get_changed_async_fds: new since the last resume
  -deleted  ... and gone since then

An engine or provider named in the file of OPENSSL_CONF is used too, and its wait fds show up.
";

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
