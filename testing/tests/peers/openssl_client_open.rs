//! `openssl s_client` with a server of ours, after the handshake: large transfers, key updates,
//! renegotiation, and each way to end (H2).

use openssl::ssl::{Ssl, SslContext, SslOptions, SslVersion};
use openssl_async_jobs::{AsyncPolicy, Error};
use testing::peer::{
    accept_paused, chat, chat_again, describe, random_bytes, s_client, server_context, sha256,
    Asked, Files, Listener, Ours, Peer, Trust, Way, NAME, WAYS,
};
use testing::tls::{certificate, KeyType, VERSIONS};

/// The server's files, and a context of this version.
fn server(version: SslVersion, asked: &Asked, options: SslOptions) -> (Files, SslContext) {
    let (files, identity) = (Files::new(), certificate(KeyType::Ecdsa, &[NAME]));
    files.identity("server", &identity);
    let mut context = server_context(version, &[&identity], asked);
    context.set_options(options);
    (files, context.build())
}

/// A connection with its handshake done.
fn connection(
    (files, context): &(Files, SslContext),
    version: SslVersion,
    way: Way,
    more: &[&str],
) -> (Ours, Peer) {
    let listener = Listener::new();
    let peer = s_client(files, listener.port(), version, Trust::Server, more);
    let mut ours = listener.next(context, way);
    accept_paused(&mut ours);
    (ours, peer)
}

#[test]
fn mebibytes_go_both_ways_unharmed() {
    for &version in VERSIONS {
        let server = server(version, &Asked::default(), SslOptions::empty());
        for way in WAYS {
            let (mut ours, mut peer) =
                connection(&server, version, way, &["-quiet", "-nocommands"]);
            let (theirs, answer) = (random_bytes(4 << 20), random_bytes((4 << 20) + 1));
            peer.feed(theirs.clone());
            let read = ours.exchange(&answer, theirs.len()).unwrap();
            assert_eq!(sha256(&read), sha256(&theirs), "{way:?}");
            let told = peer.wait_for_stdout(answer.len());
            assert_eq!(sha256(&told), sha256(&answer), "{way:?}");
        }
    }
}

#[cfg(ossl111)]
#[test]
fn the_peer_updates_its_key_and_has_ours_updated() {
    let server = server(SslVersion::TLS1_3, &Asked::default(), SslOptions::empty());
    for way in WAYS {
        let (mut ours, mut peer) = connection(&server, SslVersion::TLS1_3, way, &["-msg"]);
        chat(&mut ours, &mut peer);
        // Without an answer, and with one.
        for (time, command) in [b"k\n", b"K\n"].into_iter().enumerate() {
            peer.write(command);
            peer.wait_for_nth("KEYUPDATE", time + 1);
            chat_again(&mut ours, &mut peer, time + 2);
        }
        let answer = peer.wait_for("<<< TLS 1.3, Handshake [length 0005], KeyUpdate");
        assert!(!answer.is_empty());
    }
}

/// Of OpenSSL 3.0; before, it is allowed unless it is forbidden.
const ALLOW_CLIENT_RENEGOTIATION: SslOptions =
    SslOptions::from_bits_retain(if cfg!(ossl300) { 1 << 8 } else { 0 });
/// Of 1.1.0h.
const NO_RENEGOTIATION: SslOptions = SslOptions::from_bits_retain(1 << 30);

#[test]
fn the_peer_renegotiates_while_lines_go_both_ways() {
    for way in WAYS {
        let asked = Asked::default();
        let version = SslVersion::TLS1_2;
        let server = server(version, &asked, ALLOW_CLIENT_RENEGOTIATION);
        let (mut ours, mut peer) = connection(&server, version, way, &["-msg"]);
        chat(&mut ours, &mut peer);
        peer.write(b"R\n");
        peer.wait_for("RENEGOTIATING");
        chat_again(&mut ours, &mut peer, 2);
        peer.wait_for_nth("Handshake [length 0010], Finished", 4);
        // The callback comes again: in a job if what comes after the handshake runs as jobs.
        let times = match way.policy {
            AsyncPolicy::Always => (2, 0),
            _ => (1, 1),
        };
        assert_eq!(asked.times(), times, "{way:?}");
    }
}

/// What a read of rust-openssl's own stream says after this.
fn expected((files, context): &(Files, SslContext), version: SslVersion, end: End) -> String {
    let listener = Listener::new();
    let peer = s_client(files, listener.port(), version, Trust::Server, &[]);
    let socket = listener.next_socket();
    let mut theirs = openssl::ssl::SslStream::new(Ssl::new(context).unwrap(), socket).unwrap();
    theirs.accept().unwrap();
    theirs.ssl_write(b"welcome\n").unwrap();
    peer.wait_for("welcome\n");
    let _peer = end(peer);
    describe(&theirs.ssl_read(&mut [0; 100]).unwrap_err())
}

/// What a peer may do to end a connection that is open; it may have ended with that.
type End = fn(Peer) -> Option<Peer>;

const ENDS: [(&str, End); 3] = [
    ("close_notify", |mut peer| {
        peer.write(b"Q\n");
        Some(peer)
    }),
    ("truncation", |peer| {
        drop(peer);
        None
    }),
    ("an alert, for renegotiation is refused", |mut peer| {
        peer.write(b"R\n");
        Some(peer)
    }),
];

#[test]
fn each_end_is_reported_as_by_rust_openssl() {
    // The last is of TLS 1.2 only.
    for (version, ends) in VERSIONS.iter().zip([&ENDS[..], &ENDS[..2]]) {
        let server = server(*version, &Asked::default(), NO_RENEGOTIATION);
        for (what, end) in ends {
            let expected = expected(&server, *version, *end);
            for way in WAYS {
                let (mut ours, peer) = connection(&server, *version, way, &[]);
                ours.write_all(b"welcome\n").unwrap();
                peer.wait_for("welcome\n");
                let _peer = end(peer);
                match ours.read(&mut [0; 100]) {
                    Err(Error::Ssl(e)) => assert_eq!(describe(&e), expected, "{what} {way:?}"),
                    other => panic!("{other:?} instead of {expected}: {what} {way:?}"),
                }
            }
        }
    }
}

#[test]
fn after_the_peer_has_closed_its_side_ours_is_open_until_it_is_closed() {
    for &version in VERSIONS {
        let server = server(version, &Asked::default(), SslOptions::empty());
        for way in WAYS {
            let (mut ours, mut peer) = connection(&server, version, way, &[]);
            chat(&mut ours, &mut peer);
            peer.write(b"Q\n");
            assert_eq!(ours.read_to_end().unwrap(), b"");
            // It reads no more than the socket to its end, but it does that.
            ours.write_all(&random_bytes(1 << 20)).unwrap();
            ours.close_both().unwrap();
            drop(ours);
            let finished = peer.finish();
            assert!(finished.status.success(), "{}", finished.stderr);
        }
    }
}
