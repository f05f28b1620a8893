//! Sockets and the event loop: the only place where bytes move.
//!
//! A **shard** is one thread with its own event loop, its own [`Broker`](althing_core::broker::Broker)
//! and its own connections. State is reached through `&mut`; there is no lock. [`run`] starts one on the
//! calling thread; [`local`] talks to the one that runs there.
//!
//! - `admission`: who may connect, decided before anything is read.
//! - [`Address`], [`Listener`], `transport`: where peers come from and what carries their bytes.
//! - `opening`, with [`ProxyTrust`] and [`TlsAcceptor`]: what a connection gets through before it has an adaptor.
//! - `connections`, `timers`, `clock`: what a shard is made of.
//! - [`Visitor`], [`Guest`]: connections that tasks serve, and what these are for the broker.
//! - [`DoorSocket`]: datagrams, whose peers are their door's business; [`DtlsAcceptor`]: what protects them.
//! - `shard`, with `reading`, `writing`, `throttling` and `deadlines`: bytes in, requests, effects, bytes out.
//! - [`Handle`]: what other threads have the shard do.
//! - [`Measures`]: what passes through each listener, and how long it takes.
//! - [`Host`]: what a shard needs from the program around it (a store, identities, a log).
//!
//! One tick: every connection that is readable is read once and its requests are carried out; what that
//! makes is appended to the peers' out-buffers; when no task is ready any more, each touched peer
//! is flushed with one vectored write, and the thread parks, unless what waits for the store is about to become durable.
#![forbid(unsafe_code)]

mod address;
mod admission;
mod clock;
mod connections;
mod deadlines;
mod door;
mod dtls;
mod guest;
mod handle;
mod host;
mod listener;
pub mod local;
mod measures;
mod opening;
mod proxy;
mod reading;
mod shard;
mod throttling;
mod timers;
mod tls;
mod trace;
mod transport;
mod visitor;
mod writing;

pub use address::{Address, AddressError};
pub use admission::{ListenerLimits, TurnedAway};
pub use clock::Clock;
pub use door::{DoorFactory, DoorSocket};
pub use dtls::{DtlsAcceptor, DtlsSettings, DtlsTerms, KeyPair, SharedKeys};
pub use guest::{Guest, GuestClosed};
pub use handle::{ConnectionView, Handle, Inside, Stopped};
pub use host::{Host, Notice};
pub use listener::{AdaptorFactory, Gate, Listener, Welcome};
pub use local::{AbortOnPanic, run};
pub use measures::{BOUNDS_NS, Histogram, Measures, Traffic};
pub use proxy::ProxyTrust;
pub use shard::{Counters, Shard};
pub use tls::{Describe, TlsAcceptor, TlsTerms};
pub use trace::{TraceEvent, TraceQuery, TracedMessage};
pub use visitor::{Visitor, VisitorFactory};
