//! Both ends of a TLS connection on one thread: certificates, contexts, a socket pair, and
//! [`pump`], which drives a client and a server whose operations may pause in jobs.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;

use openssl::ssl::{SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::X509Ref;

mod certificate;
mod end;
mod held;
pub mod held_stream;
pub mod memory;
mod talk;
mod transfer;

pub use certificate::{certificate, Identity, KeyType};
pub use end::{converse, End};
pub use held::Held;
pub use talk::Talk;
pub use transfer::{transfer, Jobs, Kind, LONG, SHORT};

/// The protocol versions with jobs to pause that the OpenSSL linked speaks.
pub const VERSIONS: &[SslVersion] = &[
    SslVersion::TLS1_2,
    #[cfg(ossl111)]
    SslVersion::TLS1_3,
];

/// A server of exactly this protocol version, with these certificates.
pub fn server_context(version: SslVersion, identities: &[&Identity]) -> SslContextBuilder {
    let mut context = context(SslMethod::tls_server(), version);
    for identity in identities {
        use_identity(&mut context, identity);
    }
    context
}

/// A client of exactly this protocol version, which trusts these certificates.
pub fn client_context(version: SslVersion, trusted: &[&X509Ref]) -> SslContextBuilder {
    let mut context = context(SslMethod::tls_client(), version);
    trust(&mut context, trusted);
    context.set_verify(SslVerifyMode::PEER);
    context
}

fn context(method: SslMethod, version: SslVersion) -> SslContextBuilder {
    let mut context = SslContextBuilder::new(method).expect("a context");
    context.set_min_proto_version(Some(version)).expect("known");
    context.set_max_proto_version(Some(version)).expect("known");
    context
}

/// Adds a certificate and its key: to a client, so that it can answer a server that asks for one.
pub fn use_identity(context: &mut SslContextBuilder, identity: &Identity) {
    context.set_certificate(&identity.certificate).expect("set");
    context.set_private_key(&identity.key).expect("matches");
}

/// Makes these certificates the ones trusted. A server still has to ask for the client's.
pub fn trust(context: &mut SslContextBuilder, trusted: &[&X509Ref]) {
    let mut store = X509StoreBuilder::new().expect("a store");
    for certificate in trusted {
        store.add_cert((*certificate).to_owned()).expect("added");
    }
    context.set_cert_store(store.build());
}

/// Two connected sockets that do not block.
pub fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().expect("a socket pair");
    for socket in [&a, &b] {
        socket.set_nonblocking(true).expect("non-blocking");
    }
    (a, b)
}

/// What came of one attempt at an operation.
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// Try again when one of these is ready.
    Wait(Vec<libc::pollfd>),
}

impl<T> Attempt<T> {
    fn waits_for(&self) -> &[libc::pollfd] {
        match self {
            Attempt::Done(_) => &[],
            Attempt::Wait(fds) => fds,
        }
    }
}

/// Drives both sides' attempts until both are done, waiting with poll(2) in between. A side is
/// tried again only when one of its own descriptors is ready: an engine may take any resume for
/// a completion. Panics where nothing can go on any more.
pub fn pump<C, S>(
    mut client: impl FnMut() -> Attempt<C>,
    mut server: impl FnMut() -> Attempt<S>,
) -> (C, S) {
    let (mut c, mut s) = (client(), server());
    loop {
        let mut fds = Vec::new();
        fds.extend_from_slice(c.waits_for());
        let of_client = fds.len();
        fds.extend_from_slice(s.waits_for());
        match (c, s) {
            (Attempt::Done(c), Attempt::Done(s)) => return (c, s),
            unfinished => (c, s) = unfinished,
        }
        wait(&mut fds);
        let (of_client, of_server) = fds.split_at(of_client);
        if any_ready(of_client) {
            c = client();
        }
        if any_ready(of_server) {
            s = server();
        }
    }
}

fn any_ready(fds: &[libc::pollfd]) -> bool {
    fds.iter().any(|fd| fd.revents != 0)
}

/// Waits until one of `fds` is ready; panics where that never happens.
pub fn wait(fds: &mut [libc::pollfd]) {
    const PATIENCE_MS: c_int = 60_000;
    // SAFETY: poll(2) reads and writes the `len` elements of a live array.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, PATIENCE_MS) };
    let interrupted = std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
    assert!(
        ready > 0 || (ready < 0 && interrupted),
        "stuck: poll says {ready} to {} descriptors",
        fds.len()
    );
}

/// An entry for poll(2).
pub fn interest(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}
