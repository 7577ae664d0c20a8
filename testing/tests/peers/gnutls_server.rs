//! `gnutls-serv` with a client of ours whose verify callback suspends: handshakes of each kind,
//! sessions, early data, an echo and refusals (H2, H7).
//!
//! Its request to renegotiate (`**REHANDSHAKE**`) is not tested: it sends data right behind it, which
//! in 3.7 fails with any client, its own too.

use std::sync::{Arc, Mutex};

use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslSession, SslSessionCacheMode, SslVersion,
};
use openssl_async_jobs::Error;
use testing::peer::{
    client_context, connect, describe, gnutls_serv, pauses_of, random_bytes, sha256, socket_to,
    Asked, Files, Ours, NAME, WAYS,
};
use testing::tls::{certificate, use_identity, KeyType, VERSIONS};

/// The server's files, and a context of this version.
fn client(
    version: SslVersion,
    key_type: KeyType,
    asked: &Asked,
    set_up: impl FnOnce(&mut SslContextBuilder),
) -> (Files, SslContext) {
    let (files, identity) = (Files::new(), certificate(key_type, &[NAME]));
    files.identity("server", &identity);
    let mut context = client_context(version, &[&identity.certificate], asked);
    set_up(&mut context);
    (files, context.build())
}

/// A handshake that pauses in the verify callback.
fn connect_paused(ours: &mut Ours) {
    let (connected, pauses) = pauses_of(|| ours.connect());
    connected.unwrap();
    assert!(pauses > 0);
}

/// A line, which comes back.
fn echo(ours: &mut Ours, line: &str) {
    ours.write_all(line.as_bytes()).unwrap();
    assert_eq!(ours.read_exact(line.len()).unwrap(), line.as_bytes());
}

#[test]
fn handshakes_pause_and_lines_come_back_with_each_kind_of_certificate() {
    for &version in VERSIONS {
        for key_type in [KeyType::Rsa, KeyType::Ecdsa] {
            let (files, context) = client(version, key_type, &Asked::default(), |_| ());
            let (_peer, port) = gnutls_serv(&files, version, &["--disable-client-cert"]);
            for way in WAYS {
                let mut ours = connect(&context, port, NAME, way);
                connect_paused(&mut ours);
                echo(&mut ours, "hello\n");
                // Its end comes as an answer to ours.
                ours.close_both().unwrap();
            }
        }
    }
}

#[test]
fn mebibytes_come_back_line_by_line_unharmed() {
    for &version in VERSIONS {
        let (files, context) = client(version, KeyType::Ecdsa, &Asked::default(), |_| ());
        let (_peer, port) = gnutls_serv(&files, version, &["--disable-client-cert"]);
        for way in WAYS {
            let mut ours = connect(&context, port, NAME, way);
            connect_paused(&mut ours);
            // Lines that fit into what it reads at once.
            let lines: Vec<String> = (0..300)
                .map(|_| {
                    let hash = sha256(&random_bytes(32));
                    hash.repeat(55) + "\n"
                })
                .collect();
            for line in &lines {
                echo(&mut ours, line);
            }
        }
    }
}

#[test]
fn a_client_certificate_is_given_and_accepted() {
    let of_client = certificate(KeyType::Rsa, &["client.test"]);
    for &version in VERSIONS {
        let (files, context) = client(version, KeyType::Ecdsa, &Asked::default(), |context| {
            use_identity(context, &of_client);
        });
        let (trusted, _) = files.identity("client", &of_client);
        let more = [
            "--require-client-cert",
            "--verify-client-cert",
            "--x509cafile",
            &trusted,
        ];
        let (_peer, port) = gnutls_serv(&files, version, &more);
        for way in WAYS {
            let mut ours = connect(&context, port, NAME, way);
            connect_paused(&mut ours);
            echo(&mut ours, "hello\n");
        }
    }
}

#[test]
fn an_application_protocol_is_agreed_on() {
    for &version in VERSIONS {
        let (files, context) = client(version, KeyType::Rsa, &Asked::default(), |context| {
            context.set_alpn_protos(b"\x08http/1.1\x02h2").unwrap();
        });
        let (_peer, port) = gnutls_serv(&files, version, &["--alpn", "h2"]);
        for way in WAYS {
            let mut ours = connect(&context, port, NAME, way);
            connect_paused(&mut ours);
            assert_eq!(ours.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
            echo(&mut ours, "hello\n");
        }
    }
}

/// The newest session that a server has given.
type Newest = Arc<Mutex<Option<SslSession>>>;

fn keep_sessions(context: &mut SslContextBuilder, newest: &Newest) {
    let keep = Arc::clone(newest);
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    context.set_new_session_callback(move |_, session| *keep.lock().unwrap() = Some(session));
}

fn resume(ours: &mut Ours, newest: &Newest) -> SslSession {
    let session = newest.lock().unwrap().clone().expect("the server gave one");
    // SAFETY: it is of a connection of the same context.
    unsafe { ours.ssl_mut().set_session(&session) }.unwrap();
    session
}

#[test]
fn sessions_are_resumed_by_id_and_by_ticket_without_another_verification() {
    let kinds: &[(SslVersion, &[&str])] = &[
        (SslVersion::TLS1_2, &["--noticket"]),
        // It takes no ticket from OpenSSL 1.1.0, be it with rust-openssl's own stream.
        #[cfg(ossl111)]
        (SslVersion::TLS1_2, &[]),
        // Without tickets it resumes none of TLS 1.3.
        #[cfg(ossl111)]
        (SslVersion::TLS1_3, &[]),
    ];
    for &(version, more) in kinds {
        let newest = Newest::default();
        let (files, context) = client(version, KeyType::Ecdsa, &Asked::default(), |context| {
            keep_sessions(context, &newest);
        });
        let (_peer, port) = gnutls_serv(&files, version, more);
        for way in WAYS {
            *newest.lock().unwrap() = None;
            let mut ours = connect(&context, port, NAME, way);
            connect_paused(&mut ours);
            echo(&mut ours, "hello\n");
            ours.close_both().unwrap();

            let mut ours = connect(&context, port, NAME, way);
            resume(&mut ours, &newest);
            let (connected, pauses) = pauses_of(|| ours.connect());
            connected.unwrap();
            assert_eq!(pauses, 0);
            assert!(ours.ssl().session_reused(), "{version:?} {more:?}");
            echo(&mut ours, "again\n");
        }
    }
}

#[cfg(ossl111)]
#[test]
fn early_data_is_sent_before_the_handshake_and_accepted() {
    use std::ffi::c_int;

    use foreign_types::ForeignTypeRef;

    const SSL_EARLY_DATA_ACCEPTED: c_int = 2;
    extern "C" {
        fn SSL_get_early_data_status(ssl: *const openssl_sys::SSL) -> c_int;
    }

    let version = SslVersion::TLS1_3;
    let newest = Newest::default();
    let (files, context) = client(version, KeyType::Ecdsa, &Asked::default(), |context| {
        keep_sessions(context, &newest);
    });
    let (_peer, port) = gnutls_serv(&files, version, &["--earlydata"]);
    for way in WAYS {
        let mut ours = connect(&context, port, NAME, way);
        connect_paused(&mut ours);
        echo(&mut ours, "hello\n");
        ours.close_both().unwrap();

        let early = "early\n";
        let mut ours = connect(&context, port, NAME, way);
        let session = resume(&mut ours, &newest);
        assert!(session.max_early_data() as usize >= early.len());
        ours.ssl_mut().set_connect_state();
        let len = ours.run(|stream| stream.write_early_data(early.as_bytes()));
        assert_eq!(len.unwrap(), early.len());
        ours.connect().unwrap();
        assert!(ours.ssl().session_reused());
        // SAFETY: a live SSL.
        let status = unsafe { SSL_get_early_data_status(ours.ssl().as_ptr()) };
        assert_eq!(status, SSL_EARLY_DATA_ACCEPTED);
        // It reads early data, and does not send that back.
        echo(&mut ours, "and after it\n");
    }
}

/// What one side refuses: what the client has and the name it takes the server for, and what the
/// server does.
type Refusal = (
    fn(&mut SslContextBuilder),
    &'static str,
    &'static [&'static str],
);

const REFUSALS: [Refusal; 4] = [
    (|_| (), NAME, &["--require-client-cert"]),
    (|ctx| testing::tls::trust(ctx, &[]), NAME, &[]),
    (|_| (), "another.test", &[]),
    (
        |ctx| ctx.set_alpn_protos(b"\x08http/1.1").unwrap(),
        NAME,
        &["--alpn", "h2", "--alpn-fatal"],
    ),
];

#[test]
fn refusals_reach_the_peer_and_are_reported_as_by_rust_openssl() {
    for &version in VERSIONS {
        for (set_up, name, more) in REFUSALS {
            let (files, context) = client(version, KeyType::Rsa, &Asked::default(), set_up);
            let (peer, port) = gnutls_serv(&files, version, more);
            let mut ssl = Ssl::new(&context).unwrap();
            ssl.set_hostname(name).unwrap();
            ssl.param_mut().set_host(name).unwrap();
            let mut theirs = openssl::ssl::SslStream::new(ssl, socket_to(port)).unwrap();
            // With TLS 1.3 the client is done before the server has seen its certificate.
            let refused = theirs.connect().and_then(|()| theirs.ssl_read(&mut [0]));
            let expected = describe(&refused.unwrap_err());
            drop(theirs);
            let says = peer.wait_for_nth("Error in handshake", 1);
            for (n, way) in WAYS.into_iter().enumerate() {
                let mut ours = connect(&context, port, name, way);
                match ours.connect().and_then(|()| ours.read(&mut [0])) {
                    Err(Error::Ssl(e)) => assert_eq!(describe(&e), expected),
                    other => panic!("{other:?} instead of {expected}"),
                }
                let said = peer.wait_for_nth("Error in handshake", n + 2);
                assert_eq!(said, says, "{way:?}");
            }
        }
    }
}
