//! Alerts and errors come out of `SslStream` as rust-openssl's own stream reports them, and reach
//! the peer as they do from it: the same conversation with both.

use std::io::{ErrorKind, Read};

use crate::common::both::Both;
use crate::common::compare::{assert_same, Contexts, Conversation, Log, Talk, POLICIES};
use crate::common::memory::{client_context, server_context};
use crate::common::script::{Act, Call, Scripted};
use openssl::ssl::{AlpnError, SslContextBuilder, SslVerifyMode, SslVersion};
use openssl_async_jobs::{AsyncPolicy, SslStream};

/// Handshake and messages, with somebody in between.
struct Chat<F> {
    contexts: Contexts,
    between: F,
}

impl<F: Fn(usize, &mut Scripted, &mut Scripted)> Conversation for Chat<F> {
    type Answer = Log;

    fn hold<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> Log {
        let mut talk: Talk<T> = Talk::new(&self.contexts, accepts, policy);
        talk.handshake(|round, end, peer| {
            (self.between)(round, end.transport(), peer.transport());
        });
        talk.chat();
        talk.log
    }
}

fn nobody(_: usize, _: &mut Scripted, _: &mut Scripted) {}

/// Whether it is told the same, under each version of the protocol.
#[track_caller]
fn same(
    what: &str,
    client: impl Fn(&mut SslContextBuilder),
    server: impl Fn(&mut SslContextBuilder),
    between: impl Fn(usize, &mut Scripted, &mut Scripted) + Copy,
) {
    for newest in [Some(SslVersion::TLS1_2), None] {
        let contexts = Contexts {
            client: client_context(|ctx| {
                ctx.set_max_proto_version(newest).unwrap();
                client(ctx);
            }),
            server: server_context(&server),
        };
        let what = format!("{what}, at most {newest:?}");
        assert_same(&what, &Chat { contexts, between });
    }
}

#[test]
fn a_conversation_without_errors_is_the_same() {
    same("nothing", |_| (), |_| (), nobody);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_the_same_alert() {
    same(
        "unknown CA",
        |ctx| ctx.set_verify(SslVerifyMode::PEER),
        |_| (),
        nobody,
    );
}

#[test]
fn a_certificate_that_a_callback_refuses_is_refused_with_the_same_alert() {
    same(
        "bad certificate",
        |ctx| ctx.set_verify_callback(SslVerifyMode::PEER, |_, _| false),
        |_| (),
        nobody,
    );
}

#[test]
fn a_client_without_the_certificate_that_is_asked_for_is_refused_with_the_same_alert() {
    same(
        "no client certificate",
        |_| (),
        |ctx| ctx.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT),
        nobody,
    );
}

#[test]
fn no_cipher_in_common_is_the_same_failure() {
    let tls12 = |ctx: &mut SslContextBuilder, ciphers| {
        ctx.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        ctx.set_cipher_list(ciphers).unwrap();
    };
    same(
        "no shared cipher",
        |ctx| tls12(ctx, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        |ctx| tls12(ctx, "ECDHE-RSA-AES128-GCM-SHA256"),
        nobody,
    );
}

#[test]
fn no_version_in_common_is_the_same_failure() {
    for (client, server) in [
        (SslVersion::TLS1_1, SslVersion::TLS1_2),
        (SslVersion::TLS1_2, SslVersion::TLS1_1),
    ] {
        let contexts = Contexts {
            client: client_context(|ctx| {
                ctx.set_min_proto_version(Some(client)).unwrap();
                ctx.set_max_proto_version(Some(client)).unwrap();
            }),
            server: server_context(|ctx| {
                ctx.set_min_proto_version(Some(server)).unwrap();
                ctx.set_max_proto_version(Some(server)).unwrap();
            }),
        };
        let between = nobody;
        assert_same("protocol version", &Chat { contexts, between });
    }
}

#[test]
fn no_application_protocol_in_common_is_the_same_failure() {
    same(
        "ALPN",
        |ctx| ctx.set_alpn_protos(b"\x02h2").unwrap(),
        |ctx| ctx.set_alpn_select_callback(|_, _| Err(AlpnError::ALERT_FATAL)),
        nobody,
    );
}

/// Each bit of the peer's messages in turn, but for those that change what kind of record it is or
/// its length: those make a wait of an error.
#[test]
fn a_flipped_bit_in_any_flight_of_the_handshake_is_the_same_failure() {
    for flight in 0..3 {
        for at in [5, 9, 43, 120, 200] {
            same(
                &format!("bit of byte {at} in flight {flight}"),
                |_| (),
                |_| (),
                move |round, end, _| {
                    if round == flight {
                        end.tamper(|bytes| {
                            if let Some(byte) = bytes.get_mut(at) {
                                *byte ^= 1;
                            }
                        });
                    }
                },
            );
        }
    }
}

#[test]
fn plaintext_garbage_in_place_of_a_flight_is_the_same_failure() {
    let pieces: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        &[0; 40],
        &[0xff; 40],
        &[22, 3, 1, 0xff, 0xff, 1, 0, 0],
        &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
    ];
    for flight in 0..3 {
        for garbage in pieces {
            same(
                &format!("{garbage:?} before flight {flight}"),
                |_| (),
                |_| (),
                move |round, end, _| {
                    if round == flight {
                        end.tamper(|bytes| {
                            let rest = std::mem::take(bytes);
                            bytes.extend(garbage);
                            bytes.extend(rest);
                        });
                    }
                },
            );
        }
    }
}

#[test]
fn each_alert_that_a_peer_can_send_is_told_the_same() {
    const FATAL: [u8; 24] = [
        10, 20, 21, 22, 30, 40, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 70, 71, 80, 86, 90, 109,
        112, 120,
    ];
    let alerts = FATAL.into_iter().map(|alert| (2, alert));
    for (level, alert) in alerts.chain([(1, 0), (1, 90), (1, 112), (2, 0), (7, 7)]) {
        same(
            &format!("alert {level} {alert}"),
            |_| (),
            |_| (),
            move |round, end, _| {
                if round == 0 {
                    end.tamper(|bytes| {
                        let rest = std::mem::take(bytes);
                        bytes.extend([21, 3, 3, 0, 2, level, alert]);
                        bytes.extend(rest);
                    });
                }
            },
        );
    }
}

/// After the handshake, with a peer that goes on.
struct Data<F>(Contexts, F);

impl<F: Fn(&mut Scripted)> Conversation for Data<F> {
    type Answer = Log;

    fn hold<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> Log {
        let mut talk: Talk<T> = Talk::new(&self.0, accepts, policy);
        assert!(talk.handshake(|_, _, _| ()), "{:?}", talk.log);
        // What a handshake leaves behind (tickets) comes first.
        talk.end("nothing to read", |end| end.reads(&mut [0]));
        talk.peer("the peer's write", |peer| peer.writes(b"well"));
        (self.1)(talk.end.transport());
        talk.chat();
        talk.log
    }
}

#[track_caller]
fn same_data(what: &str, tamper: impl Fn(&mut Scripted) + Copy) {
    for newest in [Some(SslVersion::TLS1_2), None] {
        let contexts = Contexts {
            client: client_context(|ctx| ctx.set_max_proto_version(newest).unwrap()),
            server: server_context(|_| ()),
        };
        let what = format!("{what}, at most {newest:?}");
        assert_same(&what, &Data(contexts, tamper));
    }
}

#[test]
fn a_flipped_bit_of_a_record_is_the_same_failure() {
    // Its type, its version, its length, its contents, its tag.
    for at in [0, 1, 3, 5, 9, 20] {
        same_data(&format!("byte {at}"), |transport| {
            transport.tamper(|bytes| bytes[at] ^= 1);
        });
    }
}

#[test]
fn plaintext_among_records_is_the_same_failure() {
    same_data("an alert", |transport| {
        transport.tamper(|bytes| bytes.extend([21, 3, 3, 0, 2, 1, 0]));
    });
    same_data("text", |transport| {
        transport.tamper(|bytes| bytes.extend(b"GET / HTTP/1.1\r\n\r\n"));
    });
}

/// An error of the transport at each of its calls, of each kind.
struct Failing(Contexts, Call, usize, ErrorKind);

impl Conversation for Failing {
    type Answer = Log;

    fn hold<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> Log {
        let mut talk: Talk<T> = Talk::new(&self.0, accepts, policy);
        let Failing(_, call, from, kind) = *self;
        if from > 0 {
            assert!(talk.handshake(|_, _, _| ()), "{:?}", talk.log);
            let _ = talk.end.reads(&mut [0]);
        }
        talk.end.transport().set_script(move |it| match it == call {
            true => Act::Fail(kind),
            false => Act::All,
        });
        if from == 0 {
            talk.handshake(|_, _, _| ());
        }
        talk.chat();
        talk.log
    }
}

const KINDS: [ErrorKind; 6] = [
    ErrorKind::ConnectionReset,
    ErrorKind::BrokenPipe,
    ErrorKind::NotConnected,
    ErrorKind::TimedOut,
    ErrorKind::UnexpectedEof,
    ErrorKind::Other,
];

#[track_caller]
fn same_when_it_fails(call: Call, from: usize) {
    for kind in KINDS {
        let contexts = Contexts {
            client: client_context(|_| ()),
            server: server_context(|_| ()),
        };
        let what = format!("{kind:?} of each {call:?}");
        assert_same(&what, &Failing(contexts, call, from, kind));
    }
}

#[test]
fn an_error_of_the_transports_reads_in_the_handshake_is_told_the_same() {
    same_when_it_fails(Call::Read, 0);
}

#[test]
fn an_error_of_the_transports_writes_in_the_handshake_is_told_the_same() {
    same_when_it_fails(Call::Write, 0);
}

#[test]
fn an_error_of_the_transports_reads_is_told_the_same() {
    same_when_it_fails(Call::Read, 1);
}

/// Who reads from a stream whose handshake has failed comes to its end, or an error; nobody waits
/// for a peer that has said why it went.
struct ReadAfterFailure<'a>(Contexts, &'a [u8]);

impl Conversation for ReadAfterFailure<'_> {
    type Answer = Log;

    fn hold<T: Both<Scripted>>(&self, accepts: bool, policy: AsyncPolicy) -> Log {
        let mut talk: Talk<T> = Talk::new(&self.0, accepts, policy);
        talk.handshake(|round, end, _| {
            if round == 0 {
                end.transport()
                    .tamper(|bytes| *bytes = self.1.to_vec().into());
            }
        });
        let told = talk.end.reads(&mut [0]);
        talk.note("read", told);
        talk.log
    }
}

#[test]
fn a_read_after_a_failed_handshake_is_told_the_same() {
    for alert in [[2, 40], [2, 48], [1, 0]] {
        let contexts = Contexts {
            client: client_context(|_| ()),
            server: server_context(|_| ()),
        };
        let record = [&[21, 3, 3, 0, 2], &alert[..]].concat();
        let what = format!("alert {alert:?}");
        assert_same(&what, &ReadAfterFailure(contexts, &record));
    }
}

/// A peer that closes early and says why, as a server does that wants no more of an upload.
#[test]
fn what_the_peer_said_before_it_closed_is_read_although_writes_fail() {
    let contexts = Contexts {
        client: client_context(|_| ()),
        server: server_context(|_| ()),
    };
    for policy in POLICIES {
        for accepts in [true, false] {
            let mut talk: Talk<SslStream<Scripted>> = Talk::new(&contexts, accepts, policy);
            assert!(talk.handshake(|_, _, _| ()), "{:?}", talk.log);
            let _ = talk.peer.writes(b"enough");
            let _ = talk.peer.closes();
            talk.end.transport().set_script(|call| match call {
                Call::Write => Act::Fail(ErrorKind::BrokenPipe),
                _ => Act::All,
            });
            let _ = talk.end.writes(b"more");
            let mut got = Vec::new();
            let end = talk.end.read_to_end(&mut got);
            assert_eq!(got, b"enough", "{policy:?}, accepts: {accepts}: {end:?}");
            assert!(end.is_ok(), "{end:?}");
        }
    }
}
