//! `openssl s_server` with a client of ours, after the handshake: large transfers, key updates,
//! renegotiation, and closing (H2).

use openssl::ssl::{ShutdownResult, SslVersion};
use openssl_async_jobs::AsyncPolicy;
use testing::peer::{
    chat, chat_again, client_context, connect, random_bytes, s_server, sha256, Asked, Files, Ours,
    Peer, Way, NAME, WAYS,
};
use testing::tls::{certificate, KeyType, VERSIONS};

/// A connection with its handshake done.
fn connection(version: SslVersion, asked: &Asked, way: Way, more: &[&str]) -> (Ours, Peer) {
    let (files, identity) = (Files::new(), certificate(KeyType::Ecdsa, &[NAME]));
    files.identity("server", &identity);
    let context = client_context(version, &[&identity.certificate], asked).build();
    let (peer, port) = s_server(&files, version, more);
    let mut ours = connect(&context, port, NAME, way);
    ours.connect().unwrap();
    (ours, peer)
}

/// Bytes that are no command and no text of the program's.
fn is_data(byte: u8) -> bool {
    byte >= 0x80
}

fn data(len: usize) -> Vec<u8> {
    let mut bytes = random_bytes(len);
    bytes.iter_mut().for_each(|byte| *byte |= 0x80);
    bytes
}

#[test]
fn mebibytes_go_both_ways_unharmed() {
    for &version in VERSIONS {
        for way in WAYS {
            let (mut ours, mut peer) = connection(version, &Asked::default(), way, &[]);
            let (theirs, answer) = (data(4 << 20), data((4 << 20) + 1));
            peer.feed(theirs.clone());
            let read = ours.exchange(&answer, theirs.len()).unwrap();
            assert_eq!(sha256(&read), sha256(&theirs), "{way:?}");
            let told = peer.wait_for_bytes(answer.len(), is_data);
            assert_eq!(sha256(&told), sha256(&answer), "{way:?}");
        }
    }
}

#[cfg(ossl111)]
#[test]
fn the_peer_updates_its_key_and_has_ours_updated() {
    for way in WAYS {
        let version = SslVersion::TLS1_3;
        let (mut ours, mut peer) = connection(version, &Asked::default(), way, &["-msg"]);
        chat(&mut ours, &mut peer);
        // Without an answer, and with one.
        for (time, command) in ["k\n", "K\n"].into_iter().enumerate() {
            peer.write(command.as_bytes());
            peer.wait_for_nth(">>> TLS 1.3, Handshake [length 0005], KeyUpdate", time + 1);
            chat_again(&mut ours, &mut peer, time + 2);
        }
        peer.wait_for("<<< TLS 1.3, Handshake [length 0005], KeyUpdate");
    }
}

#[test]
fn the_peer_asks_to_renegotiate_while_lines_go_both_ways() {
    for way in WAYS {
        let asked = Asked::default();
        let more = ["-msg", "-no_resumption_on_reneg"];
        let (mut ours, mut peer) = connection(SslVersion::TLS1_2, &asked, way, &more);
        let (before, inline) = asked.times();
        assert!(before > 0 && inline == 0);
        chat(&mut ours, &mut peer);
        peer.write(b"r\n");
        peer.wait_for("HelloRequest");
        // It is read with what comes next.
        peer.write(b"from the peer again\n");
        assert_eq!(ours.read_until(b"\n").unwrap(), b"from the peer again\n");
        // What reading has brought about does not wait for the next operation.
        peer.wait_for_nth("ClientHello", 2);
        // A write that finds no way through before the handshake is done is not lost.
        ours.write_all(b"written meanwhile\n").unwrap();
        peer.wait_for("written meanwhile\n");
        peer.write(b"and after it\n");
        assert_eq!(ours.read_until(b"\n").unwrap(), b"and after it\n");
        peer.wait_for_nth("Handshake [length 0010], Finished", 4);
        chat_again(&mut ours, &mut peer, 2);
        // The callback comes again: in a job if what comes after the handshake runs as jobs.
        let times = match way.policy {
            AsyncPolicy::Always => (2 * before, 0),
            _ => (before, before),
        };
        assert_eq!(asked.times(), times, "{way:?}");
    }
}

#[test]
fn the_peer_answers_our_close_notify_with_its_own() {
    for &version in VERSIONS {
        for way in WAYS {
            let (mut ours, mut peer) = connection(version, &Asked::default(), way, &[]);
            chat(&mut ours, &mut peer);
            peer.write(b"before its end\n");
            assert_eq!(ours.close().unwrap(), ShutdownResult::Sent);
            // What came before its end is still to be read.
            let read = ours.read_to_end().unwrap();
            assert!(read == b"before its end\n" || read.is_empty(), "{read:?}");
            assert_eq!(ours.close().unwrap(), ShutdownResult::Received);
            peer.wait_for("DONE");
        }
    }
}
