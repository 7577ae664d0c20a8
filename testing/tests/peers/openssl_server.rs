//! `openssl s_server` with a client of ours whose verify callback suspends: handshakes of each kind,
//! sessions, early data, and what is refused (H2, H7).

use std::sync::{Arc, Mutex};

use openssl::ssl::{Ssl, SslContextBuilder, SslSession, SslSessionCacheMode};
use openssl_async_jobs::Error;
use testing::peer::{
    chat, client_context, connect, describe, pauses_of, s_server, socket_to, Asked, Files, Ours,
    NAME, WAYS,
};
use testing::tls::{certificate, use_identity, Identity, KeyType, VERSIONS};

/// The server's identity, and its files.
fn server(key_type: KeyType) -> (Identity, Files) {
    let (files, identity) = (Files::new(), certificate(key_type, &[NAME]));
    files.identity("server", &identity);
    (identity, files)
}

/// A handshake that pauses in the verify callback.
fn connect_paused(ours: &mut Ours, asked: &Asked) {
    let before = asked.times().0;
    let (connected, pauses) = pauses_of(|| ours.connect());
    connected.unwrap();
    assert!(pauses > 0);
    assert_eq!(asked.times(), (before + pauses, 0));
}

#[test]
fn handshakes_pause_and_a_line_goes_each_way_with_each_kind_of_certificate() {
    for &version in VERSIONS {
        for key_type in [KeyType::Rsa, KeyType::Ecdsa] {
            let (identity, files) = server(key_type);
            for way in WAYS {
                let asked = Asked::default();
                let context = client_context(version, &[&identity.certificate], &asked).build();
                let (mut peer, port) = s_server(&files, version, &[]);
                let mut ours = connect(&context, port, NAME, way);
                connect_paused(&mut ours, &asked);
                chat(&mut ours, &mut peer);
            }
        }
    }
}

#[test]
fn a_client_certificate_is_given_and_accepted() {
    let of_client = certificate(KeyType::Rsa, &["client.test"]);
    for &version in VERSIONS {
        let (identity, files) = server(KeyType::Ecdsa);
        let (trusted, _) = files.identity("client", &of_client);
        for way in WAYS {
            let asked = Asked::default();
            let mut context = client_context(version, &[&identity.certificate], &asked);
            use_identity(&mut context, &of_client);
            let more = ["-Verify", "1", "-CAfile", &trusted, "-verify_return_error"];
            let (mut peer, port) = s_server(&files, version, &more);
            let mut ours = connect(&context.build(), port, NAME, way);
            connect_paused(&mut ours, &asked);
            chat(&mut ours, &mut peer);
            peer.wait_for("subject=CN = client.test");
        }
    }
}

#[test]
fn an_application_protocol_is_agreed_on() {
    for &version in VERSIONS {
        let (identity, files) = server(KeyType::Rsa);
        for way in WAYS {
            let asked = Asked::default();
            let mut context = client_context(version, &[&identity.certificate], &asked);
            context.set_alpn_protos(b"\x08http/1.1\x02h2").unwrap();
            let (mut peer, port) = s_server(&files, version, &["-alpn", "h2"]);
            let mut ours = connect(&context.build(), port, NAME, way);
            connect_paused(&mut ours, &asked);
            assert_eq!(ours.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
            peer.wait_for("ALPN protocols selected: h2");
            chat(&mut ours, &mut peer);
        }
    }
}

/// The newest session that a server has given.
type Newest = Arc<Mutex<Option<SslSession>>>;

fn keep_sessions(context: &mut SslContextBuilder) -> Newest {
    let newest = Newest::default();
    let keep = Arc::clone(&newest);
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    context.set_new_session_callback(move |_, session| *keep.lock().unwrap() = Some(session));
    newest
}

fn resume(ours: &mut Ours, newest: &Newest) -> SslSession {
    let session = newest.lock().unwrap().clone().expect("the server gave one");
    // SAFETY: it is of a connection of the same context.
    unsafe { ours.ssl_mut().set_session(&session) }.unwrap();
    session
}

#[test]
fn sessions_are_resumed_by_id_and_by_ticket_without_another_verification() {
    for &version in VERSIONS {
        for more in [&[][..], &["-no_ticket"]] {
            let (identity, files) = server(KeyType::Rsa);
            for way in WAYS {
                let asked = Asked::default();
                let mut context = client_context(version, &[&identity.certificate], &asked);
                let newest = keep_sessions(&mut context);
                let context = context.build();
                let (mut peer, port) = s_server(&files, version, more);
                let mut ours = connect(&context, port, NAME, way);
                connect_paused(&mut ours, &asked);
                chat(&mut ours, &mut peer);
                ours.close_both().unwrap();
                // It waits a while for the socket's end before it takes the next.
                drop(ours);

                let mut ours = connect(&context, port, NAME, way);
                resume(&mut ours, &newest);
                let (connected, pauses) = pauses_of(|| ours.connect());
                connected.unwrap();
                assert_eq!(pauses, 0);
                assert!(ours.ssl().session_reused());
                peer.write(b"again\n");
                assert_eq!(ours.read_until(b"\n").unwrap(), b"again\n");
                peer.wait_for("Reused session-id");
            }
        }
    }
}

#[cfg(ossl111)]
#[test]
fn early_data_is_sent_before_the_handshake() {
    use openssl::ssl::{SslContext, SslVersion};
    use testing::peer::{random_bytes, sha256, Peer, Way};

    fn early(context: &SslContext, port: u16, way: Way, newest: &Newest, data: &str) -> Ours {
        let mut ours = connect(context, port, NAME, way);
        let session = resume(&mut ours, newest);
        assert!(session.max_early_data() as usize >= data.len());
        ours.ssl_mut().set_connect_state();
        let mut data = data.as_bytes();
        while !data.is_empty() {
            let len = ours.run(|stream| stream.write_early_data(data)).unwrap();
            data = &data[len..];
        }
        ours.connect().unwrap();
        ours
    }

    let version = SslVersion::TLS1_3;
    let (identity, files) = server(KeyType::Ecdsa);
    let data: String = (0..150).map(|_| sha256(&random_bytes(1))).collect();
    for way in WAYS {
        let asked = Asked::default();
        let mut context = client_context(version, &[&identity.certificate], &asked);
        let newest = keep_sessions(&mut context);
        let context = context.build();
        let (mut peer, port) = s_server(&files, version, &["-early_data"]);
        let mut ours = connect(&context, port, NAME, way);
        connect_paused(&mut ours, &asked);
        chat(&mut ours, &mut peer);
        ours.close_both().unwrap();
        drop(ours);

        let mut ours = early(&context, port, way, &newest, &data);
        peer.wait_for("End of early data");
        peer.wait_for(&data);
        let told = |peer: &mut Peer, ours: &mut Ours| {
            peer.write(b"again\n");
            assert_eq!(ours.read_until(b"\n").unwrap(), b"again\n");
        };
        told(&mut peer, &mut ours);
        ours.write_all(b"and after it\n").unwrap();
        peer.wait_for("and after it\n");
    }
}

/// A handshake that one side refuses: what the client has, what the server does, and what it says
/// then.
struct Refusal {
    client: fn(&mut SslContextBuilder, &Identity),
    name: &'static str,
    more: &'static [&'static str],
    says: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        client: |_, _| (),
        name: NAME,
        more: &["-Verify", "1"],
        says: "peer did not return a certificate",
    },
    Refusal {
        client: |context, stranger| use_identity(context, stranger),
        name: NAME,
        more: &["-Verify", "1", "-verify_return_error"],
        says: "certificate verify failed",
    },
    Refusal {
        client: |context, stranger| testing::tls::trust(context, &[&stranger.certificate]),
        name: NAME,
        more: &[],
        says: "SSL alert number 48",
    },
    Refusal {
        client: |_, _| (),
        name: "another.test",
        more: &[],
        says: "SSL alert number 42",
    },
    Refusal {
        client: |context, _| context.set_alpn_protos(b"\x08http/1.1").unwrap(),
        name: NAME,
        more: &["-alpn", "h2"],
        says: "no application protocol",
    },
];

#[test]
fn refusals_reach_the_peer_and_are_reported_as_by_rust_openssl() {
    let stranger = certificate(KeyType::Ecdsa, &["client.test"]);
    for &version in VERSIONS {
        let (identity, files) = server(KeyType::Rsa);
        for refusal in REFUSALS {
            let asked = Asked::default();
            let mut context = client_context(version, &[&identity.certificate], &asked);
            (refusal.client)(&mut context, &stranger);
            let context = context.build();

            let (peer, port) = s_server(&files, version, refusal.more);
            let mut ssl = Ssl::new(&context).unwrap();
            ssl.set_hostname(refusal.name).unwrap();
            ssl.param_mut().set_host(refusal.name).unwrap();
            let mut theirs = openssl::ssl::SslStream::new(ssl, socket_to(port)).unwrap();
            // With TLS 1.3 the client is done before the server has seen its certificate.
            let refused = theirs.connect().and_then(|()| theirs.ssl_read(&mut [0]));
            let expected = describe(&refused.unwrap_err());
            peer.wait_for(refusal.says);
            for way in WAYS {
                let (peer, port) = s_server(&files, version, refusal.more);
                let mut ours = connect(&context, port, refusal.name, way);
                match ours.connect().and_then(|()| ours.read(&mut [0])) {
                    Err(Error::Ssl(e)) => assert_eq!(describe(&e), expected),
                    other => panic!("{other:?} instead of {expected}"),
                }
                peer.wait_for(refusal.says);
            }
        }
    }
}
