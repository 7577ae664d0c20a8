//! The files that lookups read: a certificate and key for each server name, and their authority.

use std::error::Error;
use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Name, X509Ref, X509};

use crate::Result;

/// As many names as are worth making certificates for; more connections share them.
pub const NAMES: usize = 4;

/// The server names of so many connections.
pub fn host_names(connections: usize) -> impl Iterator<Item = String> {
    (0..connections.min(NAMES)).map(|n| format!("host-{n}.example"))
}

/// The name of the authority's certificate among them.
pub const AUTHORITY: &str = "authority";

/// The file of a name.
pub fn path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pem"))
}

/// A new key.
pub fn rsa_key() -> Result<PKey<Private>> {
    Ok(PKey::from_rsa(Rsa::generate(2048)?)?)
}

pub fn ec_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

/// Makes the files.
pub fn make(dir: &Path, names: &[String], key: impl Fn() -> Result<PKey<Private>>) -> Result<()> {
    let ca_key = ec_key()?;
    let ca = certificate("an authority for this run only", &ca_key, None)?;
    fs::write(path(dir, AUTHORITY), ca.to_pem()?)?;
    for name in names {
        let key = key()?;
        let cert = certificate(name, &key, Some((&ca, &ca_key)))?;
        let mut pem = cert.to_pem()?;
        pem.extend(key.private_key_to_pem_pkcs8()?);
        fs::write(path(dir, name), pem)?;
    }
    Ok(())
}

/// A directory of `NAME.pem` files, removed with this value.
pub struct Store {
    dir: PathBuf,
    names: Vec<String>,
}

impl Store {
    pub fn create(names: impl IntoIterator<Item = String>) -> Result<Store> {
        let dir = std::env::temp_dir().join(format!("openssl-async-jobs-{}", std::process::id()));
        // There are keys in it.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        // From here on it is removed whatever happens.
        let mut store = Store {
            dir,
            names: Vec::new(),
        };
        store.names.extend(names);
        // The same for all, as it takes a while to make one.
        let key = rsa_key()?;
        make(&store.dir, &store.names, || Ok(key.clone()))?;
        Ok(store)
    }

    /// The server name that the client of this connection asks for.
    pub fn name(&self, connection: usize) -> &str {
        &self.names[connection % self.names.len()]
    }

    pub fn authority_path(&self) -> PathBuf {
        path(&self.dir, AUTHORITY)
    }

    pub fn authority(&self) -> Result<X509> {
        Ok(X509::from_pem(&read(&self.authority_path())?)?)
    }

    /// The certificate and key of a name, as a lookup finds them. The name is a client's: no path
    /// is made of one that is not known.
    pub fn read(&self, name: &str) -> Result<(X509, PKey<Private>)> {
        if !self.names.iter().any(|known| known == name) {
            return Err(UnknownName(name.to_owned()).into());
        }
        let pem = read(&path(&self.dir, name))?;
        Ok((X509::from_pem(&pem)?, PKey::private_key_from_pem(&pem)?))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.dir) {
            eprintln!("{} stays: {e}", self.dir.display());
        }
    }
}

/// That there is no certificate for it.
#[derive(Debug)]
pub struct UnknownName(pub String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no certificate for {:?}", self.0)
    }
}

impl Error for UnknownName {}

fn read(path: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?)
}

fn certificate(
    name: &str,
    key: &PKeyRef<Private>,
    issuer: Option<(&X509Ref, &PKeyRef<Private>)>,
) -> Result<X509> {
    let mut subject = X509Name::builder()?;
    subject.append_entry_by_text("CN", name)?;
    let subject = subject.build();

    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    let (from, to) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(1)?);

    let mut cert = X509Builder::new()?;
    cert.set_version(2)?;
    cert.set_serial_number(&serial)?;
    cert.set_subject_name(&subject)?;
    cert.set_issuer_name(issuer.map_or(&subject, |(issuer, _)| issuer.subject_name()))?;
    cert.set_not_before(&from)?;
    cert.set_not_after(&to)?;
    cert.set_pubkey(key)?;
    match issuer {
        None => cert.append_extension(BasicConstraints::new().critical().ca().build()?)?,
        Some((issuer, _)) => {
            let names = SubjectAlternativeName::new()
                .dns(name)
                .build(&cert.x509v3_context(Some(issuer), None))?;
            cert.append_extension(names)?;
        }
    }
    cert.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256())?;
    Ok(cert.build())
}
