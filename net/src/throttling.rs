//! Publishers that are faster than they may be are not read for a while. What they asked for in the same breath waits with
//! the rest, so nothing of a peer on a stream is refused unless it leaves meanwhile. The peers of a door share
//! its socket: nobody waits there, and what is too much is refused.

use crate::door::door_of;
use crate::host::Notice;
use crate::shard::Shard;
use althing_core::{Now, PeerId};

impl Shard {
    /// Does not read `publisher` before `until_ns`.
    pub(crate) fn throttle(&mut self, publisher: PeerId, until_ns: u64) {
        if door_of(publisher).is_some() {
            return;
        }
        let connection = self.connections.get_mut(publisher).filter(|connection| connection.adaptor.is_some());
        let Some(connection) = connection else { return };
        if connection.throttled_until_ns == 0 {
            self.counters.throttles += 1;
            let client = self.broker.client_of(publisher).cloned();
            self.host.notice(Notice::Throttled { link: &connection.link, client });
        }
        connection.throttled_until_ns = connection.throttled_until_ns.max(until_ns);
        self.arm_at(publisher, until_ns);
    }

    /// Whether the broker has just asked for a rest of this peer.
    pub(crate) fn is_throttled_now(&self, peer: PeerId) -> bool {
        self.effects.throttle.last().is_some_and(|(who, _)| *who == peer)
    }

    /// The rest of a publisher is over.
    pub(crate) fn let_go_on(&mut self, now: Now, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        connection.throttled_until_ns = 0;
        while let Some(request) = self.connections.get_mut(peer).and_then(|connection| connection.held.pop_front()) {
            self.request_of_connection(now, peer, request);
            if self.is_throttled_now(peer) {
                break;
            }
        }
        self.settle(now);
        if let Some(connection) = self.connections.get(peer).filter(|connection| !connection.is_held_back()) {
            connection.wake();
        }
    }

    /// The conversation ends before its rest does: the broker hears what was asked for, and refuses what is too much.
    pub(crate) fn release_held(&mut self, now: Now, peer: PeerId) {
        let held = self.connections.get_mut(peer).map(|connection| std::mem::take(&mut connection.held));
        for request in held.into_iter().flatten() {
            self.request_of_connection(now, peer, request);
        }
    }
}
