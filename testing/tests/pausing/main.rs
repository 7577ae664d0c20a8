//! Connections and streams whose operations pause, in each of the ways that there are. The provider is
//! the process's, so the tests take turns with it.

mod connection_drop;
mod connection_drop_callbacks;
mod connection_h2;
mod connection_pauses;
mod connection_random;
mod connection_told_twice;
mod connection_wakers;
mod stream_h2;
mod stream_interest;
