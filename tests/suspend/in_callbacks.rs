//! `suspend` inside the callbacks of a handshake: each pauses the job it runs in, and the handshake
//! ends with its answer (H3, H7, H10). Other callbacks are in the files
//! `in_*.rs`.

#[cfg(ossl111)]
use std::sync::{Arc, Mutex};

use crate::common::handshake::{
    any_client, any_server, client_context, handshake, server_context, tls12, Asked, End,
};
use crate::common::tls::{identity, new_identity};
use openssl::dh::Dh;
use openssl::error::ErrorStack;
use openssl::ssl::{
    select_next_proto, AlpnError, NameType, SniError, SslContextBuilder, SslRef, SslVerifyMode,
};
use openssl::x509::X509StoreContextRef;

#[test]
fn the_certificate_that_the_servername_callback_awaits_is_served() {
    let asked = Asked::new();
    let found = new_identity();
    let (cert, ask) = (found.0.clone(), asked.clone());
    let server = server_context(|ctx| {
        ctx.set_servername_callback(move |ssl, _| {
            let name = ssl.servername(NameType::HOST_NAME).unwrap().to_owned();
            let found = found.clone();
            let find = move || {
                server_context(|ctx| {
                    assert_eq!(name, "name.example");
                    ctx.set_certificate(&found.0).unwrap();
                    ctx.set_private_key(&found.1).unwrap();
                })
            };
            let ctx = ask.ask(find).map_err(|_| SniError::ALERT_FATAL)?;
            ssl.set_ssl_context(&ctx).map_err(|_| SniError::ALERT_FATAL)
        });
    });
    let (_, client) = handshake(End::server(&server), any_client()).done(&asked);
    assert_eq!(asked.times(), 1);
    let served = client.ssl().peer_certificate().unwrap();
    assert_eq!(served.to_der().unwrap(), cert.to_der().unwrap());
}

#[test]
#[cfg(ossl111)]
fn the_certificate_that_the_client_hello_callback_awaits_is_served() {
    let asked = Asked::new();
    let found = new_identity();
    let (cert, ask) = (found.0.clone(), asked.clone());
    let server = server_context(|ctx| {
        ctx.set_client_hello_callback(move |ssl, _| {
            let found = found.clone();
            let (cert, key) = ask.ask(move || found).map_err(|_| ErrorStack::get())?;
            ssl.set_certificate(&cert)?;
            ssl.set_private_key(&key)?;
            Ok(openssl::ssl::ClientHelloResponse::SUCCESS)
        });
    });
    let (_, client) = handshake(End::server(&server), any_client()).done(&asked);
    assert_eq!(asked.times(), 1);
    let served = client.ssl().peer_certificate().unwrap();
    assert_eq!(served.to_der().unwrap(), cert.to_der().unwrap());
}

#[test]
fn the_protocol_that_the_alpn_callback_awaits_is_chosen() {
    let asked = Asked::new();
    let ask = asked.clone();
    let server = server_context(|ctx| {
        ctx.set_alpn_select_callback(move |_, offered| {
            // The second of the client's.
            let ours = ask
                .ask(|| b"\x03two\x03one".as_slice())
                .map_err(|_| AlpnError::ALERT_FATAL)?;
            let chosen = select_next_proto(ours, offered).ok_or(AlpnError::NOACK)?;
            // In the client's memory, as a slice of ours need not live as long.
            let start = offered.windows(chosen.len()).position(|w| w == chosen);
            Ok(&offered[start.unwrap()..][..chosen.len()])
        });
    });
    let client = client_context(|ctx| ctx.set_alpn_protos(b"\x03one\x03two").unwrap());
    let ends = handshake(End::server(&server), End::client(&client));
    let (server, client) = ends.done(&asked);
    assert_eq!(asked.times(), 1);
    assert_eq!(server.ssl().selected_alpn_protocol(), Some(&b"two"[..]));
    assert_eq!(client.ssl().selected_alpn_protocol(), Some(&b"two"[..]));
}

/// A callback that trusts the one certificate that is found elsewhere.
fn trusts_only(
    trusted: &openssl::x509::X509Ref,
    asked: &Asked,
) -> impl Fn(bool, &mut X509StoreContextRef) -> bool + Send + Sync + 'static {
    let (trusted, ask) = (trusted.to_owned(), asked.clone());
    // Asked twice by OpenSSL: for the error that it is self-signed, and for its place in the chain.
    move |_, store| {
        let cert = store.current_cert().unwrap().to_der().unwrap();
        let trusted = trusted.clone();
        ask.ask(move || trusted.to_der().unwrap() == cert)
            .unwrap_or(false)
    }
}

#[test]
fn the_verdict_that_a_clients_verify_callback_awaits_decides() {
    let (_, other) = (identity(), new_identity().0);
    for (trusted, good) in [(&identity().0, true), (&other, false)] {
        let asked = Asked::new();
        let ctx = client_context(|ctx| {
            ctx.set_verify_callback(SslVerifyMode::PEER, trusts_only(trusted, &asked));
        });
        let ends = handshake(End::client(&ctx), any_server());
        match good {
            true => drop(ends.done(&asked)),
            false => ends.refused(&asked),
        }
    }
}

#[test]
fn the_verdict_that_a_connections_own_verify_callback_awaits_decides() {
    let (_, other) = (identity(), new_identity().0);
    for (trusted, good) in [(&identity().0, true), (&other, false)] {
        let asked = Asked::new();
        let mut client = any_client();
        let verify = trusts_only(trusted, &asked);
        client.ssl.set_verify_callback(SslVerifyMode::PEER, verify);
        let ends = handshake(client, any_server());
        match good {
            true => drop(ends.done(&asked)),
            false => ends.refused(&asked),
        }
    }
}

#[test]
fn the_verdict_that_a_servers_verify_callback_awaits_decides() {
    let (_, other) = (identity(), new_identity().0);
    for (trusted, good) in [(&identity().0, true), (&other, false)] {
        let asked = Asked::new();
        let server = server_context(|ctx| {
            let mode = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
            ctx.set_verify_callback(mode, trusts_only(trusted, &asked));
        });
        let client = client_context(|ctx| {
            ctx.set_certificate(&identity().0).unwrap();
            ctx.set_private_key(&identity().1).unwrap();
        });
        let ends = handshake(End::server(&server), End::client(&client));
        match good {
            true => drop(ends.done(&asked)),
            false => ends.refused(&asked),
        }
    }
}

/// Cipher suites that need parameters of the server's, and no certificate.
fn anonymous_dh(ctx: &mut SslContextBuilder) {
    tls12(ctx);
    ctx.set_cipher_list("ADH-AES128-GCM-SHA256:@SECLEVEL=0")
        .unwrap();
    // No finite field group, which OpenSSL 4.0 would take before it asks.
    #[cfg(ossl111)]
    ctx.set_groups_list("P-256").unwrap();
}

#[test]
fn the_parameters_that_the_dh_callbacks_await_are_used() {
    for of_the_connection in [false, true] {
        let asked = Asked::new();
        let ask = asked.clone();
        let parameters = move |_: &mut SslRef, _, _| {
            ask.ask(|| Dh::get_2048_256().unwrap())
                .map_err(|_| ErrorStack::get())
        };
        let mut server = match of_the_connection {
            true => End::server(&server_context(anonymous_dh)),
            false => End::server(&server_context(|ctx| {
                anonymous_dh(ctx);
                ctx.set_tmp_dh_callback(parameters.clone());
            })),
        };
        if of_the_connection {
            server.ssl.set_tmp_dh_callback(parameters);
        }
        let (_, client) =
            handshake(server, End::client(&client_context(anonymous_dh))).done(&asked);
        let cipher = client.ssl().current_cipher().unwrap();
        assert_eq!(cipher.name(), "ADH-AES128-GCM-SHA256");
        #[cfg(ossl300)]
        assert_eq!(client.ssl().peer_tmp_key().unwrap().bits(), 2048);
    }
}

#[test]
#[cfg(ossl111)]
fn the_secrets_that_the_keylog_callback_stores_elsewhere_are_the_connections() {
    let asked = Asked::new();
    let (stored, expected) = (Arc::new(Mutex::new(Vec::new())), Arc::default());
    let (ask, store) = (asked.clone(), Arc::clone(&stored));
    let server = server_context(|ctx| {
        ctx.set_keylog_callback(move |_, line| {
            let (store, line) = (Arc::clone(&store), line.to_owned());
            // It cannot fail; what is not stored is missed below.
            let _ = ask.ask(move || store.lock().unwrap().push(line));
        });
    });
    let log: Arc<Mutex<Vec<String>>> = Arc::clone(&expected);
    let client = client_context(|ctx| {
        ctx.set_keylog_callback(move |_, line| log.lock().unwrap().push(line.to_owned()));
    });
    let ends = handshake(End::server(&server), End::client(&client));
    drop(ends.done(&asked));
    let sorted = |lines: &Mutex<Vec<String>>| {
        let mut lines = lines.lock().unwrap().clone();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&stored), sorted(&expected));
}
