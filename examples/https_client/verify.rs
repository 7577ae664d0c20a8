//! The verify callback: libssl's own verdict first, and then that of the pin store.

use std::sync::{Arc, Mutex};

use openssl::ssl::{SslRef, SslVerifyMode};
use openssl::x509::{X509StoreContextRef, X509VerifyResult};
use openssl_async_jobs::suspend;

use crate::pins::{pin, Pins};
use crate::Result;

/// Why the callback refused; libssl only tells that it did.
#[derive(Clone, Default)]
pub struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap().take()
    }
}

/// Has this connection's server verified so.
pub fn verify(ssl: &mut SslRef, host: &str, pins: Pins) -> Refusal {
    let refusal = Refusal::default();
    let (host, why) = (host.to_owned(), refusal.clone());
    ssl.set_verify_callback(SslVerifyMode::PEER, move |is_valid, chain| {
        let refuse = |e: String| *why.0.lock().unwrap() = Some(e);
        if !is_valid {
            let e = chain.error().error_string();
            refuse(format!("the certificate of {host} is not valid: {e}"));
            return false;
        }
        // From the authority downwards: the server's own is the last.
        if chain.error_depth() > 0 {
            return true;
        }
        let checked = check(&host, &pins, chain);
        if let Err(e) = &checked {
            refuse(e.to_string());
            chain.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
        }
        checked.is_ok()
    });
    refusal
}

/// The callback is synchronous for rust-openssl, and yet it awaits.
fn check(host: &str, pins: &Pins, chain: &X509StoreContextRef) -> Result<()> {
    let cert = chain.current_cert().ok_or("there is no certificate")?;
    let pin = pin(cert)?;
    match suspend(pins.has(host, &pin))?? {
        true => Ok(()),
        false => Err(format!(
            "the key of {host} is not pinned. If it is the right one, add this line to {}:\n\
             {host} {pin}",
            pins.file.display()
        )
        .into()),
    }
}
