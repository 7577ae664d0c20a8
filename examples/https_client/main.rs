//! An HTTPS client on hyper, HTTP/1.1 and HTTP/2 by ALPN, whose verify callback awaits an asynchronous
//! check of the server's key.
//!
//! `cargo run --release --features tokio --example https_client -- --help`

#[path = "../https_server/arguments.rs"]
mod arguments;
mod fetch;
mod pins;
mod settings;
mod verify;

use std::error::Error;
use std::process::ExitCode;

use settings::{Settings, HELP};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args_os().skip(1)) {
        Ok(Some(settings)) => settings,
        Ok(None) => return arguments::print_help(HELP),
        Err(e) => {
            eprintln!("https_client: {e} (--help explains)");
            return ExitCode::from(2);
        }
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("https_client: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings) -> Result<()> {
    if !openssl_async_jobs::is_capable() {
        return Err("this OpenSSL has no asynchronous jobs, so a check cannot suspend".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(fetch::fetch(settings))
}
