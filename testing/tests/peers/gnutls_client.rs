//! `gnutls-cli` with a server of ours whose servername callback suspends: handshakes of each kind,
//! sessions, early data, rekeying, renegotiation, half-closed connections and refusals (H2, H7).

use openssl::ssl::{
    select_next_proto, AlpnError, Ssl, SslContext, SslContextBuilder, SslOptions, SslVerifyMode,
    SslVersion,
};
use openssl_async_jobs::{AsyncPolicy, Error};
use testing::peer::{
    accept_paused, chat, chat_again, describe, gnutls_cli, random_bytes, server_context, sha256,
    Asked, Files, Listener, WAYS,
};
use testing::tls::{certificate, trust, KeyType, VERSIONS};

/// The server's files, and a context of this version.
fn server(
    version: SslVersion,
    key_type: KeyType,
    set_up: impl FnOnce(&mut SslContextBuilder),
) -> (Files, SslContext) {
    server_that_asks(version, key_type, &Asked::default(), set_up)
}

fn server_that_asks(
    version: SslVersion,
    key_type: KeyType,
    asked: &Asked,
    set_up: impl FnOnce(&mut SslContextBuilder),
) -> (Files, SslContext) {
    let (files, identity) = (Files::new(), certificate(key_type, &[testing::peer::NAME]));
    files.identity("server", &identity);
    let mut context = server_context(version, &[&identity], asked);
    set_up(&mut context);
    (files, context.build())
}

#[test]
fn handshakes_pause_and_a_line_goes_each_way_with_each_kind_of_certificate() {
    for &version in VERSIONS {
        for key_type in [KeyType::Rsa, KeyType::Ecdsa] {
            let (files, context) = server(version, key_type, |_| ());
            for way in WAYS {
                let listener = Listener::new();
                let mut peer = gnutls_cli(&files, listener.port(), version, &[]);
                let mut ours = listener.next(&context, way);
                accept_paused(&mut ours);
                peer.wait_for("The certificate is trusted");
                chat(&mut ours, &mut peer);
            }
        }
    }
}

#[test]
fn a_peer_that_has_sent_mebibytes_and_closed_its_side_still_reads() {
    for &version in VERSIONS {
        let (files, context) = server(version, KeyType::Ecdsa, |_| ());
        for way in WAYS {
            let listener = Listener::new();
            // Nothing but what we send goes to its standard output.
            let more = ["--logfile", "/dev/null"];
            let mut peer = gnutls_cli(&files, listener.port(), version, &more);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            // It writes what it reads byte by byte.
            let (theirs, answer) = (random_bytes(2 << 20), random_bytes(200_000));
            peer.feed(theirs.clone());
            let read = ours.read_exact(theirs.len()).unwrap();
            assert_eq!(sha256(&read), sha256(&theirs), "{way:?}");
            peer.close_stdin();
            assert_eq!(ours.read_to_end().unwrap(), b"");
            ours.write_all(&answer).unwrap();
            ours.close_both().unwrap();
            let finished = peer.finish();
            assert!(finished.status.success(), "{}", finished.stderr);
            assert_eq!(sha256(&finished.stdout), sha256(&answer), "{way:?}");
        }
    }
}

#[test]
fn a_trusted_client_certificate_is_accepted() {
    let identity = certificate(KeyType::Ecdsa, &["client.test"]);
    for &version in VERSIONS {
        let (files, context) = server(version, KeyType::Rsa, |context| {
            trust(context, &[&identity.certificate]);
            context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        });
        let (cert, key) = files.identity("client", &identity);
        for way in WAYS {
            let listener = Listener::new();
            let more = ["--x509certfile", &cert, "--x509keyfile", &key];
            let mut peer = gnutls_cli(&files, listener.port(), version, &more);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            let theirs = ours.ssl().peer_certificate().expect("it was asked for");
            let der = identity.certificate.to_der().unwrap();
            assert_eq!(theirs.to_der().unwrap(), der);
            chat(&mut ours, &mut peer);
        }
    }
}

#[test]
fn an_application_protocol_is_agreed_on() {
    for &version in VERSIONS {
        let (files, context) = server(version, KeyType::Ecdsa, |context| {
            context.set_alpn_select_callback(|_, offered| {
                select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
            });
        });
        for way in WAYS {
            let listener = Listener::new();
            let more = ["--alpn", "h2", "--alpn", "http/1.1"];
            let mut peer = gnutls_cli(&files, listener.port(), version, &more);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            peer.wait_for("Application protocol: http/1.1");
            chat(&mut ours, &mut peer);
        }
    }
}

#[test]
fn sessions_are_resumed_by_id_and_by_ticket() {
    for &version in VERSIONS {
        for options in [SslOptions::empty(), SslOptions::NO_TICKET] {
            let (files, context) = server(version, KeyType::Rsa, |context| {
                context.set_options(options);
            });
            for way in WAYS {
                let listener = Listener::new();
                let more = ["--resume", "--waitresumption"];
                let mut peer = gnutls_cli(&files, listener.port(), version, &more);
                let mut ours = listener.next(&context, way);
                accept_paused(&mut ours);
                assert_eq!(ours.read_to_end().unwrap(), b"");
                // It may have gone already.
                let _ = ours.close();
                drop(ours);

                let mut ours = listener.next(&context, way);
                accept_paused(&mut ours);
                assert!(ours.ssl().session_reused());
                peer.wait_for("This is a resumed session");
                chat(&mut ours, &mut peer);
            }
        }
    }
}

#[cfg(ossl111)]
#[test]
fn early_data_comes_before_the_handshake_is_done() {
    let version = SslVersion::TLS1_3;
    let (files, context) = server(version, KeyType::Ecdsa, |context| {
        context.set_max_early_data(16 * 1024).unwrap();
    });
    let early = random_bytes(10_000);
    let file = files.write("early", &early);
    for way in WAYS {
        let listener = Listener::new();
        let more = ["--resume", "--waitresumption", "--earlydata", &file];
        let mut peer = gnutls_cli(&files, listener.port(), version, &more);
        let mut ours = listener.next(&context, way);
        accept_paused(&mut ours);
        assert_eq!(ours.read_to_end().unwrap(), b"");
        // It may have gone already.
        let _ = ours.close();
        drop(ours);

        let mut ours = listener.next(&context, way);
        let read = ours.read_early_data(700).unwrap();
        assert_eq!(sha256(&read), sha256(&early), "{way:?}");
        ours.accept().unwrap();
        peer.wait_for("This is a resumed session");
        chat(&mut ours, &mut peer);
    }
}

#[cfg(ossl111)]
#[test]
fn the_peer_updates_its_key_and_has_ours_updated() {
    let version = SslVersion::TLS1_3;
    let (files, context) = server(version, KeyType::Ecdsa, |_| ());
    for way in WAYS {
        let listener = Listener::new();
        let mut peer = gnutls_cli(&files, listener.port(), version, &["--inline-commands"]);
        let mut ours = listener.next(&context, way);
        accept_paused(&mut ours);
        chat(&mut ours, &mut peer);
        for (time, command) in ["^rekey1^\n", "^rekey^\n"].into_iter().enumerate() {
            peer.write(command.as_bytes());
            peer.wait_for_nth("Rekey was completed", time + 1);
            chat_again(&mut ours, &mut peer, time + 2);
        }
    }
}

#[test]
fn the_peer_renegotiates_while_lines_go_both_ways() {
    // Of OpenSSL 3.0; before, it is allowed unless it is forbidden.
    let allow = SslOptions::from_bits_retain(if cfg!(ossl300) { 1 << 8 } else { 0 });
    let version = SslVersion::TLS1_2;
    for way in WAYS {
        let asked = Asked::default();
        let (files, context) = server_that_asks(version, KeyType::Rsa, &asked, |context| {
            context.set_options(allow);
        });
        let listener = Listener::new();
        let mut peer = gnutls_cli(&files, listener.port(), version, &["--inline-commands"]);
        let mut ours = listener.next(&context, way);
        accept_paused(&mut ours);
        chat(&mut ours, &mut peer);
        peer.write(b"^renegotiate^\n");
        peer.write(b"and after it\n");
        assert_eq!(ours.read_until(b"\n").unwrap(), b"and after it\n");
        peer.wait_for("ReHandshake was completed");
        chat_again(&mut ours, &mut peer, 2);
        // The callback comes again: in a job if what comes after the handshake runs as jobs.
        let times = match way.policy {
            AsyncPolicy::Always => (2, 0),
            _ => (1, 1),
        };
        assert_eq!(asked.times(), times, "{way:?}");
    }
}

/// What one side refuses: what the server has, what the client does, and what it says then.
type Refusal = (
    fn(&mut SslContextBuilder),
    &'static [&'static str],
    &'static str,
);

const REFUSALS: [Refusal; 3] = [
    // It has no certificate.
    (
        |ctx| ctx.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT),
        &[],
        "fatal alert",
    ),
    // It takes the server for another.
    (
        |_| (),
        &["--verify-hostname", "another.test"],
        "Error in the certificate",
    ),
    // It offers nothing that we have.
    (
        |ctx| ctx.set_alpn_select_callback(|_, _| Err(AlpnError::ALERT_FATAL)),
        &["--alpn", "h2"],
        "fatal alert",
    ),
];

#[test]
fn refusals_reach_the_peer_and_are_reported_as_by_rust_openssl() {
    for &version in VERSIONS {
        for (set_up, more, says) in REFUSALS {
            let (files, context) = server(version, KeyType::Ecdsa, set_up);
            let listener = Listener::new();
            let port = listener.port();
            let peer = gnutls_cli(&files, port, version, more);
            let ssl = Ssl::new(&context).unwrap();
            let mut theirs = openssl::ssl::SslStream::new(ssl, listener.next_socket()).unwrap();
            let expected = describe(&theirs.accept().unwrap_err());
            peer.wait_for(says);
            for way in WAYS {
                let peer = gnutls_cli(&files, port, version, more);
                let mut ours = listener.next(&context, way);
                match ours.accept() {
                    Err(Error::Ssl(e)) => assert_eq!(describe(&e), expected),
                    other => panic!("{other:?} instead of {expected}"),
                }
                peer.wait_for(says);
            }
        }
    }
}
