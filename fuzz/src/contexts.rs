//! The contexts of all connections: made once, with each callback of theirs a place to pause.

use std::sync::OnceLock;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_void, size_t};
use openssl::asn1::Asn1Time;
use openssl::ex_data::Index;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::ssl::{
    SniError, Ssl, SslAlert, SslContext, SslContextBuilder, SslMethod, SslRef, SslSessionCacheMode,
    SslVerifyMode,
};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509NameBuilder, X509StoreContext, X509};

use crate::callbacks::{call_back, keep_session};

pub struct Contexts {
    pub client: SslContext,
    pub server: SslContext,
    /// Whose the callback is: the number of an end.
    pub id: Index<Ssl, usize>,
}

pub fn contexts() -> &'static Contexts {
    static CONTEXTS: OnceLock<Contexts> = OnceLock::new();
    CONTEXTS.get_or_init(make)
}

fn make() -> Contexts {
    // Ed25519, as its signatures are all of one length.
    let key = PKey::generate_ed25519().unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "fuzz").unwrap();
    let name = name.build();
    let mut cert = X509::builder().unwrap();
    cert.set_version(2).unwrap();
    cert.set_subject_name(&name).unwrap();
    cert.set_issuer_name(&name).unwrap();
    cert.set_pubkey(&key).unwrap();
    cert.set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    cert.set_not_after(&Asn1Time::days_from_now(3650).unwrap())
        .unwrap();
    cert.sign(&key, MessageDigest::null()).unwrap();
    let cert = cert.build();

    let mut server = SslContext::builder(SslMethod::tls_server()).unwrap();
    server.set_certificate(&cert).unwrap();
    server.set_private_key(&key).unwrap();
    server.set_session_id_context(b"fuzz").unwrap();
    server.set_client_hello_callback(|ssl, _| {
        call_back(ssl);
        Ok(openssl::ssl::ClientHelloResponse::SUCCESS)
    });
    server.set_servername_callback(|ssl, _: &mut SslAlert| match call_back(ssl) {
        true => Ok(()),
        false => Err(SniError::ALERT_FATAL),
    });

    let mut client = SslContext::builder(SslMethod::tls_client()).unwrap();
    let mut trusted = X509StoreBuilder::new().unwrap();
    trusted.add_cert(cert).unwrap();
    client.set_cert_store(trusted.build());
    client.set_verify_callback(SslVerifyMode::PEER, |verified, context| {
        let ssl = X509StoreContext::ssl_idx()
            .ok()
            .and_then(|idx| context.ex_data(idx));
        assert!(verified, "{}", context.error());
        ssl.is_some_and(call_back)
    });

    for (context, mode) in [
        (&mut server, SslSessionCacheMode::SERVER),
        (&mut client, SslSessionCacheMode::CLIENT),
    ] {
        // Tickets only: an input finds nothing that another one left in a cache.
        context.set_session_cache_mode(mode | SslSessionCacheMode::NO_INTERNAL);
        context.set_new_session_callback(|ssl, session| {
            keep_session(ssl, session);
            call_back(ssl);
        });
        context.set_keylog_callback(|ssl, _| {
            call_back(ssl);
        });
        set_message_callback(context);
    }
    Contexts {
        client: client.build(),
        server: server.build(),
        id: Ssl::new_ex_index().unwrap(),
    }
}

type MessageCallback = unsafe extern "C" fn(
    write: c_int,
    version: c_int,
    content_type: c_int,
    buffer: *const c_void,
    len: size_t,
    ssl: *mut openssl_sys::SSL,
    arg: *mut c_void,
);

extern "C" {
    fn SSL_CTX_set_msg_callback(ctx: *mut openssl_sys::SSL_CTX, callback: Option<MessageCallback>);
}

/// Called for each record and message, read or written: where a device pauses that does the
/// cryptography of records.
fn set_message_callback(context: &mut SslContextBuilder) {
    // SAFETY: a live context, and a function as OpenSSL declares it.
    unsafe { SSL_CTX_set_msg_callback(context.as_ptr(), Some(on_message)) };
}

unsafe extern "C" fn on_message(
    _: c_int,
    _: c_int,
    _: c_int,
    _: *const c_void,
    _: size_t,
    ssl: *mut openssl_sys::SSL,
    _: *mut c_void,
) {
    // SAFETY: the connection whose record it is, in a call of libssl.
    let ssl: &SslRef = unsafe { SslRef::from_ptr(ssl) };
    call_back(ssl);
}
