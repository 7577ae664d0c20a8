//! A conversation of a local stream, one operation after the other, each of which may be dropped, and
//! what was said in it.

use std::pin::Pin;

use openssl_async_jobs::tokio::{LocalSslStream, SslStream};
use openssl_async_jobs::AsyncPolicy;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::{spawn_local, JoinHandle};

use super::ends::{client, server, server_context};
use super::held::{polled_times, Device, Freed, Pauses, Witness};

/// What the peer says.
const ANSWER: &[u8] = b"what a peer says once it is connected";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Handshake,
    Write,
    Flush,
    Read,
    Shutdown,
}

impl Step {
    pub const ALL: [Step; 5] = [
        Step::Handshake,
        Step::Write,
        Step::Flush,
        Step::Read,
        Step::Shutdown,
    ];

    /// What may come after one that was dropped: not data after the end, nor the end of what is not
    /// there yet.
    pub fn next(self) -> &'static [Step] {
        match self {
            Step::Handshake => &[Step::Handshake, Step::Write, Step::Flush, Step::Read],
            Step::Shutdown => &[Step::Shutdown, Step::Read],
            _ => &Step::ALL,
        }
    }
}

/// Which conversation it is.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub pauses: Pauses,
    pub policy: AsyncPolicy,
    pub accepts: bool,
}

impl Case {
    pub fn all() -> impl Iterator<Item = Case> {
        Pauses::all().flat_map(|pauses| {
            [AsyncPolicy::Handshake, AsyncPolicy::Always]
                .into_iter()
                .flat_map(move |policy| {
                    [true, false].map(|accepts| Case {
                        pauses,
                        policy,
                        accepts,
                    })
                })
        })
    }
}

pub struct Talk {
    pub stream: LocalSslStream<DuplexStream>,
    pub device: Device,
    pub freed: Freed,
    /// What it has heard in the end.
    pub peer: JoinHandle<Vec<u8>>,
    accepts: bool,
    writes: usize,
    written: Vec<u8>,
    read: Vec<u8>,
    ended: bool,
}

impl Talk {
    pub fn new(case: Case) -> Talk {
        // So small that the transport has to be waited for, too; and no smaller than the tickets that
        // end a handshake, for which a writer does not read.
        let (here, there) = tokio::io::duplex(1000);
        let ctx = server_context(|_| {});
        let (mut own, mut peers) = match case.accepts {
            true => (server(&ctx), client()),
            false => (client(), server(&ctx)),
        };
        // Whichever operation comes first.
        match case.accepts {
            true => own.set_accept_state(),
            false => own.set_connect_state(),
        }
        match case.accepts {
            true => peers.set_connect_state(),
            false => peers.set_accept_state(),
        }
        let device = case.pauses.at_each_record(&mut own);
        let freed = Witness::of(&mut own);
        let mut stream = LocalSslStream::new(own, here).unwrap();
        stream.set_policy(case.policy);
        Talk {
            stream,
            device,
            freed,
            peer: spawn_local(peer(SslStream::new(peers, there).unwrap())),
            accepts: case.accepts,
            writes: 0,
            written: Vec::new(),
            read: Vec::new(),
            ended: false,
        }
    }

    /// One operation, polled so many times; whether it came to its end.
    pub async fn step(&mut self, step: Step, polls: usize) -> bool {
        match step {
            Step::Handshake => {
                let stream = Pin::new(&mut self.stream);
                let done = match self.accepts {
                    true => polled_times(polls, stream.accept()).await,
                    false => polled_times(polls, stream.connect()).await,
                };
                done.map(|done| done.unwrap()).is_some()
            }
            Step::Write => {
                // Another one each time.
                self.writes += 1;
                let message = format!("{}, ", self.writes).repeat(1000);
                let written = polled_times(polls, self.stream.write(message.as_bytes())).await;
                let Some(len) = written.map(|written| written.unwrap()) else {
                    return false;
                };
                assert_ne!(len, 0);
                self.written.extend_from_slice(&message.as_bytes()[..len]);
                true
            }
            Step::Flush => {
                let flushed = polled_times(polls, self.stream.flush()).await;
                flushed.map(|flushed| flushed.unwrap()).is_some()
            }
            Step::Read => {
                if self.read.len() == ANSWER.len() {
                    // Nothing more comes until it is shut down.
                    return true;
                }
                self.read_some(polls).await
            }
            Step::Shutdown => {
                let closed = polled_times(polls, self.stream.shutdown()).await;
                closed.map(|closed| closed.unwrap()).is_some()
            }
        }
    }

    async fn read_some(&mut self, polls: usize) -> bool {
        let mut buffer = [0; 7];
        let read = polled_times(polls, self.stream.read(&mut buffer)).await;
        let Some(len) = read.map(|read| read.unwrap()) else {
            return false;
        };
        self.ended = len == 0;
        self.read.extend_from_slice(&buffer[..len]);
        true
    }

    /// To the end of it, `from` here: all was heard, once and in order.
    pub async fn finish(&mut self, from: Step) {
        if from != Step::Shutdown {
            for step in [Step::Handshake, Step::Write, Step::Flush] {
                assert!(self.step(step, usize::MAX).await);
            }
            while self.read.len() < ANSWER.len() {
                assert!(self.step(Step::Read, usize::MAX).await);
            }
        }
        assert!(self.step(Step::Shutdown, usize::MAX).await);
        while !self.ended {
            assert!(self.read_some(usize::MAX).await);
        }
        assert!(
            self.read == ANSWER,
            "{}",
            String::from_utf8_lossy(&self.read)
        );
        let heard = (&mut self.peer).await.unwrap();
        assert!(
            heard == self.written,
            "written:\n{}\nheard:\n{}",
            String::from_utf8_lossy(&self.written),
            String::from_utf8_lossy(&heard)
        );
    }
}

async fn peer(mut stream: SslStream<DuplexStream>) -> Vec<u8> {
    Pin::new(&mut stream).do_handshake().await.unwrap();
    let mut heard = Vec::new();
    {
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let says = async {
            writer.write_all(ANSWER).await.unwrap();
            writer.flush().await.unwrap();
        };
        let ((), read) = tokio::join!(says, reader.read_to_end(&mut heard));
        read.unwrap();
    }
    stream.shutdown().await.unwrap();
    heard
}
