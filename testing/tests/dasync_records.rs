//! OpenSSL's own test engine pauses reads and writes: TLS 1.2 records with an HMAC of SHA-1.
#![cfg(engines)]

use openssl::ssl::SslVersion;
use testing::tls::{self, End, KeyType};
use testing::{load_dasync, Method};

#[test]
fn reads_and_writes_pause_in_the_engine() {
    load_dasync(&[Method::Digests]);
    let identity = tls::certificate(KeyType::Rsa, &["server.test"]);
    let server = tls::server_context(SslVersion::TLS1_2, &[&identity]);
    let mut client = tls::client_context(SslVersion::TLS1_2, &[&identity.certificate]);
    client
        .set_cipher_list("ECDHE-RSA-AES128-SHA")
        .expect("known");

    let (near, far) = tls::pair();
    let mut client = End::client(&client.build(), near);
    let mut server = End::async_server(&server.build(), far);
    tls::converse(&mut client, &mut server);

    println!("dasync: {} pauses, records", server.pauses());
    assert!(
        server.pauses() > 128,
        "a mebibyte each way is 64 records at least"
    );
    assert_eq!(client.pauses(), 0);
}
