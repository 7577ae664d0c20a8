//! `curl` with a server of ours whose servername callback suspends: files of mebibytes each way, and
//! several requests on one connection (H2, H7).

use openssl::ssl::{SslContext, SslVerifyMode, SslVersion};
use openssl_async_jobs::Error;
use testing::peer::{
    accept_paused, random_bytes, server_context, sha256, Asked, Files, Listener, Ours, Peer, CURL,
    CURL_ALONE, NAME, WAYS,
};
use testing::tls::{certificate, trust, KeyType, VERSIONS};

/// The server's files, and a context of this version.
fn server(version: SslVersion, key_type: KeyType) -> (Files, SslContext) {
    let (files, identity) = (Files::new(), certificate(key_type, &[NAME]));
    files.identity("server", &identity);
    let context = server_context(version, &[&identity], &Asked::default());
    (files, context.build())
}

/// The address of a path on our server.
fn url(listener: &Listener, path: &str) -> String {
    format!("https://{NAME}:{}/{path}", listener.port())
}

/// The program, which takes our server for the one of that name.
fn curl(files: &Files, listener: &Listener, more: &[&str]) -> Peer {
    let resolve = format!("{NAME}:{}:127.0.0.1", listener.port());
    let trusted = files.path("server.crt");
    let ours = ["--http1.1", "--cacert", &trusted, "--resolve", &resolve];
    CURL.start(CURL_ALONE.iter().chain(&ours).chain(more))
}

/// A request's first line, and its body.
fn request(ours: &mut Ours) -> Result<(String, Vec<u8>), Error> {
    let head = String::from_utf8(ours.read_until(b"\r\n\r\n")?).expect("ASCII");
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    if field("Expect").is_some() {
        ours.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length = field("Content-Length").map_or(0, |length| length.parse().expect("a number"));
    let first = head.lines().next().expect("a line").to_owned();
    Ok((first, ours.read_exact(length)?))
}

fn respond(ours: &mut Ours, body: &[u8]) -> Result<(), Error> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    ours.write_all(head.as_bytes())?;
    ours.write_all(body)
}

/// It has succeeded, and written this.
#[track_caller]
fn assert_told(peer: Peer, expected: &[u8]) {
    let finished = peer.finish();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(sha256(&finished.stdout), sha256(expected));
}

#[test]
fn mebibytes_are_fetched_and_sent() {
    for &version in VERSIONS {
        for key_type in [KeyType::Rsa, KeyType::Ecdsa] {
            let (files, context) = server(version, key_type);
            let (theirs, answer) = (random_bytes(3 << 20), random_bytes((3 << 20) + 1));
            let file = files.write("body", &theirs);
            let body = format!("@{file}");
            for way in WAYS {
                let listener = Listener::new();
                let peer = curl(&files, &listener, &[&url(&listener, "get")]);
                let mut ours = listener.next(&context, way);
                accept_paused(&mut ours);
                let (first, body_of_get) = request(&mut ours).unwrap();
                assert_eq!((&*first, &*body_of_get), ("GET /get HTTP/1.1", &b""[..]));
                respond(&mut ours, &answer).unwrap();
                // It keeps the connection until it ends.
                assert_eq!(ours.read_to_end().unwrap(), b"");
                assert_told(peer, &answer);

                let more = ["--data-binary", &body, &url(&listener, "post")];
                let peer = curl(&files, &listener, &more);
                let mut ours = listener.next(&context, way);
                accept_paused(&mut ours);
                let (first, posted) = request(&mut ours).unwrap();
                assert_eq!(first, "POST /post HTTP/1.1");
                assert_eq!(sha256(&posted), sha256(&theirs), "{way:?}");
                respond(&mut ours, b"thanks").unwrap();
                assert_told(peer, b"thanks");
            }
        }
    }
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    const REQUESTS: usize = 20;
    for &version in VERSIONS {
        let (files, context) = server(version, KeyType::Ecdsa);
        for way in WAYS {
            let listener = Listener::new();
            let urls: Vec<_> = (0..REQUESTS)
                .map(|n| url(&listener, &n.to_string()))
                .collect();
            let urls: Vec<_> = urls.iter().map(String::as_str).collect();
            let peer = curl(&files, &listener, &urls);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            let mut expected = Vec::new();
            for n in 0..REQUESTS {
                let (first, _) = request(&mut ours).unwrap();
                assert_eq!(first, format!("GET /{n} HTTP/1.1"));
                let body = random_bytes(n * 1000);
                respond(&mut ours, &body).unwrap();
                expected.extend(body);
            }
            assert_told(peer, &expected);
        }
    }
}

#[test]
fn a_response_without_a_length_ends_with_close_notify() {
    for &version in VERSIONS {
        let (files, context) = server(version, KeyType::Rsa);
        for way in WAYS {
            let listener = Listener::new();
            let peer = curl(&files, &listener, &[&url(&listener, "")]);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            request(&mut ours).unwrap();
            let body = random_bytes(1 << 20);
            ours.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
                .unwrap();
            ours.write_all(&body).unwrap();
            ours.close().unwrap();
            assert_told(peer, &body);
        }
    }
}

#[test]
fn a_client_certificate_is_demanded_and_given() {
    let of_client = certificate(KeyType::Rsa, &["client.test"]);
    for &version in VERSIONS {
        let (files, identity) = (Files::new(), certificate(KeyType::Ecdsa, &[NAME]));
        files.identity("server", &identity);
        let (cert, key) = files.identity("client", &of_client);
        let mut context = server_context(version, &[&identity], &Asked::default());
        trust(&mut context, &[&of_client.certificate]);
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let context = context.build();
        for way in WAYS {
            let listener = Listener::new();
            let url = url(&listener, "");
            let peer = curl(&files, &listener, &["--cert", &cert, "--key", &key, &url]);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            request(&mut ours).unwrap();
            respond(&mut ours, b"welcome").unwrap();
            assert_told(peer, b"welcome");

            let peer = curl(&files, &listener, &[&url]);
            // Kept until the peer has read why.
            let mut ours = listener.next(&context, way);
            let refused = ours.accept().unwrap_err();
            assert!(refused.to_string().contains("certificate"), "{refused}");
            let finished = peer.finish();
            assert!(!finished.status.success());
            assert!(finished.stderr.contains("alert"), "{}", finished.stderr);
        }
    }
}
