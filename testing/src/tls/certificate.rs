//! Self-signed certificates.

use std::sync::OnceLock;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509NameBuilder, X509};

/// The kind of a certificate's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// RSA of 2048 bits.
    Rsa,
    /// ECDSA on P-256.
    Ecdsa,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: X509,
    /// The key.
    pub key: PKey<Private>,
}

/// A self-signed certificate for these DNS names. The key is made once per process: load an
/// engine or a provider before.
pub fn certificate(key_type: KeyType, names: &[&str]) -> Identity {
    let key = key(key_type);
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_nid(Nid::COMMONNAME, names[0])
        .expect("a common name");
    let name = name.build();
    let mut serial = BigNum::new().expect("a number");
    serial
        .rand(127, MsbOption::MAYBE_ZERO, false)
        .expect("random");
    let serial = serial.to_asn1_integer().expect("an integer");

    let mut builder = X509Builder::new().expect("a certificate");
    let mut fill = || {
        builder.set_version(2)?;
        builder.set_serial_number(&serial)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(2)?)?;
        builder.set_pubkey(key)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            alternatives.dns(name);
        }
        let alternatives = alternatives.build(&builder.x509v3_context(None, None))?;
        builder.append_extension(alternatives)?;
        builder.sign(key, MessageDigest::sha256())
    };
    fill().expect("a self-signed certificate");
    Identity {
        certificate: builder.build(),
        key: key.clone(),
    }
}

fn key(key_type: KeyType) -> &'static PKey<Private> {
    static RSA: OnceLock<PKey<Private>> = OnceLock::new();
    static ECDSA: OnceLock<PKey<Private>> = OnceLock::new();
    match key_type {
        KeyType::Rsa => RSA.get_or_init(|| {
            let rsa = Rsa::generate(2048).expect("an RSA key");
            PKey::from_rsa(rsa).expect("a key")
        }),
        KeyType::Ecdsa => ECDSA.get_or_init(|| {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
            let key = EcKey::generate(&group).expect("an EC key");
            PKey::from_ec_key(key).expect("a key")
        }),
    }
}
