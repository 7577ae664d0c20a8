//! The transport ends at any byte: in the handshake, among records, before and after close_notify.
//! `SslStream` tells a cut from an end as rust-openssl's own stream does.

use std::sync::OnceLock;

use crate::common::both::{Both, Told};
use crate::common::compare::{Contexts, Conversation, Log, Peer, Talk, POLICIES};
use crate::common::memory::client_context;
use crate::common::script::Scripted;
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use openssl_async_jobs::{AsyncPolicy, SslStream};

/// RSA, whose signatures are all of one length: so a byte of a flight is the same one each time.
fn rsa_identity() -> &'static (X509, PKey<Private>) {
    static IDENTITY: OnceLock<(X509, PKey<Private>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let mut cert = X509::builder().unwrap();
        cert.set_version(2).unwrap();
        cert.set_pubkey(&key).unwrap();
        cert.set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        cert.set_not_after(&Asn1Time::days_from_now(2).unwrap())
            .unwrap();
        cert.sign(&key, MessageDigest::sha256()).unwrap();
        (cert.build(), key)
    })
}

fn server() -> SslContext {
    let (cert, key) = rsa_identity();
    let mut ctx = SslContext::builder(SslMethod::tls_server()).unwrap();
    ctx.set_certificate(cert).unwrap();
    ctx.set_private_key(key).unwrap();
    // Tickets are not always of one length.
    without_tickets(&mut ctx);
    ctx.build()
}

fn without_tickets(ctx: &mut SslContextBuilder) {
    ctx.set_options(openssl::ssl::SslOptions::NO_TICKET);
    #[cfg(ossl111)]
    ctx.set_num_tickets(0).unwrap();
}

fn contexts(newest: Option<SslVersion>) -> Contexts {
    Contexts {
        client: client_context(|ctx| ctx.set_max_proto_version(newest).unwrap()),
        server: server(),
    }
}

/// The transport ends after so many bytes of the handshake, or of what comes after it.
struct Cut<'a> {
    contexts: &'a Contexts,
    in_handshake: bool,
    after: usize,
}

impl Cut<'_> {
    /// Also how many bytes there were until the cut.
    fn run<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> (Log, Vec<u8>, usize) {
        let mut talk: Talk<T> = Talk::new(self.contexts, accepts, policy);
        if self.in_handshake {
            talk.end.transport().end_after(self.after);
        }
        let open = talk.handshake(|_, _, _| ());
        let handshake = talk.end.transport().received;
        let mut got = Vec::new();
        if !self.in_handshake {
            assert!(open, "{:?}", talk.log);
            talk.end.transport().end_after(self.after);
            talk.peer.writes(&[b'a'; 20]);
            talk.peer.writes(&[b'b'; 30]);
            talk.peer.closes();
            read_all(&mut talk, &mut got);
        }
        let received = talk.end.transport().received;
        talk.chat();
        match self.in_handshake {
            true => (talk.log, got, handshake),
            false => (talk.log, got, received - handshake),
        }
    }
}

/// Records may come joined or not: what counts are the bytes, and how they end.
fn read_all<T: Both<Scripted>>(talk: &mut Talk<T>, got: &mut Vec<u8>) {
    let mut buffer = [0; 7];
    loop {
        match talk.end.reads(&mut buffer) {
            Told::Done(len) => got.extend_from_slice(&buffer[..len]),
            other => return talk.note("the end of reading", other),
        }
    }
}

impl Conversation for Cut<'_> {
    type Answer = (Log, Vec<u8>);

    fn hold<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> Self::Answer {
        let (log, got, _) = self.run::<T>(accepts, policy);
        (log, got)
    }
}

/// At each offset there is, `step` apart.
fn same_at_each_offset(in_handshake: bool, step: usize) {
    for newest in [Some(SslVersion::TLS1_2), None] {
        let contexts = &contexts(newest);
        for accepts in [true, false] {
            let cut = |after| Cut {
                contexts,
                in_handshake,
                after,
            };
            let whole = cut(1 << 20).run::<Peer>(accepts, AsyncPolicy::Never).2;
            assert!(whole > 50, "{whole}");
            for after in (0..=whole).step_by(step) {
                let cut = cut(after);
                let theirs = cut.hold::<Peer>(accepts, AsyncPolicy::Never);
                let policy = POLICIES[after % POLICIES.len()];
                let ours = cut.hold::<SslStream<Scripted>>(accepts, policy);
                assert_eq!(
                    ours, theirs,
                    "cut after {after} of {whole}, at most {newest:?}, {policy:?}, accepts: \
                     {accepts}: ours left, rust-openssl's right"
                );
            }
        }
    }
}

#[test]
fn a_cut_in_the_handshake_is_told_the_same() {
    same_at_each_offset(true, 4);
}

#[test]
fn a_cut_among_records_and_in_close_notify_is_told_the_same() {
    same_at_each_offset(false, 1);
}

#[test]
fn close_notify_is_an_end_and_a_cut_is_not() {
    let contexts = &contexts(None);
    for policy in POLICIES {
        let mut ends = [false, true].map(|closes| {
            let mut talk: Talk<SslStream<Scripted>> = Talk::new(contexts, true, policy);
            assert!(talk.handshake(|_, _, _| ()));
            if closes {
                talk.peer.closes();
            } else {
                talk.end.transport().end_after(0);
            }
            talk.end.reads(&mut [0])
        });
        let zero_return = openssl::ssl::ErrorCode::ZERO_RETURN.as_raw();
        assert_eq!(ends[1], Told::Tls(zero_return, Vec::new()), "{policy:?}");
        assert!(
            matches!(&mut ends[0], Told::Tls(code, _) if *code != zero_return),
            "{policy:?}: {ends:?}"
        );
    }
}
