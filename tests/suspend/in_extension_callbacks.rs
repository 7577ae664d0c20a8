//! `suspend` inside the callbacks for extensions, OCSP stapling and one's own: each pauses the job it
//! runs in, and what it awaited is sent, or decides (H3, H7).

#[cfg(ossl111)]
use std::sync::{Arc, Mutex};

#[cfg(ossl111)]
use crate::common::handshake::tls12;
use crate::common::handshake::{any_client, client_context, handshake, server_context, Asked, End};
use crate::common::tls::issued_identity;
use openssl::error::ErrorStack;
#[cfg(ossl111)]
use openssl::ssl::{ExtensionContext, SslContextBuilder};
use openssl::ssl::{SslRef, StatusType};

/// An OCSP response that says "try later": all that is in it is a status.
const RESPONSE: &[u8] = b"\x30\x03\x0a\x01\x03";

/// A server with a certificate of an authority's: OpenSSL staples nothing to a self-signed one.
fn stapling_server(
    status: impl Fn(&mut SslRef) -> Result<bool, ErrorStack> + Send + Sync + 'static,
) -> End {
    let (cert, key) = issued_identity();
    End::server(&server_context(|ctx| {
        ctx.set_certificate(&cert).unwrap();
        ctx.set_private_key(&key).unwrap();
        ctx.set_status_callback(status).unwrap();
    }))
}

#[test]
fn the_ocsp_response_that_a_servers_status_callback_awaits_is_stapled() {
    let asked = Asked::new();
    let ask = asked.clone();
    let server = stapling_server(move |ssl| {
        let response = ask.ask(|| RESPONSE).map_err(|_| ErrorStack::get())?;
        ssl.set_ocsp_status(response).map(|()| true)
    });
    let mut client = any_client();
    client.ssl.set_status_type(StatusType::OCSP).unwrap();
    let (_, client) = handshake(server, client).done(&asked);
    assert_eq!(asked.times(), 1);
    assert_eq!(client.ssl().ocsp_status(), Some(RESPONSE));
}

#[test]
fn the_verdict_that_a_clients_status_callback_awaits_decides() {
    for good in [true, false] {
        let asked = Asked::new();
        let ask = asked.clone();
        let server = stapling_server(|ssl| ssl.set_ocsp_status(RESPONSE).map(|()| true));
        let client = client_context(|ctx| {
            ctx.set_status_callback(move |ssl: &mut SslRef| {
                let stapled = ssl.ocsp_status().map(<[u8]>::to_vec);
                let verdict = move || stapled.as_deref() == Some(RESPONSE) && good;
                ask.ask(verdict).map_err(|_| ErrorStack::get())
            })
            .unwrap();
        });
        let mut client = End::client(&client);
        client.ssl.set_status_type(StatusType::OCSP).unwrap();
        let ends = handshake(client, server);
        match good {
            true => drop(ends.done(&asked)),
            false => ends.refused(&asked),
        }
    }
}

/// A private extension's type.
#[cfg(ossl111)]
const EXTENSION: u16 = 0xff42;

/// The extension with these callbacks, in the hello of the client and the answer of the server.
#[cfg(ossl111)]
fn extension(
    ctx: &mut SslContextBuilder,
    say: impl Fn() -> Vec<u8> + Send + Sync + 'static,
    hear: impl Fn(Vec<u8>) + Send + Sync + 'static,
) {
    tls12(ctx);
    ctx.add_custom_ext(
        EXTENSION,
        ExtensionContext::CLIENT_HELLO | ExtensionContext::TLS1_2_SERVER_HELLO,
        move |_, _, _| Ok(Some(say())),
        move |_, _, said, _| {
            hear(said.to_vec());
            Ok(())
        },
    )
    .unwrap();
}

#[test]
#[cfg(ossl111)]
fn what_the_callbacks_of_an_extension_await_is_sent_and_received() {
    for server_in_job in [true, false] {
        let (asked, heard) = (Asked::new(), Arc::new(Mutex::new(Vec::new())));
        let asking = |ctx: &mut SslContextBuilder| {
            let (ask, ask_too, heard) = (asked.clone(), asked.clone(), Arc::clone(&heard));
            extension(
                ctx,
                move || ask.ask(|| b"found elsewhere".to_vec()).unwrap_or_default(),
                move |said| {
                    let heard = Arc::clone(&heard);
                    let _ = ask_too.ask(move || heard.lock().unwrap().push(said));
                },
            );
        };
        let other = Arc::new(Mutex::new(Vec::new()));
        let plain = |ctx: &mut SslContextBuilder| {
            let other = Arc::clone(&other);
            let hear = move |said| other.lock().unwrap().push(said);
            extension(ctx, || b"at hand".to_vec(), hear);
        };
        let ends = match server_in_job {
            true => handshake(
                End::server(&server_context(asking)),
                End::client(&client_context(plain)),
            ),
            false => handshake(
                End::client(&client_context(asking)),
                End::server(&server_context(plain)),
            ),
        };
        drop(ends.done(&asked));
        assert_eq!(asked.times(), 2);
        assert_eq!(*heard.lock().unwrap(), [b"at hand".to_vec()]);
        assert_eq!(*other.lock().unwrap(), [b"found elsewhere".to_vec()]);
    }
}
