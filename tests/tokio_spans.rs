//! What a handshake tells of itself: a span, in the span of its caller, with each pause.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl_async_jobs::suspend;
use openssl_async_jobs::tokio::{JobThreads, SslStream};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context as LayerContext, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::Registry;

mod common;
#[path = "tokio/ends.rs"]
mod ends;

use ends::{client, on_many_threads, server, server_context};

type Values = Vec<(&'static str, String)>;

/// Spans and events of this crate and of the test, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    spans: Vec<(&'static str, Values)>,
    /// Each with the spans that it is in.
    events: Vec<(Vec<&'static str>, String, Values)>,
    closed: Vec<&'static str>,
}

#[derive(Default)]
struct Fields(Values);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Told {
    fn enabled(&self, metadata: &Metadata<'_>, _: LayerContext<'_, S>) -> bool {
        metadata.target().starts_with("openssl_async_jobs") || metadata.target() == "test"
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: LayerContext<'_, S>) {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let span = (span.metadata().name(), fields.0);
        self.0.lock().unwrap().spans.push(span);
    }

    fn on_event(&self, event: &Event<'_>, cx: LayerContext<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.iter().position(|(name, _)| *name == "message");
        let (_, message) = fields.0.remove(message.expect("an event has a message"));
        let scope = cx.event_scope(event).into_iter();
        let spans = scope
            .flat_map(|spans| spans.from_root())
            .map(|span| span.name());
        let event = (spans.collect(), message, fields.0);
        self.0.lock().unwrap().events.push(event);
    }

    fn on_close(&self, span: Id, cx: LayerContext<'_, S>) {
        let name = cx.span(&span).expect("it is there").name();
        self.0.lock().unwrap().closed.push(name);
    }
}

fn microseconds(fields: &[(&'static str, String)], name: &str) -> u64 {
    let field = fields.iter().find(|(known, _)| *known == name);
    let (_, value) = field.unwrap_or_else(|| panic!("no {name} in {fields:?}"));
    value.parse().unwrap()
}

#[test]
fn a_handshake_is_a_span_of_its_callers_with_each_pause_and_how_long_it_was() {
    const PAUSE: Duration = Duration::from_millis(3);
    let told = Told::default();
    // Also for the job thread.
    tracing::subscriber::set_global_default(Registry::default().with(told.clone())).unwrap();
    on_many_threads(async {
        let ctx = server_context(|ctx| {
            ctx.set_servername_callback(|_, _| {
                suspend(tokio::time::sleep(PAUSE)).unwrap();
                suspend(std::future::ready(())).unwrap();
                Ok(())
            })
        });
        let threads = JobThreads::builder().threads(1).build().unwrap();
        let (here, there) = tokio::io::duplex(5000);
        let request = tracing::info_span!(target: "test", "request");
        let accept = tracing::Instrument::instrument(threads.accept(server(&ctx), here), request);
        let client = async {
            let mut client = SslStream::new(client(), there).unwrap();
            std::pin::Pin::new(&mut client).connect().await.unwrap();
        };
        let (accepted, ()) = tokio::join!(accept, client);
        accepted.unwrap();
    });

    let told = told.0.lock().unwrap();
    let role = |role: &str| ("handshake", vec![("role", format!("{role:?}"))]);
    assert!(told.spans.contains(&role("server")), "{:?}", told.spans);
    assert!(told.spans.contains(&role("client")), "{:?}", told.spans);
    let ended = told.closed.iter().filter(|name| **name == "handshake");
    assert_eq!(ended.count(), 2, "{:?}", told.closed);

    let names: Vec<&str> = told.events.iter().map(|(_, name, _)| &**name).collect();
    assert_eq!(names, ["pause", "resume", "pause", "resume"]);
    for (spans, ..) in &told.events {
        assert_eq!(spans, &["request", "handshake"]);
    }
    microseconds(&told.events[0].2, "ran_us");
    let paused = microseconds(&told.events[1].2, "paused_us");
    assert!(u128::from(paused) >= PAUSE.as_micros(), "{paused}");
}
