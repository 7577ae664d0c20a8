//! The server, and what its clients need.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream};

use crate::common::child::told;
use crate::common::example::{run, system, Server};

/// A name that the server has a certificate for.
pub const NAME: &str = "name.example";
/// What takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, removed with this value.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tokio-peers-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Directory(dir)
    }

    pub fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.0.join(file)
    }

    pub fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Not while a panic is on its way: there may be something to see.
        if !std::thread::panicking() {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

pub struct Site {
    pub server: Server,
    pub certificates: Directory,
}

impl Site {
    pub fn start(more: &[&str]) -> Site {
        let certificates = Directory::new();
        let arguments = ["--port", "0", "--directory", certificates.text()];
        let arguments = [&arguments[..], more].concat();
        Site {
            server: Server::start("https_server", &arguments),
            certificates,
        }
    }

    pub fn port(&self) -> u16 {
        let port = self.server.word_after("listening on 127.0.0.1:");
        port.parse().unwrap()
    }

    pub fn authority(&self) -> PathBuf {
        self.certificates.path("authority.pem")
    }

    /// What curl's configuration has for a request of its own.
    pub fn curl_config(&self, path: &str) -> String {
        format!(
            "next\nsilent\nshow-error\nfail\nmax-time = 60\ncacert = {:?}\n\
             connect-to = \"::127.0.0.1:{}\"\nurl = \"https://{NAME}/{path}\"\n",
            self.authority(),
            self.port(),
        )
    }

    /// One request.
    #[track_caller]
    pub fn curl(&self, arguments: &[&str]) -> String {
        let output = self.try_curl(arguments);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn try_curl(&self, arguments: &[&str]) -> Output {
        let to = format!("::127.0.0.1:{}", self.port());
        run(system("curl")
            .args(["--disable", "--silent", "--show-error", "--max-time", "60"])
            .args(["--noproxy", "*", "--connect-to", &to, "--cacert"])
            .arg(self.authority())
            .args(arguments))
    }

    pub fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A handshake with a client that trusts everybody.
    pub fn connect(&self) -> SslStream<TcpStream> {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(openssl::ssl::SslVerifyMode::NONE);
        let ssl = connector.build().configure().unwrap().into_ssl(NAME);
        let mut stream = SslStream::new(ssl.unwrap(), self.dial()).unwrap();
        stream.connect().unwrap();
        stream
    }
}
