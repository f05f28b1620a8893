//! Bytes out: appended while routing, flushed once a tick; and what happens when a peer does not read.

use crate::connections::Connection;
use crate::host::Notice;
use crate::shard::Shard;
use althing_core::broker::Pace;
use althing_core::{Now, OutBuffer, PeerId};
use std::io::{self, IoSlice};
use std::mem;

/// The tick's end comes only when no task is ready. When everyone is busy, this many appended bytes or
/// this many reads are flushed without waiting for it.
const FLUSH_BYTES: usize = 256 << 10;
const FLUSH_TURNS: usize = 128;

/// Slices of one vectored write.
const SLICES_MAX: usize = 32;

/// Memory kept for out-buffers that become busy.
const SPARES_MAX: usize = 1_024;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// A peer that is slow to read, and who waits for it.
#[derive(Debug)]
pub(crate) struct Slow {
    /// When it counts as stalled.
    pub stalled_at_ns: u64,
    waiting: Vec<PeerId>,
}

impl Shard {
    /// Adds the peer to those that the end of the tick flushes.
    pub(crate) fn mark_dirty(&mut self, peer: PeerId) {
        if let Some(connection) = self.connections.get_mut(peer)
            && !connection.is_dirty
            && !connection.is_blocked
        {
            connection.is_dirty = true;
            self.dirty.push(peer);
        }
    }

    /// Flushes in the middle of a tick when much has come together.
    pub(crate) fn flush_early(&mut self, now: Now) {
        if self.appended_bytes >= FLUSH_BYTES || self.turns >= FLUSH_TURNS {
            self.flush(now);
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
    }

    /// Writes what the peer's socket takes.
    pub(crate) fn flush_peer(&mut self, now: Now, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        connection.is_dirty = false;
        let waiting_bytes = connection.out.len();
        let written = write_out(connection);
        let left_bytes = waiting_bytes - connection.out.len();
        self.counters.bytes_sent += left_bytes as u64;
        connection.unread_answer_bytes = connection.unread_answer_bytes.saturating_sub(left_bytes);
        match written {
            Ok(()) => {
                give_back(&mut self.spares, &mut connection.out);
                if connection.adaptor.is_none() && !connection.is_shut {
                    connection.is_shut = true;
                    // Fails only when the peer is gone, which the next read tells.
                    let _ = connection.stream.shutdown_write();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.is_blocked = true;
                connection.wake();
            }
            Err(error) if connection.adaptor.is_some() => return self.lost_while_writing(now, peer, error),
            Err(_) => return self.remove(peer),
        }
        if connection.pace != Pace::Ready && connection.out.len() <= self.limits.write_buffer_low_bytes {
            self.set_pace(now, peer, Pace::Ready);
        }
    }

    fn lost_while_writing(&mut self, now: Now, peer: PeerId, error: io::Error) {
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.out = OutBuffer::default();
        }
        self.lost(now, peer, Some(error));
    }

    /// Tells the broker when the peer's buffer has grown above the high mark.
    pub(crate) fn check_high_mark(&mut self, now: Now, peer: PeerId) {
        let Some(connection) = self.connections.get(peer) else { return };
        if connection.pace == Pace::Ready && connection.out.len() > self.limits.write_buffer_high_bytes {
            self.set_pace(now, peer, Pace::Slow);
        }
    }

    /// A new observation of the peer's socket. Publishers wait only for one that is slow: they
    /// go on when it has caught up, and when it counts as stalled.
    pub(crate) fn set_pace(&mut self, now: Now, peer: PeerId, pace: Pace) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        connection.pace = pace;
        if pace == Pace::Slow {
            let stalled_at_ns = now.after_ms(self.limits.stall_ms);
            self.slow.entry(peer).or_insert_with(|| Slow { stalled_at_ns, waiting: Vec::new() });
            self.arm(peer);
        } else {
            self.release(peer);
        }
        self.broker.pace(now, peer, pace, &mut self.effects);
    }

    /// Declares a peer stalled that has been slow for too long.
    pub(crate) fn check_stall(&mut self, now: Now, peer: PeerId) {
        if self.slow.get(&peer).is_none_or(|slow| slow.stalled_at_ns > now.mono_ns) {
            return;
        }
        if self.connections.get(peer).is_some_and(|connection| connection.pace == Pace::Ready) {
            // Only its queue in the broker is long, and the broker knows since when.
            return self.release(peer);
        }
        if let Some(connection) = self.connections.get(peer) {
            self.counters.stalls += 1;
            let waiting_bytes = connection.out.len();
            self.host.notice(Notice::Stalled { link: &connection.link, waiting_bytes });
        }
        self.set_pace(now, peer, Pace::Stalled);
    }

    /// Has `publisher` wait for `subscriber`. It waits for one at a time: once released, its next
    /// publish shows whether it has to wait for another.
    pub(crate) fn pause(&mut self, now: Now, publisher: PeerId, subscriber: PeerId) {
        if self.connections.get(subscriber).is_none_or(|connection| connection.adaptor.is_none()) {
            return;
        }
        let Some(connection) = self.connections.get_mut(publisher) else { return };
        if connection.paused_for.is_some() || connection.adaptor.is_none() {
            return;
        }
        connection.paused_for = Some(subscriber);
        self.counters.pauses += 1;
        // Where the socket is not slow it is the broker's queue that has grown: `stall_ms` counts from now.
        let stalled_at_ns = now.after_ms(self.limits.stall_ms);
        let slow = self.slow.entry(subscriber).or_insert_with(|| Slow { stalled_at_ns, waiting: Vec::new() });
        slow.waiting.push(publisher);
        self.arm(subscriber);
    }

    /// The broker's queue for this peer has shrunk. Where its socket is slow as well, that is still
    /// waited for.
    pub(crate) fn caught_up(&mut self, subscriber: PeerId) {
        if self.connections.get(subscriber).is_none_or(|connection| connection.pace == Pace::Ready) {
            self.release(subscriber);
        }
    }

    /// Lets everyone go on who waits for this peer.
    pub(crate) fn release(&mut self, peer: PeerId) {
        let Some(slow) = self.slow.remove(&peer) else { return };
        for publisher in slow.waiting {
            if let Some(connection) = self.connections.get_mut(publisher) {
                connection.paused_for = None;
                connection.wake();
            }
        }
    }
}

fn write_out(connection: &mut Connection) -> io::Result<()> {
    while !connection.out.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let used = connection.out.slices(&mut slices);
        match connection.stream.try_write(&slices[..used]) {
            Ok(written) => connection.out.advance(written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
