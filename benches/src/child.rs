//! Servers in a process of their own: for what is counted by the process, system calls and memory.
//!
//! A child prints its address on a line. It is asked for more on its standard input, a line a
//! question, and ends with it, or when it has done what it was to do.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpListener;

use crate::identity::Key;
use crate::peers::{Operation, Peer, Stack};
use crate::server::{accept, run, Configuration};
use crate::{cpu, handlers, raw, strace, with_peer};

/// The word that makes the program a child.
pub const WORD: &str = "child";

/// What a child does.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub stack: Stack,
    pub kind: Kind,
    /// How many connections, messages or bytes.
    pub count: usize,
    /// The size of each message or write.
    pub size: usize,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $Kind:ident $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[doc = $doc])* $Kind,)* }

        impl Kind {
            fn name(self) -> &'static str {
                match self { $(Kind::$Kind => $name,)* }
            }

            fn named(name: &str) -> Option<Kind> {
                [$(Kind::$Kind,)*].into_iter().find(|kind| kind.name() == name)
            }
        }
    };
}

kinds! {
    /// Answers messages on one connection.
    Echo "echo",
    /// Accepts connections and closes them, one after the other.
    Handshakes "handshakes",
    /// Likewise; the clients are slow to begin.
    SlowHandshakes "slow-handshakes",
    /// Receives bytes on one connection.
    Receive "receive",
    /// Sends bytes on one connection.
    Send "send",
    /// Holds all connections that come, and answers what comes on them.
    Hold "hold",
    /// Holds handshakes that wait for something.
    Park "park",
    /// Holds connections of rust-openssl's own stream.
    HoldRaw "hold-raw",
    /// Holds handshakes whose job was paused in C.
    ParkRaw "park-raw",
}

/// A child that runs.
pub struct Running {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub address: SocketAddr,
}

impl Running {
    /// Starts one, traced if there is a file for the summary.
    pub fn start(task: Task, summary: Option<&Path>) -> io::Result<Running> {
        let program = std::env::current_exe()?;
        let mut command = match summary {
            Some(file) => strace::traced(&program, file),
            None => Command::new(program),
        };
        let mut process = command
            .args([WORD, task.kind.name(), &task.stack.to_string()])
            .args([task.count.to_string(), task.size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{command:?} does not start: {e}")))?;
        let questions = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let address = line(&mut answers)?;
        Ok(Running {
            process,
            questions,
            answers,
            address: address.parse().map_err(io::Error::other)?,
        })
    }

    /// A number that it knows: `memory` in KiB, `cpu` in nanoseconds.
    pub fn ask(&mut self, what: &str) -> io::Result<f64> {
        let questions = self.questions.as_mut().expect("it listens");
        writeln!(questions, "{what}")?;
        line(&mut self.answers)?.parse().map_err(io::Error::other)
    }

    /// Waits for its end.
    pub fn finish(mut self) -> io::Result<()> {
        let status = self.process.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("a child ended with {status}"))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// What a child does, from the words after [`WORD`].
pub fn main(words: &[String]) -> io::Result<()> {
    let [kind, stack, count, size] = words else {
        return Err(io::Error::other("child KIND STACK COUNT SIZE"));
    };
    let task = Task {
        stack: stack.parse().map_err(io::Error::other)?,
        kind: Kind::named(kind).ok_or_else(|| io::Error::other("a kind of child"))?,
        count: count.parse().map_err(io::Error::other)?,
        size: size.parse().map_err(io::Error::other)?,
    };
    match task.kind {
        Kind::HoldRaw | Kind::ParkRaw => {
            std::thread::spawn(answer);
            raw::hold(listening, task.kind == Kind::ParkRaw)
        }
        _ => with_peer!(task.stack, P => serve::<P>(task)),
    }
}

fn listening(address: SocketAddr) {
    println!("{address}");
}

fn serve<P: Peer>(task: Task) -> io::Result<()> {
    let configuration = Configuration {
        key: Key::EcdsaP256,
        operation: match task.kind {
            Kind::Park => Operation::Never,
            _ => Operation::Nothing,
        },
        core: Some(0),
    };
    run(
        configuration,
        listening,
        async move |peer: P, listener| match task.kind {
            Kind::Hold | Kind::Park => {
                std::thread::spawn(answer);
                hold(peer, listener).await
            }
            Kind::Handshakes | Kind::SlowHandshakes => {
                for _ in 0..task.count {
                    let mut stream = peer.accept(accept(&listener).await?).await?;
                    stream.shutdown().await?;
                }
                Ok(())
            }
            _ => {
                let mut stream = peer.accept(accept(&listener).await?).await?;
                match task.kind {
                    Kind::Echo => return handlers::echo(&mut stream, task.size, task.count).await,
                    Kind::Receive => handlers::receive(&mut stream, task.count).await?,
                    _ => handlers::send(&mut stream, task.size, task.count).await?,
                }
                // The other end has all of it.
                handlers::echo(&mut stream, 1, 1).await
            }
        },
    )
}

/// Has a task for each connection, for good. What they read and write is in memory that they share,
/// so that a connection costs what its stack makes it cost.
async fn hold<P: Peer>(peer: P, listener: TcpListener) -> io::Result<()> {
    let shared: Rc<RefCell<Vec<u8>>> = Rc::new(RefCell::new(vec![0; handlers::READ]));
    loop {
        let socket = accept(&listener).await?;
        let (peer, shared) = (peer.clone(), Rc::clone(&shared));
        tokio::task::spawn_local(async move {
            let Ok(mut stream) = peer.accept(socket).await else {
                return;
            };
            while let Ok(1..) = answer_once(&mut stream, &shared).await {}
        });
    }
}

async fn answer_once<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    shared: &RefCell<Vec<u8>>,
) -> io::Result<usize> {
    static ANSWER: [u8; handlers::READ] = [0; handlers::READ];
    let len = poll_fn(|cx| {
        let mut shared = shared.borrow_mut();
        let mut to = ReadBuf::new(&mut shared);
        let polled = Pin::new(&mut *stream).poll_read(cx, &mut to);
        polled.map_ok(|()| to.filled().len())
    })
    .await?;
    stream.write_all(&ANSWER[..len]).await?;
    stream.flush().await?;
    Ok(len)
}

/// Answers the parent's questions, until it has no more.
fn answer() {
    for question in io::stdin().lines() {
        match question.as_deref() {
            Ok("memory") => println!("{}", resident()),
            Ok("cpu") => println!("{}", cpu::process_cpu().as_nanos()),
            _ => break,
        }
    }
    std::process::exit(0);
}

/// Resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number of KiB")
}
