//! All of some jobs, in order: what the `futures` crate would be taken for elsewhere.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use openssl_async_jobs::Job;

enum Entry<T> {
    Running(Job<T>),
    Done(T),
    Taken,
}

pub struct JoinAll<T> {
    entries: Vec<Entry<T>>,
}

impl<T> Unpin for JoinAll<T> {}

pub fn join_all<T>(jobs: Vec<Job<T>>) -> JoinAll<T> {
    JoinAll {
        entries: jobs.into_iter().map(Entry::Running).collect(),
    }
}

impl<T> Future for JoinAll<T> {
    type Output = Vec<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Vec<T>> {
        let mut done = true;
        for entry in &mut self.entries {
            if let Entry::Running(job) = entry {
                // One that has nothing to go on with is left alone.
                match Pin::new(job).poll(cx) {
                    Poll::Ready(output) => *entry = Entry::Done(output),
                    Poll::Pending => done = false,
                }
            }
        }
        if !done {
            return Poll::Pending;
        }
        let outputs = self.entries.iter_mut().filter_map(|entry| {
            match std::mem::replace(entry, Entry::Taken) {
                Entry::Done(output) => Some(output),
                Entry::Running(_) | Entry::Taken => None,
            }
        });
        Poll::Ready(outputs.collect())
    }
}
