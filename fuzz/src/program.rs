//! What an input says to do.

use arbitrary::{Arbitrary, Result, Unstructured};
use openssl_async_jobs::AsyncPolicy;

const MAX_STEPS: usize = 200;

/// An input: steps that drive pairs of connections.
#[derive(Debug)]
pub struct Program {
    /// How many jobs the thread may have in flight: no limit if it is none of 1 to 3.
    pub max_jobs: u8,
    pub steps: Vec<Step>,
}

/// A byte for the step, and one for each argument, to the end of the input: so that an input is
/// short, and a change of a byte is a small one.
impl<'a> Arbitrary<'a> for Program {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Program> {
        let max_jobs = input.arbitrary()?;
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < MAX_STEPS {
            steps.push(input.arbitrary()?);
        }
        Ok(Program { max_jobs, steps })
    }
}

/// How a pair begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    pub tls12: bool,
    /// With the newest session of the thread.
    pub resumes: bool,
    /// Without libssl's mode in which a read goes on after a message that brings no plaintext.
    pub no_auto_retry: bool,
    pub policies: [Policy; 2],
}

impl Opening {
    pub const FIRST: Opening = Opening {
        tls12: false,
        resumes: false,
        no_auto_retry: false,
        policies: [Policy::Always; 2],
    };
}

impl<'a> Arbitrary<'a> for Opening {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Opening> {
        let flags = u8::arbitrary(input)?;
        Ok(Opening {
            tls12: flags & 1 != 0,
            resumes: flags & 2 != 0,
            no_auto_retry: flags & 4 != 0,
            policies: [input.arbitrary()?, input.arbitrary()?],
        })
    }
}

/// Which end of which pair: the lowest bit is the side.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct At(u8);

impl At {
    pub fn pair(self, pairs: usize) -> usize {
        usize::from(self.0 >> 1) % pairs
    }

    /// 0 for the client, 1 for the server.
    pub fn side(self) -> usize {
        usize::from(self.0 & 1)
    }
}

/// A number of bytes, small and large ones alike: 0 to 98 KiB.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Size(u8);

impl Size {
    pub fn bytes(self) -> usize {
        let fine = usize::from(self.0 & 15);
        match self.0 >> 4 {
            0 => fine,
            15 => 3 * (1 << 15) + fine,
            power => (1 << power) + fine,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Policy {
    Handshake,
    Always,
    Never,
}

impl<'a> Arbitrary<'a> for Policy {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Policy> {
        Ok(match u8::arbitrary(input)? % 4 {
            0 => Policy::Handshake,
            1 => Policy::Never,
            _ => Policy::Always,
        })
    }
}

impl From<Policy> for AsyncPolicy {
    fn from(policy: Policy) -> AsyncPolicy {
        match policy {
            Policy::Handshake => AsyncPolicy::Handshake,
            Policy::Always => AsyncPolicy::Always,
            Policy::Never => AsyncPolicy::Never,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A further pair of connections on the thread.
    Open(Opening),
    /// Both handshakes, as far as they get.
    Connect(At),
    Handshake(At),
    Read(At, Size),
    Peek(At, Size),
    Write(At, Size),
    Flush(At),
    Shutdown(At),
    SetPolicy(At, Policy),
    /// Carries all ciphertext both ways.
    Exchange(At),
    /// Takes so much ciphertext of an end, and holds it back.
    Send(At, Size),
    /// Gives an end so much of what is held back, in chunks.
    Deliver(At, Size, Size),
    /// Flips a bit in what is held back for an end.
    Flip(At, u16),
    /// The transport ends, for an end.
    Cut(At),
    /// What the callback does that is called after so many others of that end.
    Plan(At, u8, Pause),
    /// One of those that callbacks wait for has come.
    Complete(u8),
    /// Instead, it panics, if it is a future.
    Panic(u8),
    /// Lets an end go as it is.
    Drop(At),
    Drain,
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Step> {
        let kind = u8::arbitrary(input)?;
        let mut at = || Ok(At(u8::arbitrary(input)?));
        Ok(match kind % 32 {
            0 => Step::Open(input.arbitrary()?),
            1..=3 => Step::Connect(at()?),
            4 => Step::Handshake(at()?),
            5..=7 => Step::Read(at()?, input.arbitrary()?),
            8 => Step::Peek(at()?, input.arbitrary()?),
            9..=11 => Step::Write(at()?, input.arbitrary()?),
            12 => Step::Flush(at()?),
            13 => Step::Shutdown(at()?),
            14 => Step::SetPolicy(at()?, input.arbitrary()?),
            15..=17 => Step::Exchange(at()?),
            18 => Step::Send(at()?, input.arbitrary()?),
            19 => Step::Deliver(at()?, input.arbitrary()?, input.arbitrary()?),
            20 => Step::Flip(at()?, input.arbitrary()?),
            21 => Step::Cut(at()?),
            22..=25 => Step::Plan(at()?, input.arbitrary()?, input.arbitrary()?),
            26..=28 => Step::Complete(input.arbitrary()?),
            29 => Step::Panic(input.arbitrary()?),
            30 => Step::Drop(at()?),
            _ => Step::Drain,
        })
    }
}

/// What a callback does before it answers.
#[derive(Clone, Copy, Debug)]
pub enum Pause {
    /// Suspends until a later step.
    Future,
    /// Likewise, and the drop of the future panics.
    FutureWithPanickingDrop,
    /// Suspends on a future that is pending once.
    Yield,
    /// Suspends on a future that panics when it is polled.
    Panic,
    /// As `Future`, in a job inside the job.
    FutureInJob,
    /// Pauses as an engine that has nothing to wait for.
    Turn,
    /// Pauses as an engine with a wait fd, until a later step.
    WaitFd,
    /// Pauses as an engine that calls back, in a later step.
    Notifier,
    /// Refuses, if the callback can.
    Refuse,
}

impl<'a> Arbitrary<'a> for Pause {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Pause> {
        Ok(match u8::arbitrary(input)? % 12 {
            0..=2 => Pause::Future,
            3 => Pause::FutureWithPanickingDrop,
            4 => Pause::Yield,
            5 => Pause::Panic,
            6 => Pause::FutureInJob,
            7 => Pause::Turn,
            8 | 9 => Pause::WaitFd,
            10 => Pause::Notifier,
            _ => Pause::Refuse,
        })
    }
}
