//! HTTP/1.1 and HTTP/2 as a guest of a shard: requests become verbs, WebSockets become connections.
//!
//! Everything here runs in tasks of the shard's thread. What may take long belongs elsewhere: the [`Fallback`] hands it on.
//!
//! - [`Web`]: everybody who comes in by HTTP, and what holds for them; `serving`: one connection, its deadlines, its end.
//! - `wire`: a [`Visitor`](althing_net::Visitor) for hyper; `body`: what goes back, and reading what comes.
//! - [`Context`]: what a handler works with; [`Anchor`]: the session that requests of a connection share.
//! - `routing`: which handler; `origin`: whose pages may call at all.
//! - `topics`: the language of topics. `upgrade`: WebSockets, and the languages inside.
//! - [`Fallback`]: everything that is not ours.
#![forbid(unsafe_code)]

mod anchor;
mod anchors;
mod body;
mod context;
mod credentials;
mod fallback;
mod language;
mod origin;
mod respond;
mod routing;
mod serving;
mod topics;
mod upgrade;
mod web;
mod wire;

pub use anchor::Anchor;
pub use body::{Body, BodyError};
pub use context::Context;
pub use credentials::Credentials;
pub use fallback::{Fallback, Nowhere};
pub use language::{Language, MessageAdaptorFactory, Speaking};
pub use respond::respond;
pub use web::{Entry, Web};
