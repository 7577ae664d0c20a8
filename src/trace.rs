//! What the feature `tracing` tells: a span for each first handshake of a connection, with an event
//! when it pauses and when it goes on. Without the feature nothing of it is there.

#[cfg(feature = "tokio")]
pub(crate) use imp::Caller;
pub(crate) use imp::{HandshakeSpan, Since};

#[cfg(feature = "tracing")]
mod imp {
    #[cfg(feature = "tokio")]
    use std::future::Future;
    use std::time::Instant;

    use tracing::Span;
    #[cfg(feature = "tokio")]
    use tracing::{instrument::Instrumented, Instrument};

    use crate::panics::quietly;

    /// From the first step of a handshake to its end.
    #[derive(Default)]
    pub(crate) struct HandshakeSpan(Option<Span>);

    impl HandshakeSpan {
        pub(crate) fn begin(&mut self, is_server: bool) {
            let role = if is_server { "server" } else { "client" };
            self.0
                .get_or_insert_with(|| tracing::debug_span!("handshake", role));
        }

        pub(crate) fn end(&mut self) {
            let span = self.0.take();
            quietly(|| drop(span));
        }

        pub(crate) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
            match &self.0 {
                Some(span) => span.in_scope(f),
                None => f(),
            }
        }
    }

    /// When a job was started, paused or resumed last.
    #[derive(Clone, Copy)]
    pub(crate) struct Since(Instant);

    impl Since {
        pub(crate) fn now() -> Since {
            Since(Instant::now())
        }

        /// A subscriber is somebody's code, as a logger is.
        pub(crate) fn paused(&mut self) {
            let ran_us = self.lap();
            quietly(|| tracing::debug!(ran_us, "pause"));
        }

        pub(crate) fn resumed(&mut self) {
            let paused_us = self.lap();
            quietly(|| tracing::debug!(paused_us, "resume"));
        }

        /// In microseconds.
        fn lap(&mut self) -> u64 {
            let now = Instant::now();
            let before = std::mem::replace(&mut self.0, now);
            u64::try_from(now.duration_since(before).as_micros()).unwrap_or(u64::MAX)
        }
    }

    /// The span of who calls, for what it has done on another thread.
    #[cfg(feature = "tokio")]
    pub(crate) struct Caller(Span);

    #[cfg(feature = "tokio")]
    impl Caller {
        pub(crate) fn current() -> Caller {
            Caller(Span::current())
        }

        pub(crate) fn instrument<F: Future>(self, future: F) -> Instrumented<F> {
            future.instrument(self.0)
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod imp {
    #[cfg(feature = "tokio")]
    use std::future::Future;

    #[derive(Default)]
    pub(crate) struct HandshakeSpan(());

    impl HandshakeSpan {
        pub(crate) fn begin(&mut self, _: bool) {}

        pub(crate) fn end(&mut self) {}

        pub(crate) fn in_scope<T>(&self, f: impl FnOnce() -> T) -> T {
            f()
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Since;

    impl Since {
        pub(crate) fn now() -> Since {
            Since
        }

        pub(crate) fn paused(&mut self) {}

        pub(crate) fn resumed(&mut self) {}
    }

    #[cfg(feature = "tokio")]
    pub(crate) struct Caller;

    #[cfg(feature = "tokio")]
    impl Caller {
        pub(crate) fn current() -> Caller {
            Caller
        }

        pub(crate) fn instrument<F: Future>(self, future: F) -> F {
            future
        }
    }
}
