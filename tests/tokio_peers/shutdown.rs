//! How the server ends what has begun, and whom it does not wait for.

use std::io::{Read, Write};

use super::site::Site;

#[test]
fn a_request_that_has_begun_is_answered_before_the_server_stops() {
    let mut site = Site::start(&["--lookup-ms", "0"]);
    let mut stream = site.connect();
    let head = "POST /begun HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nhal";
    stream.write_all(head.as_bytes()).unwrap();
    site.server.wait_for("POST /begun", 1);
    site.server.signal(libc::SIGTERM);
    site.server.wait_for("stopping", 1);
    stream.write_all(b"ves").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhalves"), "{answer}");
    let Site { server, .. } = site;
    let told = server.end();
    assert!(told.contains(" 1 request(s)"), "{told}");
    assert!(!told.contains("not done in time"), "{told}");
}

#[test]
fn clients_that_stop_in_the_middle_of_a_handshake_are_dropped() {
    let mut site = Site::start(&["--lookup-ms", "60000", "--handshake-ms", "200"]);
    let mut silent = site.dial();
    let mut half = site.dial();
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    // Its lookup is suspended when its time is up.
    let late = site.try_curl(&["https://localhost/"]);
    assert!(!late.status.success());
    site.server.wait_for("no handshake in 200 ms", 3);
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    // With what was not read of it, its socket may be reset.
    assert!(matches!(half.read(&mut [0]), Ok(0) | Err(_)));
    let Site { server, .. } = site;
    let told = server.stop(libc::SIGTERM);
    assert!(told.contains("3 connection(s), 0 handshake(s)"), "{told}");
    assert!(told.contains(", 0 in flight"), "{told}");
}

#[test]
fn few_jobs_serve_many_clients_in_order() {
    let site = Site::start(&["--lookup-ms=20", "--threads=1", "--max-jobs=2", "--quiet"]);
    let config: String = (0..40).map(|n| site.curl_config(&n.to_string())).collect();
    let file = site.certificates.path("config");
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let many = ["--parallel", "--parallel-immediate", "--config", file];
    let got = site.curl(&many);
    assert_eq!(got.matches("server name: ").count(), 40, "{got}");
    let Site { server, .. } = site;
    let told = server.stop(libc::SIGTERM);
    assert!(told.contains("lookup(s), 2 at the same time"), "{told}");
}
