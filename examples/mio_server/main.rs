//! An HTTPS/1.1 echo server on mio, on one thread, whose servername callback awaits a lookup of the
//! certificate; for curl, `openssl s_client` and whoever else speaks HTTP.
//!
//! `cargo run --release --example mio_server -- --help`

#[allow(dead_code)] // Each example uses its part.
#[path = "../handshake/certificates.rs"]
mod certificates;
mod connection;
mod http;
mod log;
#[path = "../callback/lookup.rs"]
mod lookup;
#[path = "../handshake/options.rs"]
mod options;
mod server;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use certificates::{host_names, Store};
use log::Log;
use lookup::Lookups;
use openssl_async_jobs::JobPool;
use options::Options;
use server::Server;

const HELP: &str = "\
An HTTPS/1.1 echo server on mio and openssl_async_jobs::SslStream, on one thread.

It makes certificates for localhost and for host-0.example to host-3.example. In each handshake the
servername callback looks the certificate up on a worker thread and suspends: meanwhile the server
goes on with its other connections. It says which curl command to try. GET and HEAD are told about
their connection, POST gets its body back, of 1 MiB at most. There is no unsafe code in this
program.

usage: cargo run --release --example mio_server -- [OPTIONS]

  --port PORT      where to listen on 127.0.0.1 (default 8443; 0 for any that is free)
  --lookup-ms MS   how long a lookup takes besides reading its files (default 50, at most 60000)
  --quiet          no line for each request
  --help           this text

It serves until it is interrupted (SIGINT or SIGTERM), and then says what it has done.
";

const OPTIONS: [&str; 3] = ["--port", "--lookup-ms", "--quiet"];

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = match Options::parse(&OPTIONS, std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return options::print_help(HELP),
        Err(e) => {
            eprintln!("mio_server: {e} (--help explains)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mio_server: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let log = Log::new(options.quiet);
    log.always(openssl::version::version());
    if !openssl_async_jobs::is_capable() {
        return Err("this OpenSSL has no asynchronous jobs, so a lookup cannot suspend".into());
    }
    let names = std::iter::once("localhost".to_owned()).chain(host_names(certificates::NAMES));
    let store = Arc::new(Store::create(names)?);
    let lookups = Lookups::new(Arc::clone(&store), Duration::from_millis(options.lookup_ms));
    let server = Server::bind(options.port, lookups.clone(), log)?;

    let (port, name) = (server.address()?.port(), store.name(1));
    let authority = store.authority_path();
    let authority = authority.display();
    log.always(format_args!(
        "\
         curl --cacert {authority} --resolve {name}:{port}:127.0.0.1 https://{name}:{port}/\n\
         openssl s_client -CAfile {authority} -servername {name} -connect 127.0.0.1:{port}\n\
         listening on 127.0.0.1:{port}"
    ));
    let counts = server.run()?;

    let (number, took) = lookups.total();
    log.always(format_args!(
        "{} connection(s), {} handshake(s), {} answer(s), {} pause(s)",
        counts.connections,
        counts.handshakes,
        counts.answers,
        JobPool::stats().paused,
    ));
    log.always(format_args!(
        "{number} lookup(s) took {:.1} ms, one after the other; there were {} at the same time",
        took.as_secs_f64() * 1e3,
        lookups.most_in_flight(),
    ));
    Ok(())
}
