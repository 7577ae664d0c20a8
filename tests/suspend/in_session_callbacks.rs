//! `suspend` inside the callbacks for sessions: each pauses the job it runs in, and the session that
//! it stored, found or removed elsewhere is the connection's (H3, H7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::handshake::{
    client_context, count_pauses, handshake, server_context, sockets, tls12, Asked, End,
};
use openssl::ssl::{SslContext, SslContextBuilder, SslOptions, SslSession, SslSessionCacheMode};

/// Where sessions are kept: somewhere else.
#[derive(Clone, Default)]
struct Store {
    sessions: Arc<Mutex<HashMap<Vec<u8>, SslSession>>>,
    added: Asked,
    sought: Asked,
    removed: Asked,
}

impl Store {
    /// A server's context that keeps sessions here and nowhere else.
    fn server_context(&self, set_up: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
        server_context(|ctx| {
            tls12(ctx);
            ctx.set_options(SslOptions::NO_TICKET);
            ctx.set_session_id_context(b"test").unwrap();
            ctx.set_session_cache_mode(
                SslSessionCacheMode::SERVER | SslSessionCacheMode::NO_INTERNAL,
            );
            let store = self.clone();
            ctx.set_new_session_callback(move |_, session| {
                let (sessions, id) = (Arc::clone(&store.sessions), session.id().to_vec());
                let add = move || sessions.lock().unwrap().insert(id, session);
                // It cannot fail; what is not stored is not found later.
                let _ = store.added.ask(add);
            });
            let store = self.clone();
            let get = move |_: &mut _, id: &[u8]| {
                let (sessions, id) = (Arc::clone(&store.sessions), id.to_vec());
                let find = move || sessions.lock().unwrap().get(&id).cloned();
                store.sought.ask(find).ok().flatten()
            };
            // SAFETY: all sessions in the store are of this context.
            unsafe { ctx.set_get_session_callback(get) };
            let store = self.clone();
            ctx.set_remove_session_callback(move |_, session| {
                let (sessions, id) = (Arc::clone(&store.sessions), session.id().to_vec());
                let _ = store
                    .removed
                    .ask(move || sessions.lock().unwrap().remove(&id));
            });
            set_up(ctx);
        })
    }

    fn len(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }
}

#[test]
fn a_session_that_is_stored_and_found_elsewhere_is_resumed() {
    let store = Store::default();
    let server = store.server_context(|_| ());
    let client = client_context(tls12);
    let (_server, first) = handshake(End::server(&server), End::client(&client)).done(&store.added);
    assert!(!first.ssl().session_reused());
    assert_eq!((store.added.times(), store.len()), (1, 1));

    let mut again = End::client(&client);
    // SAFETY: the session is of this context.
    unsafe { again.ssl.set_session(first.ssl().session().unwrap()) }.unwrap();
    let ends = handshake(End::server(&server), again);
    let (server, client) = ends.done(&store.sought);
    assert_eq!(store.sought.times(), 1);
    assert!(server.ssl().session_reused() && client.ssl().session_reused());
}

#[test]
fn a_session_that_is_not_found_elsewhere_is_not_resumed() {
    let store = Store::default();
    let server = store.server_context(|_| ());
    let client = client_context(tls12);
    let (_, first) = handshake(End::server(&server), End::client(&client)).done(&store.added);
    store.sessions.lock().unwrap().clear();
    let mut again = End::client(&client);
    // SAFETY: the session is of this context.
    unsafe { again.ssl.set_session(first.ssl().session().unwrap()) }.unwrap();
    let ends = handshake(End::server(&server), again);
    // It is asked for the old one, and told the new one.
    assert_eq!((ends.paused, store.sought.times()), (2, 1));
    assert!(!ends.in_job.unwrap().ssl().session_reused());
    assert_eq!((store.added.times(), store.len()), (2, 1));
}

#[test]
fn a_session_that_ends_badly_is_removed_elsewhere() {
    let store = Store::default();
    let server = End::server(&store.server_context(|_| ()));
    let client = End::client(&client_context(tls12));
    let (here, there) = sockets();
    let client = thread::spawn(move || client.run(there));
    let kept = store.clone();
    let (kept, paused) = count_pauses(move || {
        let tls = server.run(here).unwrap();
        let stored = kept.len();
        // Without a shutdown.
        drop(tls);
        (stored, kept.len())
    });
    client.join().unwrap().unwrap();
    assert_eq!((store.added.times(), store.removed.times()), (1, 1));
    assert_eq!((kept, paused), ((1, 0), 2));
}

#[test]
fn a_session_that_a_clients_callback_stores_elsewhere_is_the_connections() {
    let protocols: &[fn(&mut SslContextBuilder)] = &[tls12, |_| ()];
    for protocol in protocols {
        let (asked, sessions) = (Asked::new(), Arc::new(Mutex::new(Vec::new())));
        let (ask, store) = (asked.clone(), Arc::clone(&sessions));
        let client = client_context(|ctx| {
            protocol(ctx);
            ctx.set_session_cache_mode(SslSessionCacheMode::CLIENT);
            ctx.set_new_session_callback(move |_, session| {
                let store = Arc::clone(&store);
                let _ = ask.ask(move || store.lock().unwrap().push(session));
            });
        });
        let server = server_context(|_| ());
        let ends = handshake(End::client(&client), End::server(&server));
        // Kept, as a stream that is dropped without a shutdown spoils its session.
        let _first = ends.done(&asked);

        let session = sessions.lock().unwrap().pop().unwrap();
        let mut again = End::client(&client);
        // SAFETY: the session is of this context.
        unsafe { again.ssl.set_session(&session) }.unwrap();
        let ends = handshake(again, End::server(&server));
        assert!(ends.in_job.unwrap().ssl().session_reused());
    }
}
