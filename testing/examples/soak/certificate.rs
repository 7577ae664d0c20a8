//! Contexts whose callbacks do as their connection's plan says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

use openssl::ex_data::Index;
use openssl::ssl::{NameType, SniError, Ssl, SslContext, SslMethod, SslVerifyMode};
use testing::tls::{certificate, use_identity, KeyType};

use crate::pausing::pause;
use crate::plan::{Plan, Side};

fn index() -> Index<Ssl, Plan> {
    static INDEX: OnceLock<Index<Ssl, Plan>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().expect("an index"))
}

fn server_context() -> &'static SslContext {
    static CONTEXT: OnceLock<SslContext> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let mut ctx = SslContext::builder(SslMethod::tls_server()).expect("a context");
        use_identity(&mut ctx, &certificate(KeyType::Ecdsa, &["name.example"]));
        ctx.set_session_id_context(b"soak").expect("short");
        ctx.set_session_cache_size(8);
        ctx.set_servername_callback(|ssl, _| {
            assert!(ssl.servername(NameType::HOST_NAME).is_some());
            let plan = ssl.ex_data(index()).expect("each has one").clone();
            match pause(plan.pauses(Side::Server)) {
                true => Ok(()),
                false => Err(SniError::ALERT_FATAL),
            }
        });
        ctx.build()
    })
}

fn client_context() -> &'static SslContext {
    static CONTEXT: OnceLock<SslContext> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        SslContext::builder(SslMethod::tls_client())
            .expect("a context")
            .build()
    })
}

/// A connection of this plan.
pub fn ssl(plan: &Plan, side: Side) -> Ssl {
    match side {
        Side::Server => {
            let mut ssl = Ssl::new(server_context()).expect("memory");
            ssl.set_ex_data(index(), plan.clone());
            ssl
        }
        Side::Client => {
            let mut ssl = Ssl::new(client_context()).expect("memory");
            ssl.set_hostname("name.example").expect("memory");
            let (plan, asked) = (plan.clone(), AtomicBool::new(false));
            // It is asked for each certificate and each doubt.
            ssl.set_verify_callback(SslVerifyMode::PEER, move |_, _| {
                asked.swap(true, Ordering::SeqCst) || pause(plan.pauses(Side::Client))
            });
            ssl
        }
    }
}
