//! Contexts for our end whose callbacks suspend, and the programs for the other.

use openssl::ssl::{NameType, SniError, SslContextBuilder, SslVerifyMode, SslVersion};
use openssl::x509::X509Ref;

use super::{Asked, Files, Peer, ReservedPort, GNUTLS_CLI, GNUTLS_SERV, OPENSSL};
use crate::tls::{self, Identity};

/// The servers' name.
pub const NAME: &str = "server.test";

/// A server whose servername callback suspends.
pub fn server_context(
    version: SslVersion,
    identities: &[&Identity],
    asked: &Asked,
) -> SslContextBuilder {
    let mut context = tls::server_context(version, identities);
    let asked = asked.clone();
    context.set_servername_callback(move |ssl, _| {
        let answered = asked.ask();
        match ssl.servername(NameType::HOST_NAME) == Some(NAME) {
            true => answered.map_err(|_| SniError::ALERT_FATAL),
            false => Err(SniError::ALERT_FATAL),
        }
    });
    context
}

/// A client whose verify callback suspends.
pub fn client_context(
    version: SslVersion,
    trusted: &[&X509Ref],
    asked: &Asked,
) -> SslContextBuilder {
    let mut context = tls::client_context(version, trusted);
    let asked = asked.clone();
    context.set_verify_callback(SslVerifyMode::PEER, move |verified, _| {
        asked.ask().is_ok() && verified
    });
    context
}

/// Whom a program trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The identity that is in the files as `server`.
    Server,
    /// The one that is there as `client`.
    Client,
}

impl Trust {
    /// Where that certificate is.
    pub fn path(self, files: &Files) -> String {
        files.path(match self {
            Trust::Server => "server.crt",
            Trust::Client => "client.crt",
        })
    }
}

/// OpenSSL's client of this version, to a server on this port.
pub fn s_client(
    files: &Files,
    port: u16,
    version: SslVersion,
    trust: Trust,
    more: &[&str],
) -> Peer {
    let connect = format!("127.0.0.1:{port}");
    let trusted = trust.path(files);
    let arguments = [
        "s_client",
        "-connect",
        &connect,
        "-servername",
        NAME,
        "-CAfile",
        &trusted,
        "-verify_return_error",
        "-verify_hostname",
        NAME,
        option(version),
    ];
    OPENSSL.start(arguments.iter().chain(more))
}

/// OpenSSL's server of this version with the identity that is in the files as `server`, and the
/// port that it has taken.
pub fn s_server(files: &Files, version: SslVersion, more: &[&str]) -> (Peer, u16) {
    let (certificate, key) = (files.path("server.crt"), files.path("server.key"));
    let arguments = [
        "s_server",
        "-accept",
        "127.0.0.1:0",
        "-cert",
        &certificate,
        "-key",
        &key,
        option(version),
    ];
    let peer = OPENSSL.start(arguments.iter().chain(more));
    let ready = peer.wait_for("ACCEPT ");
    let port = ready.trim().rsplit(':').next().expect("a port");
    let port = port.parse().unwrap_or_else(|_| panic!("{ready}"));
    (peer, port)
}

fn option(version: SslVersion) -> &'static str {
    match version {
        SslVersion::TLS1_2 => "-tls1_2",
        _ => "-tls1_3",
    }
}

/// GnuTLS's client of this version, which trusts the identity that is in the files as `server`, to a
/// server on this port.
pub fn gnutls_cli(files: &Files, port: u16, version: SslVersion, more: &[&str]) -> Peer {
    let (port, trusted) = (port.to_string(), files.path("server.crt"));
    let arguments = [
        "--priority",
        priority(version),
        "--x509cafile",
        &trusted,
        "--sni-hostname",
        NAME,
        "--verify-hostname",
        NAME,
        "--port",
        &port,
    ];
    GNUTLS_CLI.start(arguments.iter().chain(more).chain(&["127.0.0.1"]))
}

/// GnuTLS's server of this version with the identity that is in the files as `server`, which sends
/// back each line, and its port.
pub fn gnutls_serv(files: &Files, version: SslVersion, more: &[&str]) -> (Peer, u16) {
    let (certificate, key) = (files.path("server.crt"), files.path("server.key"));
    // It tells no port but the one that it is given.
    let reserved = ReservedPort::new();
    let port = reserved.number();
    let number = port.to_string();
    let arguments = [
        "--echo",
        "--priority",
        priority(version),
        "--x509certfile",
        &certificate,
        "--x509keyfile",
        &key,
        "--port",
        &number,
    ];
    let peer = GNUTLS_SERV.start(arguments.iter().chain(more));
    peer.wait_for(&format!("IPv4 0.0.0.0 port {port}...done"));
    (peer, port)
}

fn priority(version: SslVersion) -> &'static str {
    match version {
        SslVersion::TLS1_2 => "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        _ => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
    }
}
