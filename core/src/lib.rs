//! The assembly in which every protocol meets: topics, matching, sessions, queues, retained messages,
//! authorisation and limits, once, for all languages.
//!
//! Nothing here does IO, reads a clock, spawns a task or draws randomness: time ([`Now`]) and entropy
//! ([`Entropy`]) are arguments, so the same calls give the same effects on every run.
//!
//! The floors, from the ground up:
//! - [`topic`], [`message`]: validated values; past their constructors nobody checks again.
//! - [`verbs`], [`adaptor`], [`message_adaptor`], [`door`]: the contract between a language and the broker.
//! - [`tree`], [`retained`], [`queue`], `session`, `group`: the parts of the broker; [`topic_watch`] is what people see of it.
//! - `broker`: one shard of the assembly, which turns requests into [`effects`].
#![forbid(unsafe_code)]

pub mod adaptor;
pub mod annotation;
pub mod authorisation;
pub mod broker;
pub mod bucket;
pub mod described;
pub mod door;
pub mod effects;
pub mod group;
pub mod hash;
pub mod identity;
pub mod inspect;
pub mod limits;
pub mod link;
pub mod message;
pub mod message_adaptor;
pub mod protocol;
pub mod queue;
pub mod quota;
pub mod record;
pub mod retained;
mod routes;
pub mod session;
pub mod shard;
pub mod time;
pub mod topic;
pub mod topic_watch;
pub mod tree;
pub mod verbs;

pub use adaptor::{Adaptor, Close, Out, OutBuffer, Receive};
pub use door::{Door, DoorOut};
pub use effects::{Delivery, Effects};
pub use identity::Identity;
pub use limits::Limits;
pub use link::Link;
pub use message::{Guarantee, Message, Origin, Properties};
pub use message_adaptor::{MessageAdaptor, MessageOut, WholeMessage};
pub use time::{Deadline, Entropy, Now};
pub use topic::{Filter, Topic};
pub use verbs::{Answer, PeerId, Reason, Request};
