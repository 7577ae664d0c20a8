//! The server's certificates, self-signed: the same for all peers of a process.

use std::sync::OnceLock;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Builder, X509NameBuilder, X509};

pub const NAME: &str = "bench.example";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Rsa2048,
    Rsa4096,
    EcdsaP256,
}

impl Key {
    pub fn name(self) -> &'static str {
        match self {
            Key::Rsa2048 => "RSA-2048",
            Key::Rsa4096 => "RSA-4096",
            Key::EcdsaP256 => "ECDSA P-256",
        }
    }
}

pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// Made once in a process.
pub fn identity(key: Key) -> &'static Identity {
    static RSA_2048: OnceLock<Identity> = OnceLock::new();
    static RSA_4096: OnceLock<Identity> = OnceLock::new();
    static ECDSA: OnceLock<Identity> = OnceLock::new();
    let made = match key {
        Key::Rsa2048 => &RSA_2048,
        Key::Rsa4096 => &RSA_4096,
        Key::EcdsaP256 => &ECDSA,
    };
    made.get_or_init(|| make(key).expect("a self-signed certificate"))
}

fn make(key: Key) -> Result<Identity, ErrorStack> {
    let key = match key {
        Key::Rsa2048 => PKey::from_rsa(Rsa::generate(2048)?)?,
        Key::Rsa4096 => PKey::from_rsa(Rsa::generate(4096)?)?,
        Key::EcdsaP256 => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
            PKey::from_ec_key(EcKey::generate(&group)?)?
        }
    };
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, NAME)?;
    let name = name.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(1)?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    builder.set_pubkey(&key)?;
    let mut names = SubjectAlternativeName::new();
    names.dns(NAME);
    let names = names.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok(Identity {
        certificate: builder.build(),
        key,
    })
}
