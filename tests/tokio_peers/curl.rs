//! curl, with HTTP/1.1 and HTTP/2.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::site::{Directory, Site, NAME};
use crate::common::child::told;
use crate::common::example::system;

/// The body of a POST.
fn body(n: usize) -> Vec<u8> {
    (0..n * 1009).map(|at| (at * (n + 7) / 251) as u8).collect()
}

/// So many requests at once, each on a connection of its own; every second is a POST.
fn start(site: &Site, dir: &Directory, version: &str, requests: usize) -> Child {
    let mut config = String::new();
    for n in 0..requests {
        config += &site.curl_config(&n.to_string());
        config += &format!("{version}\noutput = {:?}\n", dir.path(n.to_string()));
        if n % 2 == 1 {
            let sent = dir.path(format!("{n}.sent"));
            fs::write(&sent, body(n)).unwrap();
            config += &format!("data-binary = \"@{}\"\n", sent.display());
        }
    }
    let file = dir.path("config");
    fs::write(&file, config).unwrap();
    let mut curl: Command = system("curl");
    curl.args(["--parallel", "--parallel-immediate", "--parallel-max"])
        .args([&requests.to_string(), "--config"])
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    curl.spawn().expect("curl, of the Debian package curl")
}

#[test]
fn five_hundred_requests_at_once_with_http_1_and_2_are_answered_while_lookups_are_suspended() {
    const EACH: usize = 250;
    const THREADS: usize = 4;
    let threads = THREADS.to_string();
    let site = Site::start(&["--lookup-ms", "500", "--quiet", "--threads", &threads]);
    let clients = ["http1.1", "http2"].map(|version| {
        let dir = Directory::new();
        (start(&site, &dir, version, EACH), dir, version)
    });
    for (client, dir, version) in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let protocol = match version {
            "http2" => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        for n in 0..EACH {
            let got = fs::read(dir.path(n.to_string())).unwrap();
            if n % 2 == 1 {
                assert!(got == body(n), "the echo of request {n}");
                continue;
            }
            let got = String::from_utf8(got).unwrap();
            let expected = format!("path: /{n}\nserver name: {NAME}\n");
            assert!(got.starts_with(&expected), "{got}");
            assert!(got.contains(&format!("\nprotocol: {protocol}\n")), "{got}");
        }
    }
    let Site { server, .. } = site;
    let told = server.stop(libc::SIGTERM);
    assert!(told.contains(" 500 request(s)"), "{told}");
    let number = |after: &str| {
        let (before, _) = told.split_once(after).unwrap();
        let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
        digits.unwrap().parse::<usize>().unwrap()
    };
    let handshakes = number(" handshake(s)");
    assert_eq!(number(" lookup(s)"), handshakes, "{told}");
    assert!(number(" pause(s)") >= handshakes, "{told}");
    // More than there are threads to wait with, however slowly curl comes.
    assert!(number(" at the same time") > 2 * THREADS, "{told}");
    assert!(told.contains(", 0 in flight"), "{told}");
}

#[test]
fn many_requests_share_a_connection_with_http_2() {
    const REQUESTS: usize = 100;
    let site = Site::start(&["--lookup-ms", "20", "--quiet"]);
    let url = format!("https://{NAME}/[1-{REQUESTS}]");
    let max = REQUESTS.to_string();
    let got = site.curl(&["--http2", "--parallel", "--parallel-max", &max, &url]);
    assert_eq!(got.matches("protocol: HTTP/2.0\n").count(), REQUESTS);
    let Site { server, .. } = site;
    let told = server.stop(libc::SIGINT);
    assert!(told.contains("1 connection(s), 1 handshake(s)"), "{told}");
}

#[test]
fn methods_are_answered_as_http_has_it() {
    let site = Site::start(&["--lookup-ms", "0"]);
    let url = format!("https://{NAME}/");
    for version in ["--http1.1", "--http2"] {
        let head = site.curl(&[version, "--head", &url]).to_lowercase();
        assert!(head.contains("\r\ncontent-length: "), "{head}");
        assert!(!head.contains("\r\ncontent-length: 0"), "{head}");
        let put = site.curl(&[version, "--include", "--request", "PUT", &url]);
        let put = put.to_lowercase();
        assert!(put.contains(" 405"), "{put}");
        assert!(put.contains("\r\nallow: get, head, post\r\n"), "{put}");
    }
}

#[test]
fn handshakes_on_tokio_openssl_have_the_same_answers() {
    let [jobs, sync] = [&["--threads=1"][..], &["--threads=2", "--sync"]].map(|more| {
        let site = Site::start(&[&["--lookup-ms", "10"], more].concat());
        let url = format!("https://{NAME}/same");
        ["--http1.1", "--http2"].map(|version| {
            let told = site.curl(&[version, &url]);
            let echo = site.curl(&[version, "--data-binary", "there and back", &url]);
            (told, echo)
        })
    });
    assert_eq!(jobs, sync);
    assert!(jobs[1].0.contains("protocol: HTTP/2.0\n"), "{jobs:?}");
    assert_eq!(jobs[1].1, "there and back");
}
