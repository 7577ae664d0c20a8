//! `suspend` inside the callbacks for shared keys, cookies and passwords: each pauses the job it runs
//! in, and the secret that it awaited is used (H3, H7).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::thread;

use crate::common::handshake::{client_context, count_pauses, handshake, tls12, Asked, End};
#[cfg(ossl111)]
use crate::common::handshake::{server_context, sockets};
use crate::common::thread::PATIENCE;
use crate::common::tls::identity;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslOptions, SslVerifyMode};
use openssl::symm::Cipher;

const IDENTITY: &[u8] = b"client\0";
const KEY: &[u8; 16] = b"0123456789abcdef";

fn psk12(ctx: &mut SslContextBuilder) {
    tls12(ctx);
    ctx.set_cipher_list("PSK-AES128-CBC-SHA:@SECLEVEL=0")
        .unwrap();
}

type FindKey = Box<dyn Fn() -> Result<&'static [u8; 16], ErrorStack> + Send + Sync>;

/// A server without a certificate, so that only the key of its callback will do.
fn psk_server(protocol: fn(&mut SslContextBuilder), find: FindKey) -> End {
    let mut ctx = SslContext::builder(SslMethod::tls_server()).unwrap();
    protocol(&mut ctx);
    ctx.set_psk_server_callback(move |_, identity, psk| {
        if identity != IDENTITY.strip_suffix(b"\0") {
            return Ok(0);
        }
        psk[..KEY.len()].copy_from_slice(find()?);
        Ok(KEY.len())
    });
    End::server(&ctx.build())
}

fn psk_client(protocol: fn(&mut SslContextBuilder), find: FindKey) -> End {
    End::client(&client_context(|ctx| {
        protocol(ctx);
        ctx.set_psk_client_callback(move |_, _, identity, psk| {
            identity[..IDENTITY.len()].copy_from_slice(IDENTITY);
            psk[..KEY.len()].copy_from_slice(find()?);
            Ok(KEY.len())
        });
    }))
}

fn key_at_hand() -> FindKey {
    Box::new(|| Ok(KEY))
}

fn key_from(asked: &Asked, key: &'static [u8; 16]) -> FindKey {
    let asked = asked.clone();
    Box::new(move || asked.ask(move || key).map_err(|_| ErrorStack::get()))
}

const WITH_PSK: &[fn(&mut SslContextBuilder)] = &[
    psk12,
    #[cfg(ossl111)]
    |_| (),
];

#[test]
fn the_key_that_a_servers_psk_callback_awaits_is_used() {
    for protocol in WITH_PSK {
        let asked = Asked::new();
        let server = psk_server(*protocol, key_from(&asked, KEY));
        drop(handshake(server, psk_client(*protocol, key_at_hand())).done(&asked));

        let asked = Asked::new();
        let server = psk_server(*protocol, key_from(&asked, b"of somebody else"));
        handshake(server, psk_client(*protocol, key_at_hand())).refused(&asked);
    }
}

#[test]
fn the_key_that_a_clients_psk_callback_awaits_is_used() {
    for protocol in WITH_PSK {
        let asked = Asked::new();
        let client = psk_client(*protocol, key_from(&asked, KEY));
        drop(handshake(client, psk_server(*protocol, key_at_hand())).done(&asked));

        let asked = Asked::new();
        let client = psk_client(*protocol, key_from(&asked, b"of somebody else"));
        handshake(client, psk_server(*protocol, key_at_hand())).refused(&asked);
    }
}

/// A cookie that another thread makes and knows again.
const COOKIE: &[u8] = b"made elsewhere";

#[derive(Clone, Default)]
struct Cookies {
    made: Asked,
    seen: Asked,
}

impl Cookies {
    fn make(&self, place: &mut [u8]) -> Result<usize, ErrorStack> {
        let cookie = self.made.ask(|| COOKIE).map_err(|_| ErrorStack::get())?;
        place[..cookie.len()].copy_from_slice(cookie);
        Ok(cookie.len())
    }

    fn verify(&self, cookie: &[u8]) -> bool {
        let cookie = cookie.to_vec();
        self.seen.ask(move || cookie == COOKIE).unwrap_or(false)
    }
}

#[test]
#[cfg(ossl111)]
fn the_cookie_that_a_stateless_server_awaits_is_known_again() {
    let cookies = Cookies::default();
    let (make, verify) = (cookies.clone(), cookies.clone());
    let server = server_context(|ctx| {
        ctx.set_stateless_cookie_generate_cb(move |_, place| make.make(place));
        ctx.set_stateless_cookie_verify_cb(move |_, cookie| verify.verify(cookie));
    });
    let client = End::client(&client_context(|ctx| {
        // Its first flight then is one message.
        ctx.clear_options(SslOptions::ENABLE_MIDDLEBOX_COMPAT);
    }));
    let (here, there) = sockets();
    let client = thread::spawn(move || client.run(there));
    let ((), paused) = count_pauses(move || {
        let ssl = openssl::ssl::Ssl::new(&server).unwrap();
        let mut tls = openssl::ssl::SslStream::new(ssl, here).unwrap();
        let hello = [tls.stateless().unwrap(), tls.stateless().unwrap()];
        assert_eq!(hello, [false, true]);
        tls.accept().unwrap();
        tls.write_all(b"!").unwrap();
        tls.read_exact(&mut [0]).unwrap();
    });
    client.join().unwrap().unwrap();
    assert_eq!((cookies.made.times(), cookies.seen.times()), (1, 1));
    assert_eq!(paused, 2);
}

/// A datagram socket as a stream.
struct Datagrams(UnixDatagram);

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer)
    }
}

impl Write for Datagrams {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.send(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_cookie_that_a_dtls_server_awaits_is_known_again() {
    let cookies = Cookies::default();
    let (make, verify) = (cookies.clone(), cookies.clone());
    let mut server = SslContext::builder(SslMethod::dtls()).unwrap();
    server.set_certificate(&identity().0).unwrap();
    server.set_private_key(&identity().1).unwrap();
    server.set_options(SslOptions::COOKIE_EXCHANGE);
    server.set_cookie_generate_cb(move |_, place| make.make(place));
    server.set_cookie_verify_cb(move |_, cookie| verify.verify(cookie));
    let mut server = End::server(&server.build());
    let mut client = SslContext::builder(SslMethod::dtls()).unwrap();
    client.set_verify(SslVerifyMode::NONE);
    let mut client = End::client(&client.build());
    server.ssl.set_mtu(1400).unwrap();
    client.ssl.set_mtu(1400).unwrap();

    let (here, there) = UnixDatagram::pair().unwrap();
    here.set_read_timeout(PATIENCE).unwrap();
    there.set_read_timeout(PATIENCE).unwrap();
    let client = thread::spawn(move || client.run(Datagrams(there)));
    let (server, paused) = count_pauses(move || server.run(Datagrams(here)));
    client.join().unwrap().unwrap();
    server.unwrap();
    assert_eq!((cookies.made.times(), cookies.seen.times()), (1, 1));
    assert_eq!(paused, 2);
}

#[test]
fn the_password_that_a_key_is_encrypted_with_is_awaited() {
    const PASSWORD: &[u8] = b"secret";
    let (aes, key) = (Cipher::aes_128_cbc(), &identity().1);
    let pem = key
        .private_key_to_pem_pkcs8_passphrase(aes, PASSWORD)
        .unwrap();
    let der = key.private_key_to_pkcs8_passphrase(aes, PASSWORD).unwrap();
    let asked = Asked::new();
    for pkcs8 in [true, false] {
        for (password, good) in [(PASSWORD, true), (&b"guess!"[..], false)] {
            let (ask, pem, der) = (asked.clone(), pem.clone(), der.clone());
            let (read, paused) = count_pauses(move || {
                let answer = |place: &mut [u8]| {
                    let password = ask.ask(move || password).map_err(|_| ErrorStack::get())?;
                    place[..password.len()].copy_from_slice(password);
                    Ok(password.len())
                };
                match pkcs8 {
                    true => PKey::private_key_from_pkcs8_callback(&der, answer),
                    false => PKey::private_key_from_pem_callback(&pem, answer),
                }
            });
            assert_eq!(paused, 1);
            match good {
                true => assert!(read.unwrap().public_eq(key)),
                false => drop(read.unwrap_err()),
            }
        }
    }
    assert_eq!(asked.times(), 4);
}
