//! Moving from tokio-openssl is what README says, and both servers do the same.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};

use super::site::{Directory, NAME};
use crate::common::child::told;
use crate::common::example::{run, Server};
use crate::common::tls::new_identity;

/// What README shows, without the fences.
fn shown() -> String {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, after) = readme.split_once("```diff\n").expect("a diff");
    let (diff, _) = after.split_once("```").expect("its end");
    diff.to_owned()
}

#[test]
fn the_diff_in_readme_is_that_of_the_two_servers() {
    let files = ["before.rs", "after.rs"];
    let output = run(Command::new("diff")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/migrate"))
        .args(["-U1", "--label", files[0], "--label", files[1]])
        .args(files));
    // They differ.
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    // README has no spaces at the ends of lines.
    let diff: String = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    assert_eq!(shown(), diff, "README shows another one than\n{diff}");
    let changed = diff
        .lines()
        .skip(2)
        .filter(|line| line.starts_with(['+', '-']));
    assert!(changed.count() < 10, "{diff}");
}

#[test]
fn both_servers_echo_a_mebibyte() {
    let dir = Directory::new();
    let (cert, key) = new_identity();
    let [cert_file, key_file] = ["cert", "key"].map(|name| dir.path(name));
    fs::write(&cert_file, cert.to_pem().unwrap()).unwrap();
    fs::write(&key_file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| ((n * 7) >> 3) as u8).collect();
    for program in ["migrate_before", "migrate_after"] {
        let files = [&cert_file, &key_file].map(|file| file.to_str().unwrap());
        let server = Server::start(program, &[files[0], files[1], "127.0.0.1:0"]);
        let address = server.word_after("listening on ");

        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let ssl = connector.build().configure().unwrap().into_ssl(NAME);
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = SslStream::new(ssl.unwrap(), socket).unwrap();
        stream.connect().unwrap();
        let mut got = vec![0; sent.len()];
        for (piece, to) in sent.chunks(100_000).zip(got.chunks_mut(100_000)) {
            stream.write_all(piece).unwrap();
            stream.read_exact(to).unwrap();
        }
        assert!(got == sent, "{program}");
        // It answers the end with its own.
        stream.shutdown().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{program}");
        stream.get_ref().shutdown(Shutdown::Both).unwrap();
    }
}
