//! A TLS server without a runtime, on one thread: each connection is a `Job` of ordinary blocking
//! code, and its servername callback awaits the certificate with `suspend`.
//!
//! `cargo run --release --example callback -- --help`

#[allow(dead_code)] // Each example uses its part.
#[path = "../handshake/certificates.rs"]
mod certificates;
#[path = "../handshake/client.rs"]
mod client;
mod join_all;
mod lookup;
#[path = "../handshake/options.rs"]
mod options;
mod socket;

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use certificates::{host_names, Store};
use client::MESSAGE_LEN;
use join_all::join_all;
use lookup::Lookups;
use openssl::ssl::{ShutdownResult, SniError, Ssl, SslAcceptor, SslAlert, SslMethod, SslStream};
use openssl_async_jobs::{block_on, Job, JobPool};
use options::Options;
use socket::Socket;

const HELP: &str = "\
A TLS server on one thread, without a runtime, whose servername callback awaits a lookup.

Each connection is a Job: plain code that accepts, reads, writes and shuts down. Where it would
block, it pauses. The callback calls suspend(lookup), and meanwhile the thread goes on with the
other connections. There is no unsafe code in this program.

usage: cargo run --release --example callback -- [OPTIONS]

  --connections N   clients that connect at once (default 1, at most 1000)
  --lookup-ms MS    how long a lookup takes besides reading its files (default 50, at most 60000)
  --quiet           only the summary
  --help            this text
";

const OPTIONS: [&str; 3] = ["--connections", "--lookup-ms", "--quiet"];

/// Generous: what takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = match Options::parse(&OPTIONS, std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return options::print_help(HELP),
        Err(e) => {
            eprintln!("callback: {e} (--help explains)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("callback: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    writeln!(io::stdout(), "{}", openssl::version::version())?;
    if !openssl_async_jobs::is_capable() {
        return Err("this OpenSSL has no asynchronous jobs, and there is nothing to show".into());
    }
    let store = Arc::new(Store::create(host_names(options.connections))?);
    let lookups = Lookups::new(Arc::clone(&store), Duration::from_millis(options.lookup_ms));
    let acceptor = acceptor(&lookups)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let connector = client::connector(store.authority()?)?;
    let clients: Vec<_> = (0..options.connections)
        .map(|n| {
            let (name, connector) = (store.name(n).to_owned(), connector.clone());
            thread::Builder::new()
                .name(format!("client {n}"))
                .stack_size(256 * 1024)
                .spawn(move || client::run(address, &name, &connector))
        })
        .collect::<std::io::Result<_>>()?;

    let start = Instant::now();
    let connections = (0..options.connections)
        .map(|n| {
            let (socket, _) = listener.accept()?;
            let (acceptor, quiet) = (acceptor.clone(), options.quiet);
            Ok(Job::new(move || {
                let served = serve(&acceptor, socket);
                if !quiet {
                    let ms = start.elapsed().as_secs_f64() * 1e3;
                    match &served {
                        Ok(()) => writeln!(io::stdout(), "{ms:>8.1} ms  connection {n} is done"),
                        Err(e) => writeln!(io::stdout(), "{ms:>8.1} ms  connection {n}: {e}"),
                    }?;
                }
                served
            }))
        })
        .collect::<Result<Vec<_>>>()?;
    let served = block_on(join_all(connections), Some(PATIENCE))
        .map_err(|_| format!("nothing happened for {} s", PATIENCE.as_secs()))?;
    let wall = start.elapsed();

    for (n, served) in served.into_iter().enumerate() {
        served.map_err(|e| match lookups.take_failure() {
            Some(failure) => format!("connection {n}: {e} ({failure})"),
            None => format!("connection {n}: {e}"),
        })?;
    }
    for (n, client) in clients.into_iter().enumerate() {
        match client.join() {
            Ok(done) => done.map_err(|e| format!("client {n}: {e}"))?,
            Err(_) => return Err(format!("client {n} panicked").into()),
        }
    }
    let stats = JobPool::stats();
    let (number, sum) = lookups.total();
    writeln!(
        io::stdout(),
        "{} connection(s) handshaken, {MESSAGE_LEN} bytes echoed on each, and closed: {} jobs, \
         {} pauses, {} in flight at once",
        options.connections,
        stats.finished,
        stats.paused,
        lookups.most_in_flight(),
    )?;
    writeln!(
        io::stdout(),
        "{:.1} ms on one thread; the {number} lookup(s) add up to {:.1} ms",
        wall.as_secs_f64() * 1e3,
        sum.as_secs_f64() * 1e3,
    )?;
    Ok(())
}

/// One connection, as if nobody else was there.
fn serve(acceptor: &SslAcceptor, socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let ssl = Ssl::new(acceptor.context())?;
    let mut tls = SslStream::new(ssl, Socket::new(socket)?)?;
    tls.accept()?;
    let mut message = vec![0; MESSAGE_LEN];
    tls.read_exact(&mut message)?;
    tls.write_all(&message)?;
    while tls.shutdown()? != ShutdownResult::Received {}
    Ok(())
}

fn acceptor(lookups: &Lookups) -> Result<SslAcceptor> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    let lookups = lookups.clone();
    acceptor.set_servername_callback(move |ssl, alert| {
        lookups.servername(ssl).map_err(|_| {
            *alert = SslAlert::INTERNAL_ERROR;
            SniError::ALERT_FATAL
        })
    });
    Ok(acceptor.build())
}
