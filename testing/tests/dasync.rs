//! OpenSSL's own test engine pauses a server whose operations run as jobs.
//!
//! The server asks for the client's certificate: on OpenSSL 3.x the engine pauses in nothing of
//! a handshake but the SHA-1 that fingerprints a certificate when it is parsed.
#![cfg(engines)]

use openssl::ssl::SslVerifyMode;
use testing::tls::{self, End, KeyType};
use testing::{load_dasync, Method};

#[test]
fn a_server_pauses_in_the_engine() {
    #[cfg(not(ossl300))]
    load_dasync(&[Method::Rsa]);
    #[cfg(ossl300)]
    load_dasync(&[Method::Digests]);

    let identity = tls::certificate(KeyType::Rsa, &["server.test"]);
    let visitor = tls::certificate(KeyType::Ecdsa, &["client.test"]);
    for version in tls::VERSIONS {
        let mut server = tls::server_context(*version, &[&identity]);
        tls::trust(&mut server, &[&visitor.certificate]);
        server.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        let mut client = tls::client_context(*version, &[&identity.certificate]);
        tls::use_identity(&mut client, &visitor);

        let (near, far) = tls::pair();
        let mut client = End::client(&client.build(), near);
        let mut server = End::async_server(&server.build(), far);
        tls::converse(&mut client, &mut server);

        println!("dasync: {} pauses, {version:?}", server.pauses());
        assert!(server.pauses() > 0, "{version:?}: the engine pauses");
        assert_eq!(client.pauses(), 0);
    }
}
