//! How fast the two crypto libraries are by themselves: what explains a difference to tokio-rustls.

use std::fmt;
use std::hint::black_box;
use std::io;

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey, AES_256_GCM};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    EcdsaKeyPair, RsaKeyPair, ECDSA_P256_SHA256_ASN1_SIGNING, RSA_PSS_SHA256,
};
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::hash::MessageDigest;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer};

use crate::cpu;
use crate::identity::{identity, Key};
use crate::measure;
use crate::settings::Settings;
use crate::table::Table;

#[derive(Clone, Copy)]
enum Library {
    Openssl,
    AwsLc,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Library::Openssl => "OpenSSL",
            Library::AwsLc => "aws-lc",
        })
    }
}

const RECORD: usize = 16 * 1024;

pub fn run(settings: &Settings) -> io::Result<Vec<Table>> {
    cpu::pin(Some(0));
    let times = settings.many(5000, 10);
    let table = |title: &str, times: usize, one: fn(Library) -> Box<dyn FnMut()>| {
        let libraries = [Library::Openssl, Library::AwsLc];
        let [time] = measure::rounds(settings.rounds, &libraries, |library| {
            [cpu::of_one(times, one(library)) * 1e6]
        });
        Table::new(title, "us", time).base(Library::Openssl)
    };
    Ok(vec![
        table(
            "The crypto libraries: AES-256-GCM, sealing 16 KiB",
            times,
            seal,
        ),
        table(
            "The crypto libraries: AES-256-GCM, sealing 1 KiB",
            times,
            seal_little,
        ),
        table(
            "The crypto libraries: signing with RSA-2048",
            times / 10,
            |library| sign(library, Key::Rsa2048),
        ),
        table(
            "The crypto libraries: signing with ECDSA P-256",
            times / 5,
            |library| sign(library, Key::EcdsaP256),
        ),
    ])
}

fn seal(library: Library) -> Box<dyn FnMut()> {
    seal_bytes(library, RECORD)
}

fn seal_little(library: Library) -> Box<dyn FnMut()> {
    seal_bytes(library, 1024)
}

fn seal_bytes(library: Library, len: usize) -> Box<dyn FnMut()> {
    let (key, nonce, header) = ([1; 32], [2; 12], [3; 5]);
    let mut record = vec![0; len];
    match library {
        Library::Openssl => {
            let mut context = CipherCtx::new().expect("a context");
            let init = context.encrypt_init(Some(Cipher::aes_256_gcm()), Some(&key), None);
            init.expect("AES-256-GCM");
            let mut sealed = vec![0; len + 16];
            Box::new(move || {
                let mut seal = || {
                    context.encrypt_init(None, None, Some(&nonce))?;
                    context.cipher_update(&header, None)?;
                    context.cipher_update(&record, Some(&mut sealed))?;
                    context.cipher_final(&mut [])?;
                    context.tag(&mut sealed[len..])
                };
                seal().expect("a sealed record");
                black_box(&sealed);
            })
        }
        Library::AwsLc => {
            let key = UnboundKey::new(&AES_256_GCM, &key).expect("a key");
            let key = LessSafeKey::new(key);
            Box::new(move || {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(header), &mut record);
                let _ = black_box(tag.expect("a sealed record"));
            })
        }
    }
}

fn sign(library: Library, key: Key) -> Box<dyn FnMut()> {
    let pkey = &identity(key).key;
    let message = [5; 130];
    if let Library::Openssl = library {
        return Box::new(move || {
            let sign = || {
                let mut signer = Signer::new(MessageDigest::sha256(), pkey)?;
                if key == Key::Rsa2048 {
                    signer.set_rsa_padding(Padding::PKCS1_PSS)?;
                    signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                }
                signer.sign_oneshot_to_vec(&message)
            };
            black_box(sign().expect("a signature"));
        });
    }
    let (der, random) = (
        pkey.private_key_to_pkcs8().expect("DER"),
        SystemRandom::new(),
    );
    match key {
        Key::EcdsaP256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der);
            let pair = pair.expect("a key");
            Box::new(move || {
                black_box(pair.sign(&random, &message).expect("a signature"));
            })
        }
        _ => {
            let pair = RsaKeyPair::from_pkcs8(&der).expect("a key");
            let mut signature = vec![0; pair.public_modulus_len()];
            Box::new(move || {
                let signed = pair.sign(&RSA_PSS_SHA256, &random, &message, &mut signature);
                signed.expect("a signature");
            })
        }
    }
}
