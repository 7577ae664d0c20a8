//! A server whose operations run as jobs pauses in the provider, in what it is told to.

use openssl::ssl::SslVersion;
use testing::pausing::turn;
use testing::provider::{self, Counters, Notify, Settings};
use testing::tls::{self, End, KeyType};

fn converse(version: SslVersion, key: KeyType, groups: &str) -> (u64, Counters) {
    let identity = tls::certificate(key, &["server.test"]);
    let mut server = tls::server_context(version, &[&identity]);
    server.set_groups_list(groups).expect("known groups");
    let client = tls::client_context(version, &[&identity.certificate]);

    let before = provider::counters();
    let (near, far) = tls::pair();
    let mut client = End::client(&client.build(), near);
    let mut server = End::async_server(&server.build(), far);
    tls::converse(&mut client, &mut server);
    assert_eq!(client.pauses(), 0, "the client runs no jobs");

    let during = provider::counters().since(&before);
    assert_eq!(during.completed, during.paused());
    assert_eq!(during.spurious, 0, "{:?}", during);
    println!(
        "{version:?} {key:?} {groups}: {} pauses, {during:?}",
        server.pauses()
    );
    (server.pauses(), during)
}

/// Those the provider pauses in. OpenSSL 3.5 added a hybrid, TLS 1.3's first choice since.
fn key_exchanges(version: SslVersion) -> Vec<&'static str> {
    let mut groups = vec!["X25519", "P-256"];
    let hybrid = "X25519MLKEM768";
    let known = tls::server_context(version, &[]).set_groups_list(hybrid);
    if version != SslVersion::TLS1_2 && known.is_ok() {
        groups.push(hybrid);
    }
    groups
}

#[test]
fn a_server_pauses_in_the_provider() {
    let _turn = turn();
    for version in tls::VERSIONS {
        for key in [KeyType::Rsa, KeyType::Ecdsa] {
            provider::set(Settings {
                kinds: provider::SIGNATURES,
                ..Settings::default()
            });
            let (pauses, seen) = converse(*version, key, "X25519:P-256");
            assert_eq!((pauses, seen.paused(), seen.signatures), (1, 1, 1));

            for groups in key_exchanges(*version) {
                provider::set(Settings {
                    kinds: provider::KEY_EXCHANGES,
                    ..Settings::default()
                });
                let (pauses, seen) = converse(*version, key, groups);
                assert_eq!((pauses, seen.paused(), seen.key_exchanges), (1, 1, 1));
            }
        }
        for complete_first in [false, true] {
            for notify in [Notify::CallbackElseFd, Notify::Both, Notify::Fd] {
                provider::set(Settings {
                    notify,
                    complete_first,
                    set_status: true,
                    ..Settings::default()
                });
                let (pauses, seen) = converse(*version, KeyType::Ecdsa, "P-256");
                assert_eq!(pauses, seen.paused());
                assert_eq!((seen.signatures, seen.key_exchanges), (1, 1));
                assert!(
                    seen.ciphers >= 128,
                    "a mebibyte each way is 64 records at least"
                );
            }
        }
    }
}
