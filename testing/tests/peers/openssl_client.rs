//! `openssl s_client` with a server of ours whose servername callback suspends: handshakes of each
//! kind, and what is refused (H2, H7).

use openssl::ssl::{
    select_next_proto, AlpnError, Ssl, SslContextBuilder, SslOptions, SslVerifyMode,
};
use openssl_async_jobs::Error;
use testing::peer::{
    accept_paused, chat, describe, s_client, server_context, Asked, Files, Listener, Trust, NAME,
    WAYS,
};
use testing::tls::{certificate, trust, Identity, KeyType, VERSIONS};

/// A server's identity and the files that its clients need.
fn server(key_type: KeyType) -> (Identity, Files) {
    let (files, identity) = (Files::new(), certificate(key_type, &[NAME]));
    files.identity("server", &identity);
    (identity, files)
}

#[test]
fn handshakes_pause_and_a_line_goes_each_way_with_each_kind_of_certificate() {
    for &version in VERSIONS {
        for key_type in [KeyType::Rsa, KeyType::Ecdsa] {
            let (identity, files) = server(key_type);
            let context = server_context(version, &[&identity], &Asked::default()).build();
            for way in WAYS {
                let listener = Listener::new();
                let mut peer = s_client(&files, listener.port(), version, Trust::Server, &[]);
                let mut ours = listener.next(&context, way);
                accept_paused(&mut ours);
                peer.wait_for("Verification: OK");
                chat(&mut ours, &mut peer);
            }
        }
    }
}

#[test]
fn a_trusted_client_certificate_is_accepted() {
    let identity = certificate(KeyType::Ecdsa, &["client.test"]);
    for &version in VERSIONS {
        let (of_server, files) = server(KeyType::Rsa);
        let (cert, key) = files.identity("client", &identity);
        let mut context = server_context(version, &[&of_server], &Asked::default());
        trust(&mut context, &[&identity.certificate]);
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let context = context.build();
        for way in WAYS {
            let listener = Listener::new();
            let more = ["-cert", &cert, "-key", &key];
            let mut peer = s_client(&files, listener.port(), version, Trust::Server, &more);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            let theirs = ours.ssl().peer_certificate().expect("it was asked for");
            assert_eq!(
                theirs.to_der().unwrap(),
                identity.certificate.to_der().unwrap()
            );
            chat(&mut ours, &mut peer);
        }
    }
}

#[test]
fn an_application_protocol_is_agreed_on() {
    for &version in VERSIONS {
        let (identity, files) = server(KeyType::Ecdsa);
        let mut context = server_context(version, &[&identity], &Asked::default());
        context.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x08http/1.1\x02h2", offered).ok_or(AlpnError::NOACK)
        });
        let context = context.build();
        for way in WAYS {
            let listener = Listener::new();
            let more = ["-alpn", "h2,http/1.1"];
            let mut peer = s_client(&files, listener.port(), version, Trust::Server, &more);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            assert_eq!(ours.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
            peer.wait_for("ALPN protocol: http/1.1");
            chat(&mut ours, &mut peer);
        }
    }
}

#[test]
fn sessions_are_resumed_by_id_and_by_ticket() {
    for &version in VERSIONS {
        for options in [SslOptions::empty(), SslOptions::NO_TICKET] {
            for way in WAYS {
                let (identity, files) = server(KeyType::Rsa);
                let mut context = server_context(version, &[&identity], &Asked::default());
                context.set_options(options);
                let (context, session) = (context.build(), files.path("session"));
                for (option, resumed) in [("-sess_out", false), ("-sess_in", true)] {
                    let listener = Listener::new();
                    let more = [option, &session];
                    let port = listener.port();
                    let mut peer = s_client(&files, port, version, Trust::Server, &more);
                    let mut ours = listener.next(&context, way);
                    accept_paused(&mut ours);
                    peer.wait_for(if resumed {
                        "Reused, TLSv1"
                    } else {
                        "New, TLSv1"
                    });
                    assert_eq!(ours.ssl().session_reused(), resumed);
                    // With this it has the ticket, too.
                    chat(&mut ours, &mut peer);
                    ours.close().unwrap();
                    // It waits a while for the socket's end before it ends.
                    drop(ours);
                    peer.wait_for("closed");
                }
            }
        }
    }
}

#[cfg(ossl111)]
#[test]
fn early_data_comes_before_the_handshake_is_done_or_is_rejected() {
    use openssl::ssl::SslVersion;
    use testing::peer::{pauses_of, random_bytes};

    const LIMIT: usize = 16 * 1024;
    let version = SslVersion::TLS1_3;
    let early = random_bytes(LIMIT - 1000);
    for way in WAYS {
        for reads_it in [true, false] {
            let (identity, files) = server(KeyType::Ecdsa);
            let mut context = server_context(version, &[&identity], &Asked::default());
            context.set_max_early_data(LIMIT as u32).unwrap();
            let context = context.build();
            let (session, file) = (files.path("session"), files.write("early", &early));

            let listener = Listener::new();
            let more = ["-sess_out", &session];
            let mut peer = s_client(&files, listener.port(), version, Trust::Server, &more);
            let mut ours = listener.next(&context, way);
            accept_paused(&mut ours);
            chat(&mut ours, &mut peer);

            let listener = Listener::new();
            let more = ["-sess_in", &session, "-early_data", &file];
            let mut peer = s_client(&files, listener.port(), version, Trust::Server, &more);
            let mut ours = listener.next(&context, way);
            if reads_it {
                let (read, pauses) = pauses_of(|| ours.read_early_data(700));
                assert!(read.unwrap() == early, "{way:?}");
                assert_eq!(pauses, 1);
                ours.accept().unwrap();
                peer.wait_for("Early data was accepted");
            } else {
                accept_paused(&mut ours);
                peer.wait_for("Early data was rejected");
            }
            assert!(ours.ssl().session_reused());
            chat(&mut ours, &mut peer);
        }
    }
}

/// A handshake that one side refuses: what the server has, what the client does, and what the
/// client says then.
struct Refusal {
    server: fn(&mut SslContextBuilder),
    trust: Trust,
    more: &'static [&'static str],
    says: &'static [&'static str],
}

const REFUSALS: &[Refusal] = &[
    // It has no certificate.
    Refusal {
        server: |ctx| ctx.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT),
        trust: Trust::Server,
        more: &[],
        says: &["SSL alert number 40", "SSL alert number 116"],
    },
    // It has one that nobody here trusts.
    Refusal {
        server: |ctx| ctx.set_verify(SslVerifyMode::PEER),
        trust: Trust::Server,
        more: &["CLIENT"],
        says: &["SSL alert number 48"],
    },
    // It does not trust ours.
    Refusal {
        server: |_| (),
        trust: Trust::Client,
        more: &[],
        says: &["certificate verify failed"],
    },
    // It offers nothing that we have.
    Refusal {
        server: |ctx| ctx.set_alpn_select_callback(|_, _| Err(AlpnError::ALERT_FATAL)),
        trust: Trust::Server,
        more: &["-alpn", "h2"],
        says: &["SSL alert number 120"],
    },
    // It knows the server by another name.
    Refusal {
        server: |ctx| ctx.set_servername_callback(|_, _| Err(openssl::ssl::SniError::ALERT_FATAL)),
        trust: Trust::Server,
        more: &[],
        says: &["SSL alert number 112"],
    },
];

#[test]
fn refusals_reach_the_peer_and_are_reported_as_by_rust_openssl() {
    let stranger = certificate(KeyType::Ecdsa, &["client.test"]);
    for &version in VERSIONS {
        for refusal in REFUSALS {
            let (identity, files) = server(KeyType::Ecdsa);
            let (cert, key) = files.identity("client", &stranger);
            let more = match refusal.more {
                ["CLIENT"] => vec!["-cert", &cert, "-key", &key],
                more => more.to_vec(),
            };
            let mut context = server_context(version, &[&identity], &Asked::default());
            (refusal.server)(&mut context);
            let context = context.build();
            let start = || {
                let listener = Listener::new();
                let peer = s_client(&files, listener.port(), version, refusal.trust, &more);
                (listener, peer)
            };

            let (listener, peer) = start();
            let socket = listener.next_socket();
            let mut theirs =
                openssl::ssl::SslStream::new(Ssl::new(&context).unwrap(), socket).unwrap();
            let expected = describe(&theirs.accept().unwrap_err());
            let said = peer.wait_for_any(refusal.says);
            for way in WAYS {
                let (listener, peer) = start();
                let mut ours = listener.next(&context, way);
                match ours.accept() {
                    Err(Error::Ssl(e)) => assert_eq!(describe(&e), expected, "{said}"),
                    other => panic!("{other:?} instead of {expected}"),
                }
                peer.wait_for_any(refusal.says);
            }
        }
    }
}
