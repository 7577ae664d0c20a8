//! An HTTPS server on hyper and tokio's multi-thread runtime, HTTP/1.1 and HTTP/2 by ALPN, whose
//! servername callback awaits the certificate of an asynchronous store.
//!
//! `cargo run --release --features tokio --example https_server -- --help`

mod answer;
mod arguments;
#[allow(dead_code)] // Each example uses its part.
#[path = "../handshake/certificates.rs"]
mod certificates;
mod directory;
#[path = "../mio_server/log.rs"]
mod log;
#[path = "../handshake/openssl_conf.rs"]
mod openssl_conf;
mod server;
mod settings;
mod store;
mod tls;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use directory::Directory;
use log::Log;
use openssl_async_jobs::tokio::JobThreads;
use server::{Counts, Handshakes, Server};
use settings::{Settings, HELP};
use store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{signal, SignalKind};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How the callback waits for its lookup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Suspended,
    /// As it has to with tokio-openssl.
    Blocking,
}

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args_os().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => return arguments::print_help(HELP),
        Err(e) => {
            eprintln!("https_server: {e} (--help explains)");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("https_server: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<()> {
    openssl_conf::load()?;
    if settings.way == Way::Suspended && !openssl_async_jobs::is_capable() {
        return Err("this OpenSSL has no asynchronous jobs, so a lookup cannot suspend".into());
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let (Way::Blocking, Some(threads)) = (settings.way, settings.threads) {
        runtime.worker_threads(threads);
    }
    let runtime = runtime.enable_all().build()?;
    let handshakes = runtime.block_on(serve(settings))?;
    // With the tasks that have handles of the threads.
    drop(runtime);
    match handshakes {
        // An engine is unloaded when the process exits, and its threads are to be done with it then.
        Handshakes::Jobs(threads) => Ok(threads.join()?),
        Handshakes::Sync => Ok(()),
    }
}

async fn serve(settings: &Settings) -> Result<Handshakes> {
    let log = Log::new(settings.quiet);
    log.always(openssl::version::version());
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let address = ("127.0.0.1", settings.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| format!("cannot listen on 127.0.0.1:{}: {e}", settings.port))?;
    let port = listener.local_addr()?.port();
    let directory = Directory::open(settings.directory.as_deref())?;
    let ciphers = settings.ciphers.clone();
    let store = Arc::new(Store::open(
        directory.path(),
        settings.lookup,
        ciphers,
        log,
    )?);
    let handshakes = match settings.way {
        Way::Suspended => Handshakes::Jobs(settings.job_threads().build()?),
        Way::Blocking => Handshakes::Sync,
    };
    let server = Arc::new(Server {
        context: tls::first_context(Arc::clone(&store), settings.way, log)?,
        store: Arc::clone(&store),
        handshakes: handshakes.clone(),
        handshake_limit: settings.handshake_limit,
        log,
        counts: Counts::default(),
    });

    log.always(format_args!(
        "certificates in {}",
        directory.path().display()
    ));
    let (name, trust) = (directory.name(), directory.curl_trust());
    log.always(format_args!(
        "curl {trust}--resolve {name}:{port}:127.0.0.1 https://{name}:{port}/\n\
         listening on 127.0.0.1:{port}"
    ));
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Arc::clone(&server).run(listener, stop).await;
    report(&server, &store, &handshakes).await;
    Ok(handshakes)
}

async fn report(server: &Server, store: &Store, handshakes: &Handshakes) {
    let Counts {
        connections,
        handshakes: shaken,
        requests,
    } = &server.counts;
    let get = |count: &std::sync::atomic::AtomicUsize| count.load(Ordering::Relaxed);
    server.log.always(format_args!(
        "{} connection(s), {} handshake(s), {} request(s)",
        get(connections),
        get(shaken),
        get(requests)
    ));
    let (lookups, most) = store.lookups();
    server
        .log
        .always(format_args!("{lookups} lookup(s), {most} at the same time"));
    if let Handshakes::Jobs(threads) = handshakes {
        report_jobs(server, threads).await;
    }
}

async fn report_jobs(server: &Server, threads: &JobThreads) {
    let stats = threads.stats().await;
    server.log.always(format_args!(
        "{} job(s), {} pause(s), {} in flight",
        stats.started, stats.paused, stats.in_flight
    ));
}
