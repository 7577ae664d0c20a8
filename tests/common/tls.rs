//! A server with `SSL_MODE_ASYNC` whose servername callback is the test's, and an ordinary client,
//! both non-blocking and on one thread.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    Error, Ssl, SslAcceptor, SslConnector, SslContext, SslMethod, SslRef, SslStream, SslVerifyMode,
};
use openssl::x509::{X509NameBuilder, X509};
use openssl_async_jobs::{ErrorCodeExt, SslAsyncExt, SslContextBuilderAsyncExt};

/// One certificate for all: most tests are not about who is who.
pub fn identity() -> &'static (X509, PKey<Private>) {
    static IDENTITY: OnceLock<(X509, PKey<Private>)> = OnceLock::new();
    IDENTITY.get_or_init(new_identity)
}

/// Another certificate, and its key.
pub fn new_identity() -> (X509, PKey<Private>) {
    certify("test", |own| own.clone())
}

/// One that is not self-signed.
pub fn issued_identity() -> (X509, PKey<Private>) {
    certify("issuer", |_| identity().1.clone())
}

fn certify(
    issuer: &str,
    signer: impl FnOnce(&PKey<Private>) -> PKey<Private>,
) -> (X509, PKey<Private>) {
    let name = |name: &str| {
        let mut builder = X509NameBuilder::new().unwrap();
        builder.append_entry_by_text("CN", name).unwrap();
        builder.build()
    };
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut cert = X509::builder().unwrap();
    cert.set_version(2).unwrap();
    cert.set_subject_name(&name("test")).unwrap();
    cert.set_issuer_name(&name(issuer)).unwrap();
    cert.set_pubkey(&key).unwrap();
    cert.set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    cert.set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    cert.sign(&signer(&key), MessageDigest::sha256()).unwrap();
    (cert.build(), key)
}

/// A server context whose connections run as jobs, with this servername callback.
///
/// The callers keep the contract of `set_async_mode`: they drive each connection on one thread to
/// the end of what is paused.
pub fn async_server_context<F>(servername: F) -> SslContext
where
    F: Fn(&mut SslRef) + Send + Sync + 'static,
{
    let (cert, key) = identity();
    let mut ctx = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    ctx.set_certificate(cert).unwrap();
    ctx.set_private_key(key).unwrap();
    ctx.set_servername_callback(move |ssl, _| {
        servername(ssl);
        Ok(())
    });
    // SAFETY: see above.
    unsafe { ctx.set_async_mode(true) };
    ctx.build().into_context()
}

pub struct Pair {
    pub client: SslStream<UnixStream>,
    pub server: SslStream<UnixStream>,
}

/// What the server's last call said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Paused,
    NoJob,
    Done,
}

impl Pair {
    pub fn new(server: &SslContext) -> Pair {
        Pair::from_ssl(Ssl::new(server).unwrap())
    }

    pub fn from_ssl(server: Ssl) -> Pair {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        let client = connector
            .build()
            .configure()
            .unwrap()
            .verify_hostname(false)
            .into_ssl("name.example")
            .unwrap();
        Pair {
            client: SslStream::new(client, a).unwrap(),
            server: SslStream::new(server, b).unwrap(),
        }
    }

    /// Goes on with the handshake until the server pauses, finds no job, or both are done.
    pub fn handshake(&mut self) -> Step {
        loop {
            let client = progress(self.client.connect());
            let server = match self.server.accept() {
                Err(e) if e.code().is_want_async() => return Step::Paused,
                Err(e) if e.code().is_want_async_job() => return Step::NoJob,
                other => progress(other),
            };
            if client && server {
                return Step::Done;
            }
        }
    }

    /// The rest of the handshake, resuming whatever pauses; then a message each way.
    pub fn finish(&mut self) {
        while self.handshake() != Step::Done {}
        assert!(!self.server.ssl().waiting_for_async());
        self.client.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        self.server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        self.server.write_all(b"pong").unwrap();
        loop {
            // TLS 1.3 tickets may come first.
            match self.client.read(&mut got) {
                Ok(4) => break,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(&got, b"pong");
    }
}

/// Whether it is done; a failure is the test's.
fn progress(result: Result<(), Error>) -> bool {
    match result {
        Ok(()) => true,
        Err(e)
            if e.io_error()
                .is_none_or(|e| e.kind() == ErrorKind::WouldBlock) =>
        {
            assert!(e.ssl_error().is_none(), "{e}");
            false
        }
        Err(e) => panic!("{e}"),
    }
}
