//! `SSL_MODE_ASYNC` by hand: a TLS server with its own poll(2) loop and no runtime, which looks
//! up each certificate while the handshake that needs it is paused.
//!
//! It shows the three functions at work. `cargo run --release --example handshake -- --help`

#[allow(dead_code)] // Each example uses its part.
mod certificates;
mod client;
mod connection;
mod lookup;
mod openssl_conf;
mod options;
mod safe_connection;
mod safe_poll;
mod server;
mod timeline;

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use certificates::{host_names, Store};
use connection::Connection;
use lookup::Lookups;
use options::Options;
use safe_connection::SafeConnection;
use timeline::Timeline;

const HELP: &str = "\
A TLS server on OpenSSL's asynchronous jobs, by hand: its own poll(2) loop, one thread, no runtime.

Clients connect on loopback, each with a server name. The server's servername callback starts a
lookup of that name's certificate on a worker thread and pauses the handshake's job; the server
sees WANT_ASYNC, asks the three functions what to wait for, polls, and resumes. Then both sides
exchange data and close.

usage: cargo run --release --example handshake -- [OPTIONS]

  --connections N   clients that connect at once (default 1, at most 1000)
  --lookup-ms MS    how long a lookup takes besides reading its files (default 50, at most 60000)
  --quiet           no timeline, only the summary
  --safe            the same through openssl_async_jobs::SslStream: no unsafe code of this program
                    runs, and there is no contract to keep
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

With --safe, `call` is a method of SslStream, and the others are of what its interest() says.

An engine or provider named in the file of OPENSSL_CONF is used too, and its wait fds show up: Intel
QAT, or OpenSSL's test engine dasync with 1.1.x. (OpenSSL 1.1.0 has to be told to read that file,
which is unsafe and not done with --safe.)
";

const OPTIONS: [&str; 4] = ["--connections", "--lookup-ms", "--quiet", "--safe"];

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let options = match Options::parse(&OPTIONS, std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return options::print_help(HELP),
        Err(e) => {
            eprintln!("handshake: {e} (--help explains)");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("handshake: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if !options.safe {
        openssl_conf::load()?;
    }
    writeln!(io::stdout(), "{}", openssl::version::version())?;
    if !openssl_async_jobs::is_capable() {
        eprintln!("this OpenSSL has no asynchronous jobs: every lookup will block the server");
    }

    let store = Arc::new(Store::create(host_names(options.connections))?);
    let lookups = Lookups::new(Arc::clone(&store), Duration::from_millis(options.lookup_ms));
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

    let mut timeline = Timeline::new(options.quiet);
    // On an error nobody waits for the clients: some may wait for a server that is no more.
    let run = match options.safe {
        true => server::run::<SafeConnection>,
        false => server::run::<Connection>,
    };
    let wall = run(&listener, &lookups, options.connections, &mut timeline)?;
    for (n, client) in clients.into_iter().enumerate() {
        match client.join() {
            Ok(done) => done.map_err(|e| format!("client {n}: {e}"))?,
            Err(_) => return Err(format!("client {n} panicked").into()),
        }
    }
    timeline.summary(options, wall, &lookups)
}
