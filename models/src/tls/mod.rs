#[path = "../../../src/tls/wakers.rs"]
mod wakers;

#[cfg(test)]
mod wakers_model;
