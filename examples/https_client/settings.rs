//! What the command line sets.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

use crate::arguments::{Arguments, Known, Takes};
use crate::Result;

pub const HELP: &str = "\
An HTTPS client, HTTP/1.1 and HTTP/2 by ALPN, on hyper and openssl_async_jobs::tokio::JobThreads.

It writes what a URL has to standard output. The server's certificate has to be one that an
authority vouches for, as always, and its key has to be pinned: in the handshake the verify
callback looks the key up and suspends. The pin store is a file with lines like

  name.example sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

(the SHA-256 of the key's SubjectPublicKeyInfo, in Base64; curl's --pinnedpubkey has the same). It
answers as late as one beyond a network, as a check by OCSP would. A key that is not pinned is
refused, with the line that would pin it.

usage: cargo run --release --features tokio --example https_client -- --pins FILE [OPTIONS] URL

  --pins FILE       the pin store; # begins a comment
  --lookup-ms MS    how long a lookup there takes besides reading it (default 50, at most 60000)
  --cacert FILE     the authorities to trust, in PEM (default: the system's)
  --connect ADDRESS the HOST:PORT to connect to (default: those of the URL)
  --http1.1         not HTTP/2
  --seconds N       how long all of it may take (default 30, at most 3600)
  --help            this text

With the certificates of `https_server --directory DIR`:

  cargo run --release --features tokio --example https_client -- --pins pins \\
    --cacert DIR/authority.pem --connect 127.0.0.1:8443 https://name.example/
";

const KNOWN: [Known; 6] = [
    ("--pins", Takes::Value),
    ("--lookup-ms", Takes::Value),
    ("--cacert", Takes::Value),
    ("--connect", Takes::Value),
    ("--http1.1", Takes::Nothing),
    ("--seconds", Takes::Value),
];

pub struct Settings {
    pub url: Uri,
    pub host: String,
    /// Where to connect to.
    pub address: String,
    pub pins: PathBuf,
    pub lookup: Duration,
    pub cacert: Option<PathBuf>,
    pub http_11: bool,
    pub limit: Duration,
}

impl Settings {
    /// `None` if help is wanted.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Option<Settings>> {
        let Some(arguments) = Arguments::parse(&KNOWN, args)? else {
            return Ok(None);
        };
        let [url] = arguments.rest() else {
            return Err("one URL is needed".into());
        };
        let url: Uri = url.parse().map_err(|e| format!("{url:?}: {e}"))?;
        let host = match (url.scheme_str(), url.host()) {
            (Some("https"), Some(host)) => host.trim_matches(['[', ']']).to_owned(),
            _ => return Err(format!("{url} is no https://HOST/ URL").into()),
        };
        let of_url = || {
            format!(
                "{}:{}",
                url.host().unwrap_or(""),
                url.port_u16().unwrap_or(443)
            )
        };
        Ok(Some(Settings {
            address: arguments
                .text("--connect")
                .map_or_else(of_url, str::to_owned),
            pins: arguments.text("--pins").ok_or("--pins is needed")?.into(),
            lookup: Duration::from_millis(
                arguments.number("--lookup-ms", 0..=60_000)?.unwrap_or(50),
            ),
            cacert: arguments.text("--cacert").map(PathBuf::from),
            http_11: arguments.has("--http1.1"),
            limit: Duration::from_secs(arguments.number("--seconds", 1..=3600)?.unwrap_or(30)),
            url,
            host,
        }))
    }
}
