//! What TLS can do, through `SslStream` at either end and under each policy, with callbacks that
//! suspend: certificates, names, protocols, PSK, extensions, exported keys.

use crate::common::both::Told;
use crate::common::duo::{each_way, VERSIONS};
use crate::common::executor::yield_once;
use crate::common::memory::{client_context, server_context};
use crate::common::tls::{identity, issued_identity};
use openssl::ssl::{
    select_next_proto, AlpnError, NameType, SniError, Ssl, SslContextBuilder, SslVerifyMode,
};
use openssl::x509::X509VerifyResult;
use openssl_async_jobs::suspend;

/// In a callback of either end: only ours runs in a job, and not under `Never`.
fn pause() {
    let _ = suspend(yield_once());
}

fn trusting(ctx: &mut SslContextBuilder) {
    ctx.cert_store_mut().add_cert(identity().0.clone()).unwrap();
    ctx.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
}

#[test]
fn a_certificate_is_verified_against_the_store() {
    each_way(|way| {
        let server = server_context(|_| ());
        let mut duo = way.duo(&client_context(trusting), &server);
        duo.handshake();
        let ssl = match way.accepts {
            true => duo.peer.ssl(),
            false => duo.ours.ssl(),
        };
        assert_eq!(ssl.verify_result(), X509VerifyResult::OK);
        let seen = ssl.peer_certificate().unwrap();
        assert_eq!(seen.to_der().unwrap(), identity().0.to_der().unwrap());
        duo.talk(b"ping");
    });
}

#[test]
fn a_verify_callback_that_suspends_decides() {
    each_way(|way| {
        for accept in [true, false] {
            let client = client_context(|ctx| {
                ctx.set_verify_callback(SslVerifyMode::PEER, move |_, _| {
                    pause();
                    accept
                });
            });
            let mut duo = way.duo(&client, &server_context(|_| ()));
            if accept {
                duo.handshake();
                duo.talk(b"ping");
                continue;
            }
            let (ours, _) = duo.try_handshake();
            assert!(
                way.accepts || matches!(&ours, Told::Tls(_, why) if why[0].contains("verify")),
                "{ours:?}"
            );
        }
    });
}

#[test]
fn client_certificates_are_asked_for_and_verified() {
    each_way(|way| {
        let (cert, key) = identity();
        let client = client_context(|ctx| {
            ctx.set_certificate(cert).unwrap();
            ctx.set_private_key(key).unwrap();
        });
        let mut duo = way.duo(&client, &server_context(trusting));
        duo.handshake();
        duo.talk(b"ping");
        let server = match way.accepts {
            true => duo.ours.ssl(),
            false => duo.peer.ssl(),
        };
        assert!(server.peer_certificate().is_some());

        // One that the server does not trust.
        let (cert, key) = issued_identity();
        let client = client_context(|ctx| {
            ctx.set_certificate(&cert).unwrap();
            ctx.set_private_key(&key).unwrap();
        });
        let mut duo = way.duo(&client, &server_context(trusting_nobody));
        let (ours, peer) = duo.try_handshake();
        let server = if way.accepts { ours } else { peer };
        assert!(matches!(server, Told::Tls(..)), "{way:?}: {server:?}");
    });
}

fn trusting_nobody(ctx: &mut SslContextBuilder) {
    ctx.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
}

#[test]
fn a_protocol_is_selected() {
    each_way(|way| {
        let client = client_context(|ctx| ctx.set_alpn_protos(b"\x06http/2\x08http/1.1").unwrap());
        let server = server_context(|ctx| {
            ctx.set_alpn_select_callback(|_, client| {
                pause();
                select_next_proto(b"\x08http/1.1\x04spdy", client).ok_or(AlpnError::NOACK)
            });
        });
        let mut duo = way.duo(&client, &server);
        duo.handshake();
        for ssl in [duo.ours.ssl(), duo.peer.ssl()] {
            assert_eq!(ssl.selected_alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    });
}

#[test]
fn a_name_finds_its_context_and_an_unknown_one_is_refused() {
    each_way(|way| {
        let (cert, key) = issued_identity();
        let other = server_context(|ctx| {
            ctx.set_certificate(&cert).unwrap();
            ctx.set_private_key(&key).unwrap();
        });
        let server = server_context(|ctx| {
            ctx.set_servername_callback(move |ssl, _| {
                pause();
                match ssl.servername(NameType::HOST_NAME) {
                    Some("other.example") => ssl.set_ssl_context(&other).unwrap(),
                    _ => return Err(SniError::ALERT_FATAL),
                }
                Ok(())
            });
        });
        let client = client_context(|_| ());
        for (name, known) in [("other.example", true), ("unknown.example", false)] {
            let mut ssl = Ssl::new(&client).unwrap();
            ssl.set_hostname(name).unwrap();
            let mut duo = way.duo_of(ssl, Ssl::new(&server).unwrap());
            if !known {
                let (ours, peer) = duo.try_handshake();
                assert!(matches!(ours, Told::Tls(..)), "{ours:?}");
                assert!(matches!(peer, Told::Tls(..)), "{peer:?}");
                continue;
            }
            duo.handshake();
            let client = match way.accepts {
                true => duo.peer.ssl(),
                false => duo.ours.ssl(),
            };
            let seen = client.peer_certificate().unwrap();
            assert_eq!(seen.to_der().unwrap(), cert.to_der().unwrap());
        }
    });
}

#[test]
fn a_shared_key_is_enough() {
    const KEY: &[u8] = b"a key that both ends have";
    let tls12 = |ctx: &mut SslContextBuilder| {
        ctx.set_max_proto_version(VERSIONS[0]).unwrap();
        ctx.set_cipher_list("PSK-AES256-CBC-SHA:@SECLEVEL=0")
            .unwrap();
    };
    each_way(|way| {
        let client = client_context(|ctx| {
            tls12(ctx);
            ctx.set_psk_client_callback(|_, _, identity, key| {
                pause();
                identity[..3].copy_from_slice(b"me\0");
                key[..KEY.len()].copy_from_slice(KEY);
                Ok(KEY.len())
            });
        });
        let server = server_context(|ctx| {
            tls12(ctx);
            ctx.set_psk_server_callback(|_, identity, key| {
                pause();
                assert_eq!(identity, Some(&b"me"[..]));
                key[..KEY.len()].copy_from_slice(KEY);
                Ok(KEY.len())
            });
        });
        let mut duo = way.duo(&client, &server);
        duo.handshake();
        duo.talk(b"ping");
        assert!(duo.ours.ssl().peer_certificate().is_none());
    });
}

#[cfg(ossl111)]
#[test]
fn an_extension_of_ones_own_arrives() {
    use openssl::ssl::ExtensionContext;
    use std::sync::{Arc, Mutex};
    each_way(|way| {
        let client = client_context(|ctx| {
            ctx.add_custom_ext(
                12345,
                ExtensionContext::CLIENT_HELLO,
                |_, _, _| {
                    pause();
                    Ok(Some(b"hello"))
                },
                |_, _, _, _| unreachable!(),
            )
            .unwrap();
        });
        let found = Arc::new(Mutex::new(Vec::new()));
        let finds = Arc::clone(&found);
        let server = server_context(|ctx| {
            ctx.add_custom_ext(
                12345,
                ExtensionContext::CLIENT_HELLO,
                |_, _, _| -> Result<Option<&'static [u8]>, _> { unreachable!() },
                move |_, _, data, _| {
                    pause();
                    *finds.lock().unwrap() = data.to_owned();
                    Ok(())
                },
            )
            .unwrap();
        });
        way.duo(&client, &server).handshake();
        assert_eq!(*found.lock().unwrap(), b"hello");
    });
}

#[test]
fn keys_for_others_are_the_same_at_both_ends() {
    each_way(|way| {
        for context in [None, Some(&b"context"[..])] {
            let mut duo = way.duo(&client_context(|_| ()), &server_context(|_| ()));
            duo.handshake();
            let [mut ours, mut peers] = [[0; 32], [1; 32]];
            let export = |ssl: &openssl::ssl::SslRef, to: &mut [u8]| {
                ssl.export_keying_material(to, "EXPERIMENTAL test", context)
                    .unwrap();
            };
            export(duo.ours.ssl(), &mut ours);
            export(duo.peer.ssl(), &mut peers);
            assert_eq!(ours, peers);
        }
    });
}
