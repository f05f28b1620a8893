//! Bytes out: appended while routing, flushed once a tick; and what happens when a peer does not read.

use crate::connections::Connection;
use crate::host::Notice;
use crate::shard::Shard;
use crate::tls::Scratch;
use althing_core::broker::Pace;
use althing_core::{Now, OutBuffer, PeerId};
use std::io::{self, IoSlice};
use std::mem;

/// Appended bytes that are flushed without waiting for the end of the tick: more would leave the cache.
pub(crate) const FLUSH_BYTES: usize = 256 << 10;

/// Slices of one vectored write.
const SLICES_MAX: usize = 32;

/// Memory kept for out-buffers that become busy.
const SPARES_MAX: usize = 1_024;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// A subscriber that is behind, because its socket is slow or its queue is long.
#[derive(Debug)]
pub(crate) struct Behind {
    /// Until when anybody waits for it.
    pub until_ns: u64,
    /// The publishers that are not read meanwhile.
    waiting: Vec<PeerId>,
}

impl Shard {
    /// Adds the peer to those that the end of the tick flushes.
    pub(crate) fn mark_dirty(&mut self, peer: PeerId) {
        if self.connections.get_mut(peer).is_some_and(Connection::needs_flush) {
            self.dirty.push(peer);
        }
    }

    /// Writes to every touched peer.
    pub(crate) fn flush(&mut self, now: Now) {
        self.appended_bytes = 0;
        self.turns = 0;
        let mut dirty = mem::replace(&mut self.dirty, mem::take(&mut self.dirty_spare));
        for peer in dirty.drain(..) {
            self.flush_peer(now, peer);
        }
        self.dirty_spare = dirty;
        self.flush_doors();
        if self.measures.awaits_flush() {
            self.measures.flushed(self.clock.mono_ns());
        }
    }

    /// Writes what the peer's socket takes.
    pub(crate) fn flush_peer(&mut self, now: Now, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        connection.is_dirty = false;
        let waiting_bytes = connection.out.len();
        let written = write_out(connection, &mut self.scratch);
        let left_bytes = waiting_bytes - connection.out.len();
        self.counters.bytes_sent += left_bytes as u64;
        self.measures.sent(connection.listener, left_bytes as u64);
        connection.unread_answer_bytes = connection.unread_answer_bytes.saturating_sub(left_bytes);
        match written {
            Ok(()) => {
                give_back(&mut self.spares, &mut connection.out);
                if connection.adaptor.is_none() && !connection.is_shut {
                    connection.is_shut = true;
                    // Fails only when the peer is gone, which the next read tells.
                    let _ = connection.stream.shutdown_write(&mut self.scratch);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.is_blocked = true;
                connection.wake();
            }
            Err(error) if connection.adaptor.is_some() => return self.lost_while_writing(now, peer, error),
            Err(_) => return self.remove(peer),
        }
        if connection.pace != Pace::Ready && connection.waiting_bytes() <= self.limits.write_buffer_low_bytes {
            self.set_pace(now, peer, Pace::Ready);
        }
    }

    fn lost_while_writing(&mut self, now: Now, peer: PeerId, error: io::Error) {
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.out = OutBuffer::default();
        }
        self.lost(now, peer, Some(error));
    }

    /// A new observation of the peer's socket.
    pub(crate) fn set_pace(&mut self, now: Now, peer: PeerId, pace: Pace) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        connection.pace = pace;
        if pace == Pace::Slow {
            self.falls_behind(now, peer);
        } else {
            self.release(peer);
        }
        self.broker.pace(now, peer, pace, &mut self.effects);
    }

    fn falls_behind(&mut self, now: Now, peer: PeerId) -> &mut Behind {
        let until_ns = now.after_ms(self.limits.stall_ms);
        self.arm_at(peer, until_ns);
        self.behind.entry(peer).or_insert(Behind { until_ns, waiting: Vec::new() })
    }

    /// Ends the wait for a peer that has been behind for too long; a slow one counts as stalled then.
    pub(crate) fn check_stall(&mut self, now: Now, peer: PeerId) {
        if self.behind.get(&peer).is_none_or(|behind| behind.until_ns > now.mono_ns) {
            return;
        }
        let Some(connection) = self.connections.get(peer) else { return };
        if connection.pace != Pace::Slow {
            return self.release(peer);
        }
        self.counters.stalls += 1;
        let (link, client) = (&connection.link, self.broker.client_of(peer).cloned());
        self.host.notice(Notice::Stalled { link, client, waiting_bytes: connection.waiting_bytes() });
        self.set_pace(now, peer, Pace::Stalled);
    }

    /// Has `publisher` wait for `subscriber`. It waits for one at a time: once released, its next
    /// publish shows whether it has to wait for another.
    pub(crate) fn pause(&mut self, now: Now, publisher: PeerId, subscriber: PeerId) {
        let can_catch_up = |it: &Connection| it.adaptor.is_some() && it.pace != Pace::Stalled;
        if !self.connections.get(subscriber).is_some_and(can_catch_up) {
            return;
        }
        let Some(connection) = self.connections.get_mut(publisher) else { return };
        if connection.paused_for.is_none() && connection.adaptor.is_some() {
            connection.paused_for = Some(subscriber);
            self.counters.pauses += 1;
            self.falls_behind(now, subscriber).waiting.push(publisher);
        }
    }

    /// The queue of `subscriber` has shrunk: nobody waits for it, unless its socket is slow as well.
    pub(crate) fn resume(&mut self, subscriber: PeerId) {
        if self.connections.get(subscriber).is_none_or(|connection| connection.pace != Pace::Slow) {
            self.release(subscriber);
        }
    }

    /// Lets everyone go on who waits for this peer.
    pub(crate) fn release(&mut self, peer: PeerId) {
        let Some(behind) = self.behind.remove(&peer) else { return };
        for publisher in behind.waiting {
            if let Some(connection) = self.connections.get_mut(publisher) {
                connection.paused_for = None;
                connection.wake();
            }
        }
    }
}

fn write_out(connection: &mut Connection, scratch: &mut Scratch) -> io::Result<()> {
    while !connection.out.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = connection.out.slices(&mut slices);
        match connection.stream.try_write(&slices[..used], scratch) {
            Ok(written) => connection.out.advance(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    connection.stream.flush()
}

/// Takes the memory of an empty out-buffer for the next one that needs some.
pub(crate) fn give_back(spares: &mut Vec<Vec<u8>>, out: &mut OutBuffer) {
    if let Some(spare) = out.take_spare()
        && spare.capacity() <= SPARE_BYTES_MAX
        && spares.len() < SPARES_MAX
    {
        spares.push(spare);
    }
}
