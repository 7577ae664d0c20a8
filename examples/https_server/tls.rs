//! Contexts, and the servername callback that looks certificates up.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ssl::{
    select_next_proto, AlpnError, NameType, SniError, SslAcceptor, SslAcceptorBuilder, SslAlert,
    SslContext, SslMethod, SslRef,
};
use openssl_async_jobs::{suspend, SuspendError};

use crate::certificates::UnknownName;
use crate::log::Log;
use crate::store::Store;
use crate::{Result, Way};

/// As ALPN has them: each with its length.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// What all contexts have: from the callback on, libssl asks the one that was looked up.
pub fn context(ciphers: Option<&str>) -> std::result::Result<SslAcceptorBuilder, ErrorStack> {
    let mut ctx = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    if let Some(ciphers) = ciphers {
        ctx.set_cipher_list(ciphers)?;
    }
    ctx.set_alpn_select_callback(|_, theirs| {
        select_next_proto(PROTOCOLS, theirs).ok_or(AlpnError::NOACK)
    });
    Ok(ctx)
}

/// The context that handshakes begin with, which has no certificate.
pub fn first_context(store: Arc<Store>, way: Way, log: Log) -> Result<SslContext> {
    let mut ctx = context(store.ciphers())?;
    ctx.set_servername_callback(move |ssl, alert| {
        let name = ssl.servername(NameType::HOST_NAME);
        let name = name.unwrap_or("localhost").to_ascii_lowercase();
        choose(&store, way, &name, ssl).map_err(|e| {
            *alert = match e.is::<UnknownName>() {
                true => SslAlert::UNRECOGNIZED_NAME,
                false => SslAlert::INTERNAL_ERROR,
            };
            // Not if its client is gone, or too late.
            if !matches!(e.downcast_ref(), Some(SuspendError::Cancelled)) {
                log.event(format_args!("no certificate for {name:?}: {e}"));
            }
            SniError::ALERT_FATAL
        })
    });
    Ok(ctx.build().into_context())
}

/// The callback is synchronous for rust-openssl, and yet it awaits.
fn choose(store: &Store, way: Way, name: &str, ssl: &mut SslRef) -> Result<()> {
    let found = match way {
        Way::Suspended => suspend(store.find(name))??,
        Way::Blocking => store.find_blocking(name)?,
    };
    Ok(ssl.set_ssl_context(&found)?)
}
