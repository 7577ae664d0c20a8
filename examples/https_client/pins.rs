//! The pin store: a file, which answers as late as a service beyond a network.

use std::path::PathBuf;
use std::time::Duration;

use openssl::base64::encode_block;
use openssl::sha::sha256;
use openssl::x509::X509Ref;

use crate::Result;

pub struct Pins {
    pub file: PathBuf,
    pub latency: Duration,
}

/// A certificate's key, as it is pinned.
pub fn pin(cert: &X509Ref) -> Result<String> {
    let key = cert.public_key()?.public_key_to_der()?;
    Ok(format!("sha256/{}", encode_block(&sha256(&key))))
}

impl Pins {
    /// Whether the key is that of this host.
    pub async fn has(&self, host: &str, pin: &str) -> Result<bool> {
        tokio::time::sleep(self.latency).await;
        let pins = tokio::fs::read_to_string(&self.file)
            .await
            .map_err(|e| format!("cannot read {}: {e}", self.file.display()))?;
        Ok(pins.lines().any(|line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let names_it = words
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(host));
            names_it && words.any(|word| word == pin)
        }))
    }
}
