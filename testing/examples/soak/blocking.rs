//! std streams: a server's thread and a client's, over sockets that block or do not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use openssl_async_jobs::{Error, JobStats, SslStream};
use testing::random::{Bytes, Random};

use crate::certificate::ssl;
use crate::jobs;
use crate::plan::{Budget, Plan, Side};
use crate::round::COUNTS;
use crate::session::{pieces, same};

const PATIENCE: Duration = Duration::from_secs(60);

pub fn round(seed: u64, end: Instant, released: Arc<Barrier>) -> JobStats {
    let side = |side| {
        let (give, given) = channel();
        let released = Arc::clone(&released);
        (give, thread::spawn(move || work(side, given, released)))
    };
    let (servers, server) = side(Side::Server);
    let (clients, client) = side(Side::Client);
    let (mut random, budget) = (Random::new(seed), Budget::new(1));
    let (tell, told) = channel();
    while Instant::now() < end {
        let plan = Plan::new(random.number(), &budget);
        let (near, far) = sockets();
        COUNTS.connections.add(1);
        servers
            .send((plan.clone(), far, tell.clone()))
            .expect("it runs");
        clients.send((plan, near, tell.clone())).expect("it runs");
        for _ in 0..2 {
            told.recv_timeout(2 * PATIENCE).expect("stuck, or a panic");
        }
    }
    drop((servers, clients));
    let mut stats = [server, client].map(|thread| thread.join().expect("no panic"));
    stats[0].finished += stats[1].finished;
    stats[0].reaped += stats[1].reaped;
    stats[0]
}

type Given = (Plan, TcpStream, std::sync::mpsc::Sender<()>);

fn work(side: Side, given: Receiver<Given>, released: Arc<Barrier>) -> JobStats {
    jobs::prepare();
    for (plan, socket, done) in given {
        match end(&plan, side, socket) {
            Ok(()) => COUNTS.finished.add(1),
            Err(e) if plan.is_clean() => panic!("{e}: {side:?} of {plan:?}"),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => COUNTS.given_up.add(1),
            Err(_) => COUNTS.failed.add(1),
        }
        done.send(()).expect("somebody waits");
    }
    jobs::finish(&released)
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    (near, listener.accept().expect("accepted").0)
}

/// One that gives up does not block.
fn end(plan: &Plan, side: Side, socket: TcpStream) -> io::Result<()> {
    let patience = plan.patience(side);
    let blocks = patience.is_none() && matches!(plan.kind(side) % 2, 0);
    socket.set_nonblocking(!blocks)?;
    socket.set_nodelay(true)?;
    let mut stream = SslStream::new(ssl(plan, side), socket)?;
    stream.set_policy(plan.policy(side));
    let end = Instant::now() + patience.unwrap_or(PATIENCE);
    match side {
        Side::Server => wait(&mut stream, end, SslStream::accept)?,
        Side::Client => wait(&mut stream, end, SslStream::connect)?,
    }
    match side {
        Side::Server => echo(plan, &mut stream, end)?,
        Side::Client => in_turns(plan, &mut stream, end)?,
    }
    if plan.resets {
        // Its peer has all, and may still write.
        let _ = stream.get_ref().shutdown(Shutdown::Both);
    }
    Ok(())
}

fn wait<T>(
    stream: &mut SslStream<TcpStream>,
    end: Instant,
    mut operation: impl FnMut(&mut SslStream<TcpStream>) -> Result<T, Error>,
) -> io::Result<T> {
    loop {
        match operation(stream) {
            Err(e) if e.is_would_block() => {
                let left = end.saturating_duration_since(Instant::now());
                if !stream.wait(Some(left))? {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            other => return Ok(other?),
        }
    }
}

fn write_all(stream: &mut SslStream<TcpStream>, end: Instant, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let len = wait(stream, end, |stream| stream.ssl_write(bytes))?;
        bytes = &bytes[len..];
    }
    wait(stream, end, |stream| Ok(stream.flush()?))
}

fn read(stream: &mut SslStream<TcpStream>, end: Instant, to: &mut [u8]) -> io::Result<usize> {
    wait(stream, end, |stream| Ok(stream.read(to)?))
}

fn close(stream: &mut SslStream<TcpStream>, end: Instant) -> io::Result<()> {
    wait(stream, end, SslStream::shutdown).map(|_| ())
}

fn echo(plan: &Plan, stream: &mut SslStream<TcpStream>, end: Instant) -> io::Result<()> {
    let mut random = Random::new(plan.seed ^ 1);
    let mut buffer = vec![0; 40_000];
    loop {
        let len = random.length(buffer.len());
        match read(stream, end, &mut buffer[..len])? {
            0 => break,
            len => write_all(stream, end, &buffer[..len])?,
        }
    }
    close(stream, end)
}

fn in_turns(plan: &Plan, stream: &mut SslStream<TcpStream>, end: Instant) -> io::Result<()> {
    for (place, len) in pieces(plan) {
        let bytes = Bytes(plan.seed).from(place, len);
        write_all(stream, end, &bytes)?;
        let mut back = vec![0; len];
        let mut got = 0;
        while got < len {
            match read(stream, end, &mut back[got..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => got += more,
            }
        }
        same(plan, &back, place, len);
    }
    close(stream, end)?;
    if !plan.resets {
        assert_eq!(read(stream, end, &mut [0])?, 0);
    }
    Ok(())
}
