//! Message ids that have been seen, and what was answered (§4.2, §4.5): what comes twice is carried out once, and
//! answered with the same bytes.
//!
//! All addresses share one memory of bounded size, in the order of arrival; under pressure the oldest is forgotten
//! before its time, which is better than refusing the newest.

use althing_core::Now;
use althing_core::hash::Seeded;
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// EXCHANGE_LIFETIME (§4.8.2): how long the id of a confirmable message may come back. That of a non-confirmable one is
/// remembered as long, although NON_LIFETIME is 145 s: all leave in the order in which they came.
const EXCHANGE_LIFETIME_S: u32 = 247;

/// What is known of a message id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: this is the first time.
    Never,
    /// It is being carried out and nothing has been said yet.
    Pending,
    /// This was said.
    Answered(Bytes),
}

/// The exchanges of the last minutes.
#[derive(Debug)]
pub struct Exchanges {
    recent: VecDeque<Exchange>,
    /// The number of the first in `recent`; they count up.
    first: u64,
    index: HashMap<(SocketAddr, u16), u64, Seeded>,
    /// Where the exchanges of addresses begin that somebody else had before; in order, and for as long as older ones are there.
    begin: HashMap<SocketAddr, u64, Seeded>,
    begin_order: VecDeque<(SocketAddr, u64)>,
    reply_bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Exchange {
    key: (SocketAddr, u16),
    expires_ns: u64,
    reply: Option<Bytes>,
}

impl Exchanges {
    /// Room for `count_max` exchanges with answers of `bytes_max` bytes together.
    pub fn new(count_max: usize, bytes_max: usize, hasher: Seeded) -> Self {
        Self {
            recent: VecDeque::new(),
            first: 0,
            index: HashMap::with_hasher(hasher.clone()),
            begin: HashMap::with_hasher(hasher),
            begin_order: VecDeque::new(),
            reply_bytes: 0,
            count_max: count_max.max(1),
            bytes_max,
        }
    }

    /// What is known of this id.
    pub fn find(&mut self, now: Now, remote: SocketAddr, id: u16) -> Seen {
        self.expire(now);
        match self.exchange(remote, id) {
            None => Seen::Never,
            Some(Exchange { reply: None, .. }) => Seen::Pending,
            Some(Exchange { reply: Some(reply), .. }) => Seen::Answered(reply.clone()),
        }
    }

    /// Remembers an id that is being carried out.
    pub fn begin(&mut self, now: Now, remote: SocketAddr, id: u16) {
        while self.recent.len() >= self.count_max {
            self.forget_oldest();
        }
        let key = (remote, id);
        self.index.insert(key, self.first + self.recent.len() as u64);
        self.recent.push_back(Exchange { key, expires_ns: now.after_s(EXCHANGE_LIFETIME_S), reply: None });
    }

    /// Remembers what was said. Does nothing for an id that was not begun, or is forgotten.
    pub fn complete(&mut self, remote: SocketAddr, id: u16, reply: &[u8]) {
        let Some(exchange) = self.exchange(remote, id) else { return };
        let before = exchange.reply.replace(Bytes::copy_from_slice(reply)).map_or(0, |reply| reply.len());
        self.reply_bytes = self.reply_bytes - before + reply.len();
        while self.reply_bytes > self.bytes_max && self.recent.len() > 1 {
            self.forget_oldest();
        }
    }

    /// Somebody else is at this address from now on, and hears nothing of what was answered there.
    pub fn leave(&mut self, now: Now, remote: SocketAddr) {
        self.expire(now);
        if self.recent.is_empty() {
            return;
        }
        while self.begin_order.len() >= self.count_max {
            self.forget_oldest();
        }
        let next = self.first + self.recent.len() as u64;
        self.begin.insert(remote, next);
        self.begin_order.push_back((remote, next));
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.recent.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.recent.is_empty()
    }

    /// Forgets those whose time is over.
    pub fn expire(&mut self, now: Now) {
        while self.recent.front().is_some_and(|oldest| oldest.expires_ns <= now.mono_ns) {
            self.forget_oldest();
        }
    }

    fn exchange(&mut self, remote: SocketAddr, id: u16) -> Option<&mut Exchange> {
        let number = *self.index.get(&(remote, id))?;
        if self.begin.get(&remote).is_some_and(|begin| number < *begin) {
            return None;
        }
        self.recent.get_mut((number - self.first) as usize)
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.recent.pop_front() else { return };
        self.reply_bytes -= oldest.reply.map_or(0, |reply| reply.len());
        if self.index.get(&oldest.key) == Some(&self.first) {
            self.index.remove(&oldest.key);
        }
        self.first += 1;
        while let Some((remote, begin)) = self.begin_order.front().filter(|(_, begin)| *begin <= self.first).copied() {
            self.begin_order.pop_front();
            if self.begin.get(&remote) == Some(&begin) {
                self.begin.remove(&remote);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::hash::seeded;

    fn remote(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn an_answer_is_repeated_for_as_long_as_the_id_may_come_back() {
        let mut exchanges = Exchanges::new(10, 1_000, seeded(1));
        let mut now = Now::default();
        assert_eq!(exchanges.find(now, remote(1), 7), Seen::Never);
        exchanges.begin(now, remote(1), 7);
        assert_eq!(exchanges.find(now, remote(1), 7), Seen::Pending);
        exchanges.complete(remote(1), 7, b"said");
        assert_eq!(exchanges.find(now, remote(2), 7), Seen::Never);
        now.mono_ns = now.after_s(246);
        assert_eq!(exchanges.find(now, remote(1), 7), Seen::Answered(Bytes::from_static(b"said")));
        now.mono_ns = now.after_s(1);
        assert_eq!(exchanges.find(now, remote(1), 7), Seen::Never);
        assert!(exchanges.is_empty() && exchanges.index.is_empty() && exchanges.reply_bytes == 0);
    }

    #[test]
    fn nothing_is_known_of_those_who_had_an_address_before() {
        let mut exchanges = Exchanges::new(10, 1_000, seeded(1));
        let mut now = Now::default();
        for round in 0..100 {
            for port in 1..3 {
                assert_eq!(
                    exchanges.find(now, remote(port), 7) == Seen::Never,
                    port == 1 || round % 20 == 0,
                    "{round}"
                );
                exchanges.begin(now, remote(port), 7);
            }
            exchanges.leave(now, remote(1));
            exchanges.leave(now, remote(1));
            assert_eq!(exchanges.find(now, remote(2), 7), Seen::Pending);
            assert!(exchanges.begin_order.len() <= 10 && exchanges.begin.len() <= 1);
            if round % 20 == 19 {
                now.mono_ns = now.after_s(247);
            }
        }
        exchanges.expire(now);
        assert!(exchanges.begin.is_empty() && exchanges.begin_order.is_empty() && exchanges.index.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let mut exchanges = Exchanges::new(100, 200, seeded(1));
        let now = Now::default();
        for id in 0..1_000 {
            exchanges.begin(now, remote(1), id);
            exchanges.complete(remote(1), id, b"ten bytes.");
            assert!(exchanges.len() <= 100 && exchanges.reply_bytes <= 200);
        }
        assert_eq!(exchanges.find(now, remote(1), 999), Seen::Answered(Bytes::from_static(b"ten bytes.")));
        assert_eq!(exchanges.find(now, remote(1), 900), Seen::Never);
        assert_eq!(exchanges.index.len(), exchanges.len());
    }
}
