//! The example `mio_server` serves real HTTP clients from one thread while certificate lookups are
//! suspended: none waits for another one, none loses a byte, and none disturbs the others (H2, H6).

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::child::told;
use common::example::{program, run, system, Server};
use openssl::ssl::{HandshakeError, Ssl, SslConnector, SslMethod, SslStream};

const NAME: &str = "host-0.example";
/// What takes so long is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server, and what its clients share: a connector reads the system's authorities, too.
struct Site {
    server: Server,
    connector: SslConnector,
}

impl Site {
    fn start(lookup_ms: &str) -> Site {
        let server = Server::start("mio_server", &["--port", "0", "--lookup-ms", lookup_ms]);
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        let authority = server.word_after("--cacert ");
        connector.set_ca_file(authority).unwrap();
        let connector = connector.build();
        Site { server, connector }
    }

    fn port(&self) -> u16 {
        let port = self.server.word_after("listening on 127.0.0.1:");
        port.parse().unwrap()
    }

    fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn ssl(&self, name: &str) -> Ssl {
        self.connector.configure().unwrap().into_ssl(name).unwrap()
    }

    fn connect(&self) -> SslStream<TcpStream> {
        let mut stream = SslStream::new(self.ssl(NAME), self.dial()).unwrap();
        stream.connect().unwrap();
        stream
    }

    /// A client that has sent its first flight, and goes no further.
    fn begin(&self) -> SslStream<TcpStream> {
        let socket = self.dial();
        socket.set_nonblocking(true).unwrap();
        let mut stream = SslStream::new(self.ssl(NAME), socket).unwrap();
        stream.connect().unwrap_err();
        stream
    }

    #[track_caller]
    fn assert_serves(&self) {
        let mut stream = self.connect();
        let request = "GET /well HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let answer = answer(&mut stream);
        assert!(answer.contains("\r\n\r\npath: /well\n"), "{answer}");
    }
}

/// All that comes after what was sent.
fn answer(stream: &mut SslStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn curl_has_200_right_answers_to_200_requests_at_once() {
    let site = Site::start("500");
    let dir = tempdir("curl");
    let body =
        |n: usize| -> Vec<u8> { (0..n * 1009).map(|at| (at * (n + 7) / 251) as u8).collect() };
    let mut config = String::new();
    for n in 0..200 {
        let (cacert, port) = (site.server.word_after("--cacert "), site.port());
        config += &format!(
            "next\nsilent\nshow-error\nmax-time = 60\ncacert = {cacert:?}\n\
             connect-to = \"::127.0.0.1:{port}\"\n\
             url = \"https://host-{}.example/{n}\"\noutput = {:?}\n",
            n % 4,
            dir.join(n.to_string()),
        );
        if n % 2 == 1 {
            let sent = dir.join(format!("{n}.sent"));
            fs::write(&sent, body(n)).unwrap();
            config += &format!("data-binary = \"@{}\"\n", sent.display());
        }
    }
    let file = dir.join("config");
    fs::write(&file, config).unwrap();
    let output = run(system("curl")
        .args([
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            "200",
        ])
        .arg("--config")
        .arg(file));
    assert!(output.status.success(), "{}", told(&output));
    for n in 0..200 {
        let got = fs::read(dir.join(n.to_string())).unwrap();
        if n % 2 == 1 {
            assert!(got == body(n), "the echo of request {n}");
            continue;
        }
        let got = String::from_utf8(got).unwrap();
        let expected = format!("path: /{n}\nserver name: host-{}.example\n", n % 4);
        assert!(got.starts_with(&expected), "{got}");
    }
    fs::remove_dir_all(dir).unwrap();
    let told = site.server.stop(libc::SIGTERM);
    assert!(told.contains(" 200 answer(s)"), "{told}");
    assert!(!told.contains("there were 1 at the same time"), "{told}");
}

#[test]
fn one_thread_has_200_lookups_suspended_and_a_signal_ends_it_at_once() {
    let mut site = Site::start("60000");
    let ssl = || site.ssl(NAME);
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let socket = site.dial();
            socket.set_nonblocking(true).unwrap();
            let mut client = SslStream::new(ssl(), socket).unwrap();
            // Its first flight is sent, and that is all it can do.
            client.connect().unwrap_err();
            client
        })
        .collect();
    site.server.wait_for("suspended", clients.len());
    let told = site.server.stop(libc::SIGINT);
    assert!(told.contains("there were 200 at the same time"), "{told}");
}

#[test]
fn openssl_s_client_is_answered_and_believes_the_certificate() {
    let site = Site::start("5");
    let mut child = system("openssl")
        .args(["s_client", "-quiet", "-verify_return_error"])
        .args(["-CAfile", site.server.word_after("-CAfile ")])
        .args(["-servername", NAME])
        .args(["-connect", &format!("127.0.0.1:{}", site.port())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is missing: it is in the Debian package openssl");
    let mut stdin = child.stdin.take().unwrap();
    let request = format!("GET /typed HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stdin.write_all(request.as_bytes()).unwrap();
    // It ends because the server closes.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let got = String::from_utf8_lossy(&output.stdout);
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{}", told(&output));
    let body = format!("\r\n\r\npath: /typed\nserver name: {NAME}\n");
    assert!(got.contains(&body), "{got}");
}

#[test]
fn what_is_not_a_good_request_gets_the_reason_and_then_the_end() {
    let site = Site::start("0");
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(20_000));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    let post = |headers: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\n");
    let cases = [
        ("400", "\x16\x03\x01 nonsense\r\n\r\n".to_owned()),
        ("400", "GET /no-host HTTP/1.1\r\n\r\n".to_owned()),
        ("505", "GET / HTTP/3.0\r\n\r\n".to_owned()),
        ("405", "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("431", long),
        ("431", many),
        ("400", post("Content-Length: -1")),
        ("400", post("Content-Length: 1\r\nContent-Length: 2")),
        (
            "400",
            post("Content-Length: 1\r\nTransfer-Encoding: chunked"),
        ),
        ("411", post("Transfer-Encoding: chunked")),
        ("413", post("Content-Length: 1048577")),
        ("413", post(&format!("Content-Length: {}", "9".repeat(100)))),
    ];
    for (status, request) in cases {
        let mut stream = site.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = answer(&mut stream);
        let head = &request[..request.len().min(80)];
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head}: {answer}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    site.assert_serves();
}

#[test]
fn one_connection_has_many_requests_in_whatever_pieces() {
    let site = Site::start("0");
    let mut stream = site.connect();
    let requests = "HEAD /1 HTTP/1.1\r\nHost: h\r\n\r\n\
                    POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
                    POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n\
                    GET /4 HTTP/1.0\r\n\r\n";
    // The second time a byte a record.
    for (pieces, keeps) in [(requests.len(), true), (1, false)] {
        let mut sent = requests.to_owned();
        if keeps {
            sent = sent.replace("HTTP/1.0", "HTTP/1.0\r\nConnection: keep-alive");
        }
        for piece in sent.as_bytes().chunks(pieces) {
            stream.write_all(piece).unwrap();
        }
        if keeps {
            continue;
        }
        let answers = answer(&mut stream);
        let parts: Vec<&str> = answers.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
        assert_eq!(parts.len(), 8, "{answers}");
        for round in parts.chunks(4) {
            let bodies = round
                .iter()
                .map(|part| part.split_once("\r\n\r\n").unwrap());
            let (heads, bodies): (Vec<_>, Vec<_>) = bodies.unzip();
            assert_eq!(bodies[..3], ["", "hello", ""]);
            assert!(bodies[3].starts_with("path: /4\n"), "{answers}");
            assert!(!heads[0].contains("Content-Length: 0"), "that of GET");
        }
    }
}

#[test]
fn a_client_that_asks_first_is_told_to_send_its_body() {
    let site = Site::start("0");
    let mut stream = site.connect();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 3\r\n\
                Expect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"yes").unwrap();
    assert!(answer(&mut stream).ends_with("\r\n\r\nyes"));
}

#[test]
fn clients_that_stop_in_the_middle_are_in_nobodys_way() {
    let mut site = Site::start("1000");
    let mut open = Vec::new();
    let mut suspended = Vec::new();
    for _ in 0..20 {
        open.push(site.dial());
        let mut some = site.dial();
        some.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
        open.push(some);
        let mut plain = site.dial();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        open.push(plain);
        suspended.push(site.begin());
    }
    site.server.wait_for("suspended", suspended.len());
    site.assert_serves();
    // Half of them leave while they are waited for, or for.
    open.truncate(open.len() / 2);
    suspended.truncate(suspended.len() / 2);
    site.assert_serves();
    let told = site.server.stop(libc::SIGTERM);
    assert!(told.contains("2 answer(s)"), "{told}");
}

#[test]
fn a_name_without_a_certificate_is_refused_with_the_alert_for_that() {
    let site = Site::start("5");
    let mut ssl = site.ssl(NAME);
    ssl.set_hostname("../authority").unwrap();
    let outcome = ssl.connect(site.dial());
    let Err(HandshakeError::Failure(failed)) = outcome else {
        panic!("{outcome:?}");
    };
    let reason = failed.error().to_string();
    assert!(reason.contains("unrecognized name"), "{reason}");
    site.assert_serves();
}

#[test]
fn what_cannot_be_served_is_an_error_in_a_sentence() {
    let site = Site::start("0");
    let run = |args: &[&str]| run(Command::new(program("mio_server")).args(args));
    let taken = run(&["--port", &site.port().to_string()]);
    assert_eq!(taken.status.code(), Some(1), "{}", told(&taken));
    assert!(told(&taken).contains("cannot listen on 127.0.0.1:"));
    for wrong in [["--port", "65536"], ["--connections", "1"]] {
        let output = run(&wrong);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(told(&output).contains("--help explains"));
    }
    site.assert_serves();
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    dir
}
