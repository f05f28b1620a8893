//! What a shard needs from the program around it.

use althing_core::Link;
use althing_core::effects::{Event, Verdict, Verify};
use althing_core::record::{Load, Record};
use althing_core::shard::Word;
use althing_core::verbs::Refusal;
use bytestring::ByteString;

/// The program around a shard: its store, its identities, its log, its other shards. Calls come from the
/// event loop: they must not block, and not use [`local`](crate::local), whose shard is making them.
pub trait Host {
    /// Takes records that have to become durable, in order; `ticket` names the last of them.
    fn store(&mut self, records: &mut Vec<Record>, ticket: u64);

    /// Everything up to this ticket is durable. Asked at the end of a tick, and last when it has nothing more to
    /// store: what was stored until then may become durable together.
    fn durable(&mut self) -> u64;

    /// Whether something that waits will be durable within moments: sooner than a thread that sleeps is awake again.
    /// The loop looks for it instead of sleeping then.
    fn is_durable_soon(&mut self) -> bool;

    /// Takes entries that are wanted in memory, after everything that was stored before. Each is answered by
    /// [`local::loaded`](crate::local::loaded), later.
    fn load(&mut self, loads: &mut Vec<Load>);

    /// Whether new messages may be kept; settling goes on in any case. Asked once a tick.
    fn has_room(&mut self) -> bool;

    /// Whether so much waits to become durable that whoever adds to it is not read for a moment. The loop is to be
    /// woken when that has changed.
    fn is_behind(&mut self) -> bool;

    /// Checks an identity; `None` promises [`local::verified`](crate::local::verified) later.
    fn verify(&mut self, verify: Verify) -> Option<Verdict>;

    /// Takes words for other shards.
    fn forward(&mut self, words: &mut Vec<(u16, Word)>);

    /// Something happened that the log may want to tell.
    fn notice(&mut self, notice: Notice<'_>);
}

/// What happened.
#[derive(Debug)]
pub enum Notice<'a> {
    /// The broker says so.
    Event(&'a Event),
    /// A conversation is over.
    Closed {
        /// Whose.
        link: &'a Link,
        /// The session's id, when there was a session.
        client: Option<ByteString>,
        /// Why.
        why: &'a Refusal,
    },
    /// A connection was turned away, or could not be accepted, before anything was read.
    TurnedAway {
        /// Where it came in.
        listener: &'static str,
        /// One sentence.
        why: String,
    },
    /// A subscriber has kept publishers waiting for too long: its QoS 0 messages are dropped now.
    Stalled {
        /// Whose connection.
        link: &'a Link,
        /// The session's id, when there is a session.
        client: Option<ByteString>,
        /// Bytes that wait for it.
        waiting_bytes: usize,
    },
    /// A publisher is faster than it may be: it is not read for a while.
    Throttled {
        /// Whose connection.
        link: &'a Link,
        /// The session's id, when there is a session.
        client: Option<ByteString>,
    },
}
